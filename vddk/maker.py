"""Who made a library file, as far as the file says so itself. Nothing here proves it: a file can say anything."""

import hashlib
import re
from pathlib import Path
from typing import Final, NamedTuple

_NAMES: Final = (b"VMware, Inc", b"Broadcom")
_TEXT: Final = re.compile(rb"[\x20-\x7e\xa9]{0,120}(?:Copyright|\(c\)|\(C\))[\x20-\x7e\xa9]{4,120}")
_LONGEST: Final = 160
_PIECE: Final = 4 << 20
_OVERLAP: Final = 512


class Maker(NamedTuple):
    """``name`` is the maker that the file names, or empty; ``notice`` its copyright notice, or empty; ``sha256`` of the file."""

    name: str
    notice: str
    sha256: str


def maker_of(path: Path) -> Maker:
    """Reads the whole file. Raises OSError."""
    digest, name, notice, kept = hashlib.sha256(), "", "", b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            window = kept + piece
            name = name or next((known.decode() for known in _NAMES if known in window), "")
            notice = _better(notice, window)
            kept = window[-_OVERLAP:]
    return Maker(f"{name}." if name.endswith("Inc") else name, notice, digest.hexdigest())


def _better(notice: str, window: bytes) -> str:
    """A notice that names a known maker, else the first one: libraries carry the notices of their parts too."""
    for match in _TEXT.finditer(window):
        text = match[0].decode("ascii", "replace").strip()[:_LONGEST]
        if any(known in match[0] for known in _NAMES):
            return text
        notice = notice or text
    return notice
