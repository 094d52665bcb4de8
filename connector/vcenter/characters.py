"""Characters that XML forbids are replaced before parsing: bytes that are no UTF-8, control characters, U+FFFF.

One such character in the notes of one machine must not cost the answer about all of them. Pure.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

REPLACEMENT: Final = "\ufffd"

_CONTROLS: Final = bytes(set(range(32)) - {9, 10, 13})
_UNSOUND: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NUMBER: Final = re.compile("&#(?:x([0-9a-fA-F]+)|([0-9]+));")
_DECLARED: Final = re.compile(rb"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_HEAD: Final = 256  # bytes in which a document says how it is encoded
_LONGEST: Final = 64  # characters of a reference, which may be cut in two between pieces
_ENCODINGS: Final = {"ascii", "cp1252", "iso8859-1", "utf-16", "utf-16-be", "utf-16-le"}


class Replacer:
    """The same document piece by piece, in UTF-8 and with `REPLACEMENT` for each unsound character."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = ""
        self._plain = True  # the document is in UTF-8, so that sound ASCII can pass as it is

    def feed(self, piece: bytes, last: bool = False) -> bytes:
        """The text that may be parsed so far; `last` says that the last piece is here."""
        if self._head is not None:
            self._head += piece
            if not last and len(self._head) < _HEAD and b">" not in self._head:
                return b""
            piece, self._head = self._begin(self._head), None
        if self._plain and not self._kept and _is_sound(piece) and not self._decoder.getstate()[0]:
            return piece
        text = self._kept + self._decoder.decode(piece, last)
        cut = len(text) if last else _cut(text)
        text, self._kept = text[:cut], text[cut:]
        text = _UNSOUND.sub(REPLACEMENT, text)
        return (_NUMBER.sub(_referred, text) if "&#" in text else text).encode()

    def _begin(self, head: bytes) -> bytes:
        """Choose the decoder. The parser gets UTF-8, so the declaration of another encoding is replaced."""
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            self._decoder, self._plain = codecs.getincrementaldecoder("utf-16")("replace"), False
            return head
        if (declared := _DECLARED.match(head)) is None:
            return head
        name = _codec(declared[1].decode())
        if name in _ENCODINGS:
            self._decoder, self._plain = codecs.getincrementaldecoder(name)("replace"), False
            return head[: declared.start(1)] + b"UTF-8" + head[declared.end(1) :]
        return head


def _codec(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return ""


def _is_sound(piece: bytes) -> bool:
    """Whether nothing has to be replaced. The test is fast, because nearly every piece passes it."""
    return (
        piece.isascii()
        and b"&#" not in piece
        and b"&" not in piece[-_LONGEST:]
        and len(piece.translate(None, _CONTROLS)) == len(piece)
    )


def _cut(text: str) -> int:
    """Where a reference begins that may end in the next piece only; without one, the end of the text."""
    begin = text.rfind("&", max(0, len(text) - _LONGEST))
    return len(text) if begin < 0 or ";" in text[begin:] else begin


def _referred(reference: re.Match[str]) -> str:
    digits = reference[1] or reference[2]
    code = int(digits, 16 if reference[1] else 10) if len(digits) < 10 else -1
    allowed = code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code <= 0xFFFD
    return reference[0] if allowed or 0x10000 <= code <= 0x10FFFF else REPLACEMENT
