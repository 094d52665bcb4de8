"""Secrets and thumbprints as people bring them: out of an editor, a browser, a certificate dialog, a chat. Pure.

A wrong password counts towards a lock-out. So what nobody can have meant is taken away where that is certain, else refused
before anything is sent. No message holds a part of a secret.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from connector.errors import BadInput

_LENGTHS: Final = {40: "1", 64: "256"}  # hex digits -> the number in the digest's name
#: What stands before the digits: `SHA256:`, `SHA1 Fingerprint=`, `sha-256 thumbprint`, `Fingerprint:`.
_LABEL: Final = re.compile(
    r"(?:x509\s*)?(?:sha\s*[-_]?\s*(?P<digest>256|1))?\s*(?:digest|(?:certificate\s*)?(?:finger|thumb)\s*print)?"
    r"\s*(?:\(\s*sha\s*[-_]?\s*(?P<after>256|1)\s*\))?\s*[:=]?\s*",
    re.IGNORECASE,
)
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
#: Control and formatting characters, private ones, surrogates, unassigned ones, ends of lines and of paragraphs.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


def thumbprint(text: str) -> str:
    """The hex digits in lower case: 40 of SHA-1, 64 of SHA-256. Empty when it is neither, or its label says the other."""
    seen = bare(text).strip("\"'").strip()
    label = _LABEL.match(seen)
    digits = seen[label.end() :] if label is not None else seen
    pure = "".join(c for c in digits if not _separates(c)).lower()
    if len(pure) not in _LENGTHS or not set(pure) <= set("0123456789abcdef"):
        return ""
    said = (label["digest"] or label["after"]) if label is not None else None
    return pure if said in (None, _LENGTHS[len(pure)]) else ""


def password(content: bytes | str, what: str, on: str) -> str:
    """One line, as it was typed: blanks belong to it, the end of the line and a byte order mark do not.

    Raises BadInput when nothing is left, or when it holds what no person types on purpose.
    """
    return _seen(_decoded(content, what, on).removeprefix("\ufeff").rstrip("\r\n"), what, on)


def account(text: str, on: str) -> str:
    """The name of an account, without what came along with a copy. Raises BadInput as `password` does."""
    return _seen(bare(text), "user", on)


def _seen(text: str, what: str, on: str) -> str:
    """`text`, when a person can see all of it."""
    if not text:
        raise BadInput(f"the {what} is empty", on=on, remedy="write it there, on one line")
    for place, character in enumerate(text, start=1):
        if hidden := _hidden(character):
            raise BadInput(
                f"character {place} of the {what} is {hidden}, which nobody sees; it was not sent",
                on=on,
                remedy="write it anew by hand, on one line, as plain text in UTF-8",
            )
    return text


def token(content: bytes | str, what: str, on: str) -> str:
    """The same for what a program made: it holds no blanks, so those around it are not part of it. Raises BadInput."""
    return password(bare(_decoded(content, what, on)), what, on)


def bare(text: str) -> str:
    """Without blanks around it, and without the formatting characters that come along with a copy."""
    return "".join(c for c in text if unicodedata.category(c) != "Cf").strip()


def _decoded(content: bytes | str, what: str, on: str) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-16" if content[:2] in _UTF16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"the {what} is not UTF-8", on=on, remedy="write it anew, as text in UTF-8") from None


def _separates(character: str) -> bool:
    """Blanks of every width, colons, dashes of every length."""
    return character.isspace() or character in ":\u2212" or unicodedata.category(character) == "Pd"


def _hidden(character: str) -> str:
    """What it is called; empty for what can be seen, and for the blank."""
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
