"""Cleans secrets and thumbprints that people paste from an editor, a browser, a certificate dialog or a chat. Pure.

A wrong password counts towards a lock-out. So characters that nobody can have meant are removed where that is certain, and
otherwise refused before anything is sent. No message contains a part of a secret.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from connector.errors import BadInput

_LENGTHS: Final = {40: "1", 64: "256"}  # hex digits -> the number in the digest's name
#: Labels before the digits: `SHA256:`, `SHA1 Fingerprint=`, `sha-256 thumbprint`, `Fingerprint:`.
_LABEL: Final = re.compile(
    r"(?:x509\s*)?(?:sha\s*[-_]?\s*(?P<digest>256|1))?\s*(?:digest|(?:certificate\s*)?(?:finger|thumb)\s*print)?"
    r"\s*(?:\(\s*sha\s*[-_]?\s*(?P<after>256|1)\s*\))?\s*[:=]?\s*",
    re.IGNORECASE,
)
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
#: Control and formatting characters, private ones, surrogates, unassigned ones, ends of lines and of paragraphs.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


def thumbprint(text: str) -> str:
    """The hex digits in lower case: 40 for SHA-1, 64 for SHA-256. Empty for another text, or when its label says the other."""
    text_only = bare(text).strip("\"'").strip()
    label = _LABEL.match(text_only)
    digits = text_only[label.end() :] if label is not None else text_only
    pure = "".join(c for c in digits if not _separates(c)).lower()
    if len(pure) not in _LENGTHS or not set(pure) <= set("0123456789abcdef"):
        return ""
    named_digest = (label["digest"] or label["after"]) if label is not None else None
    return pure if named_digest in (None, _LENGTHS[len(pure)]) else ""


def password(content: bytes | str, what: str, on: str) -> str:
    """One line as it was typed: with its blanks, without the end of the line and a byte order mark.

    Raises BadInput when nothing remains, or when it has a character that no person types on purpose.
    """
    return _checked(_decoded(content, what, on).removeprefix("\ufeff").rstrip("\r\n"), what, on)


def account(text: str, on: str) -> str:
    """The name of an account, without characters that copying added. Raises BadInput like `password`."""
    return _checked(bare(text), "user", on)


def _checked(text: str, what: str, on: str) -> str:
    """`text`, if a person can see every character of it."""
    if not text:
        raise BadInput(f"the {what} is empty", on=on, remedy="write it there, on one line")
    for place, character in enumerate(text, start=1):
        if hidden := _hidden(character):
            raise BadInput(
                f"character {place} of the {what} is {hidden}, which is invisible; it was not sent",
                on=on,
                remedy="write it again by hand, on one line, as plain text in UTF-8",
            )
    return text


def token(content: bytes | str, what: str, on: str) -> str:
    """Like `password`, for a secret that a program made: it has no blanks, so blanks around it are removed. Raises BadInput."""
    return password(bare(_decoded(content, what, on)), what, on)


def bare(text: str) -> str:
    """The text without blanks around it, and without formatting characters that copying adds."""
    return "".join(c for c in text if unicodedata.category(c) != "Cf").strip()


def _decoded(content: bytes | str, what: str, on: str) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-16" if content[:2] in _UTF16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"the {what} is not UTF-8", on=on, remedy="write it again, as text in UTF-8") from None


def _separates(character: str) -> bool:
    """Whether a character separates digits: blanks of every width, colons, dashes of every length."""
    return character.isspace() or character in ":\u2212" or unicodedata.category(character) == "Pd"


def _hidden(character: str) -> str:
    """The name of an invisible character; empty for a visible character and for the blank."""
    if character in "\r\n":
        return "the end of a line"
    kind = unicodedata.category(character)
    if (
        kind in _HIDDEN
        or (kind == "Zs" and character != " ")
        or character in "\u115f\u1160\u3164\uffa0\u034f"
    ):
        return f"U+{ord(character):04X} ({unicodedata.name(character, 'a control character').lower()})"
    return ""
