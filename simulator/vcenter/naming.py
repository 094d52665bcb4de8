"""Names of entities on the wire: vCenter writes "/", "\\" and "%" in them as %2f, %5c and %25."""

from __future__ import annotations

import re
from typing import Final

_ESCAPES: Final = {"/": "%2f", "\\": "%5c", "%": "%25"}
_SPECIAL: Final = re.compile(r"[/\\]|%(?!2f|5c|25)", re.IGNORECASE)


def escaped(name: str) -> str:
    """As vCenter shows it; a "%" that starts an escape already is kept, so that twice is the same as once."""
    return _SPECIAL.sub(lambda sign: _ESCAPES[sign[0]], name)


def same(name: str, other: str) -> bool:
    """Whether both name the same entity, however they are written."""
    return _folded(name) == _folded(other)


def _folded(name: str) -> str:
    return re.sub("%2f|%5c|%25", lambda sign: sign[0].lower(), escaped(name), flags=re.IGNORECASE)
