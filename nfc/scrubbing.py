"""Takes texts and the content of disks out of messages; every message keeps its length, but for zlib's. Pure.

What is kept is what the protocol defines: types, ids, sizes, offsets, order, flags, error numbers, and the words of the protocol
itself. Texts become pseudonyms. The bytes of a disk become `filler`. What is neither a text nor a number that the protocol
defines is blanked.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from nfc import aio, classic, codec
from nfc.aio import Kind
from nfc.codec import Compression
from nfc.listening import CLIENT, Form, Message, Speaker
from nfc.spec import METADATA, SECTOR

BLANK: Final = b"\xee"
NUMBERS: Final = 64
"""Bytes of an answer that may be numbers. No answer that is known has more."""
CLASSIC_NUMBERS: Final = 20
"""The same of a classic message."""
_U32: Final = struct.Struct("<I")
_RUN: Final = struct.Struct("<II")
_COMPRESSION_AT, _PACKED_AT = 12, 36
_FILE_FIELDS: Final = (slice(8, 24), slice(28, 52))
_FIELDS: Final = {Kind.DDB_GET: range(12, 16), Kind.QUERY_ALLOCATED: range(32, 40), Kind.IO: range(12, 40)}
"""Where an answer has numbers that were compared with its request."""
_PROTOCOL: Final = (
    "220 VMware Authentication Daemon Version SSL Required ServerDaemonProtocol SOAP MKSDisplayProtocol VNC VMXARGS "
    "NFCSSL supported supported/t SHA256 SESSION BANNER THUMBPRINT_SHA2 PlainText PROXY Connect USER PASS vddk nbdmode "
    "vpxa-nfc vpxa-nfcssl ha-nfc ha-nfcssl NFC AIO lsilogic buslogic pvscsi ide legacyESX"
)
_ERRORS: Final = (
    "a an the at to of in is not no by for with and or already buffer bytes cannot could denied directory disk does error exist "
    "expired failed file found handle incorrect invalid length lock locked locking login machine memory name object offset open "
    "opened opening allocate allocation permission please question read reading refused request requested running service "
    "session size snapshot such supported this ticket timeout unknown unlock unsupported use used user vm write writing wrong"
)
_WORD: Final = re.compile(
    r"(?P<digest>(?<![0-9A-Za-z])[0-9A-Fa-f]{2}(?:[: \-]?[0-9A-Fa-f]{2}){15,}(?![0-9A-Za-z]))"
    r"|(?<![\w.\-/\\\[])(?:"
    + "|".join(
        sorted(map(re.escape, (*_PROTOCOL.split(), *_ERRORS.split(), *METADATA)), key=len, reverse=True)
    )
    + r")(?![\w\-/\\]|\.\w)",
    re.IGNORECASE,
)
_BEFORE_A_DISK: Final = (Kind.OPEN_SESSION, Kind.SET_SOCK_OPTS, Kind.SET_RES_POOL)
_REPLY: Final = re.compile(rb"\d{3}(?= |\r?\n)")
_NUMBER: Final = re.compile(rb"\d{1,10}")
_TEXT: Final = re.compile(rb"(?:(?:[\x20-\x7e]|[\xc2-\xf4][\x80-\xbf]{1,3})\0?){4,}")
"""What looks like a text among numbers, also one of 16 bits a letter."""


class Pseudonyms(Protocol):
    """Equal texts have equal pseudonyms. Nobody can turn them back."""

    def fitted(self, text: str) -> str:
        """Pseudonyms in place of a text's words, which takes as many bytes of UTF-8 as before."""
        ...

    def digits(self, text: str) -> str:
        """Other hexadecimal digits in the same layout, for every letter and digit."""
        ...


def filler(offset: int, length: int) -> bytes:
    """What stands for a disk's content: sector n is filled with one byte, 1 + n modulo 255."""
    first, last = offset // SECTOR, -(-(offset + length) // SECTOR)
    sectors = b"".join(bytes([1 + number % 255]) * SECTOR for number in range(first, last))
    return sectors[offset - first * SECTOR :][:length]


class MessageScrubber:
    """For one connection: it remembers the ticket."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._session = ""

    def digits(self, text: str) -> str:
        """Of a digest or a secret, in the case of its letters."""
        changed = self._pseudonyms.digits(text)
        return changed.upper() if text == text.upper() else changed

    def message(self, speaker: Speaker, message: Message) -> Message:
        """Raises `SizeOutOfBounds` for a disk that cannot be."""
        if message.form is Form.LINE:
            return message._replace(data=self._line(speaker, message.data))
        if message.form is Form.FRAME:
            is_request = speaker == CLIENT
            data, extra = self._request(message) if is_request else self._answer(message)
            return message._replace(data=data, extra=extra)
        if message.form is Form.NAMES and message.data == classic.NAME + classic.OPERATION:
            return message
        return message._replace(data=self._numbers(message.data, CLASSIC_NUMBERS))

    def _line(self, speaker: Speaker, line: bytes) -> bytes:
        word, blank, secret = line.partition(b" ")
        if speaker == CLIENT and word == b"SESSION":
            self._session = secret.rstrip(b"\r\n").decode("latin-1")
            return word + blank + self.digits(self._session).encode("latin-1") + secret[len(self._session) :]
        code = _REPLY.match(line)
        kept = code.end() if code else 0
        return line[:kept] + self._sentence(line[kept:])

    def _request(self, message: Message) -> tuple[bytes, bytes]:
        """Payload and extra bytes of a frame of ours."""
        if message.kind == Kind.OPEN_FILE:
            return message.data, self._fitted(message.extra)
        if message.kind == Kind.DDB_GET and message.extra.decode() not in METADATA:
            return message.data, self._fitted(message.extra)
        return message.data, message.extra

    def _answer(self, message: Message) -> tuple[bytes, bytes]:
        """The same of the host."""
        payload, extra, kind = message.data, message.extra, message.kind
        if kind == Kind.ERROR:
            return self._error(payload), extra
        if kind == Kind.OPEN_FILE:
            return self._file(payload), extra
        if kind in _BEFORE_A_DISK:
            return self._numbers(payload), extra
        if kind == Kind.DDB_GET and not _NUMBER.fullmatch(extra):
            extra = self._sentence(extra)
        payload = _echo(payload, message.asked, _FIELDS.get(Kind(kind), range(0)))
        return _fragment(payload, extra) if kind == Kind.IO else (payload, extra)

    def _file(self, payload: bytes) -> bytes:
        """What was opened."""
        aio.parse_file(payload)
        scrubbed = bytearray(self._numbers(payload))
        for field in _FILE_FIELDS:
            scrubbed[field] = payload[field]
        return bytes(scrubbed)

    def _sentence(self, raw: bytes) -> bytes:
        """Words of the protocol stay, digests get other digits, the rest is pseudonyms."""
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return BLANK * len(raw)
        around = text.split(self._session) if self._session else [text]
        return (
            self.digits(self._session).encode("latin-1").join(b"".join(self._pieces(part)) for part in around)
        )

    def _pieces(self, text: str) -> Iterator[bytes]:
        end = 0
        for match in _WORD.finditer(text):
            yield self._fitted(text[end : match.start()].encode())
            yield (self.digits(match[0]) if match["digest"] else match[0]).encode()
            end = match.end()
        yield self._fitted(text[end:].encode())

    def _fitted(self, raw: bytes) -> bytes:
        """Blanked where a pseudonym of this length cannot be had."""
        try:
            fitted = self._pseudonyms.fitted(raw.decode()).encode()
        except UnicodeDecodeError:
            return BLANK * len(raw)
        return fitted if len(fitted) == len(raw) else BLANK * len(raw)

    def _numbers(self, raw: bytes, most: int = NUMBERS) -> bytes:
        """Numbers stay. What looks like a text is scrubbed, and whatever stands behind the last possible number is blanked."""
        front = _TEXT.sub(lambda match: self._text(match[0]), raw[:most])
        return front + re.sub(rb"[^\0]", BLANK, raw[most:], flags=re.DOTALL)

    def _text(self, raw: bytes) -> bytes:
        bare = raw.rstrip(b"\0")
        return (BLANK * len(bare) if b"\0" in bare else self._sentence(bare)) + raw[len(bare) :]

    def _error(self, payload: bytes) -> bytes:
        """The number stays, and the length of the rest behind it, if it is there [?]. In the rest, what is no text is blanked."""
        kept = _U32.size
        if len(payload) >= 2 * _U32.size and _U32.unpack_from(payload, kept)[0] == len(payload) - 2 * kept:
            kept *= 2
        return payload[:kept] + re.sub(
            rb"[^\0]+", lambda match: self._words(match[0]), payload[kept:], flags=re.DOTALL
        )

    def _words(self, raw: bytes) -> bytes:
        """Single letters could be a text of 16 bits a letter."""
        shown = re.sub(r"\s", " ", raw.decode("utf-8", "replace"))
        return self._sentence(raw) if len(raw) > 2 and shown.isprintable() else BLANK * len(raw)


def _echo(payload: bytes, asked: bytes, fields: range) -> bytes:
    """While a disk is open, what is neither zero nor a number of the request nor in a known field could be the disk's content."""
    known = {asked[at : at + _U32.size] for at in range(0, len(asked), _U32.size)} | {bytes(_U32.size)}
    words = ((at, payload[at : at + _U32.size]) for at in range(0, len(payload), _U32.size))
    return b"".join(
        word if at in fields or word in known else re.sub(rb"[^\0]", BLANK, word, flags=re.DOTALL)
        for at, word in words
    )


def _fragment(payload: bytes, packed: bytes) -> tuple[bytes, bytes]:
    """A piece of a read with other content, compressed as it was. Whether the host's own unpacks was seen before."""
    part = aio.parse_fragment(payload)
    content = filler(part.offset + part.place, part.plain)
    method = codec.announced(part.compression)
    changed = content
    if method is Compression.ZLIB:
        changed = zlib.compress(content, 1)
    elif method is Compression.SKIPZ:
        changed = _skipz(packed, content)
    if len(changed) > part.plain:
        method, changed = Compression.NONE, content
    head = bytearray(payload)
    _U32.pack_into(head, _COMPRESSION_AT, method)
    _U32.pack_into(head, _PACKED_AT, len(changed))
    return bytes(head), changed


def _skipz(packed: bytes, content: bytes) -> bytes:
    """The same runs of other content."""
    changed, position = bytearray(packed), _RUN.size
    while position < len(changed):
        place, length = _RUN.unpack_from(changed, position)
        position += _RUN.size
        changed[position : position + length] = content[place : place + length]
        position += length
    return bytes(changed)
