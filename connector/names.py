"""Names that people gave: unescaped from vCenter's spelling, and written so that names that look alike differ. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ESCAPES: Final = {"%2f": "/", "%5c": "\\", "%25": "%"}
_ESCAPED: Final = re.compile("%2f|%5c|%25", re.IGNORECASE)


def unescaped(name: str) -> str:
    """The name without escapes: vCenter writes "/", "\\" and "%" as %2f, %5c and %25, and escapes nothing else."""
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0].lower()], name)


def visible(text: str) -> str:
    """The text in one line. Unusual blanks, invisible characters and loose accents are written out, as `<U+00A0>`."""
    loose = not unicodedata.is_normalized("NFC", text)
    if text.isprintable() and not loose:
        return " ".join(text.split())
    written = "".join(_shown(character, loose) for character in text)
    return " ".join(written.split())


def on_page(value: object) -> object:
    """A value for a template: text is made `visible`; a piece of HTML stays as it is."""
    return value if hasattr(value, "__html__") else visible(str(value))


def skeleton(name: str) -> str:
    """The form of a name that is equal for two names that a person takes for the same."""
    visible_part = "".join(c for c in name if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible_part).split()).casefold()


def _shown(character: str, loose: bool) -> str:
    if character.isprintable():
        return f"<U+{ord(character):04X}>" if loose and unicodedata.combining(character) else character
    kind = unicodedata.category(character)
    return f"<U+{ord(character):04X}>" if kind in ("Zs", "Cf") else " "
