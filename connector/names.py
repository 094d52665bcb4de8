"""Names that people gave: as vCenter writes them, and so that two of them that look alike can be told apart. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ESCAPES: Final = {"%2f": "/", "%5c": "\\", "%25": "%"}
_ESCAPED: Final = re.compile("%2f|%5c|%25", re.IGNORECASE)


def unescaped(name: str) -> str:
    """vCenter writes "/", "\\" and "%" in names as %2f, %5c and %25, and nothing else."""
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0].lower()], name)


def visible(text: str) -> str:
    """One line. Blanks of other kinds, marks without width and loose accents are written out, as `<U+00A0>`."""
    loose = not unicodedata.is_normalized("NFC", text)
    if text.isprintable() and not loose:
        return " ".join(text.split())
    shown = "".join(_shown(character, loose) for character in text)
    return " ".join(shown.split())


def on_page(value: object) -> object:
    """For whatever a template puts into a page: text is `visible`; what is a piece of a page already stays as it is."""
    return value if hasattr(value, "__html__") else visible(str(value))


def skeleton(name: str) -> str:
    """What two names have in common that a person takes for the same one."""
    seen = "".join(c for c in name if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen).split()).casefold()


def _shown(character: str, loose: bool) -> str:
    if character.isprintable():
        return f"<U+{ord(character):04X}>" if loose and unicodedata.combining(character) else character
    kind = unicodedata.category(character)
    return f"<U+{ord(character):04X}>" if kind in ("Zs", "Cf") else " "
