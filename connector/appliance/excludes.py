"""Exclude lists belong to migrations that copy files; here blocks are copied, and a list that nobody reads must not lie there.

A file-copying client keeps its lists in a directory of this name beside its configuration: whoever moves over from one
finds out at the first start, not after the migration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connector.errors import BadInput

DIRECTORY: Final = "Excludes"


def refuse(beside: Path) -> None:
    """Raises BadInput when a list in `beside`'s directory of excludes names anything; a missing or empty one is fine."""
    for file in sorted((beside / DIRECTORY).glob("*.txt")):
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError as broken:
            raise BadInput(f"cannot be read: {broken.strerror}", on=str(file)) from None
        if any(line.strip() and not line.lstrip().startswith("#") for line in lines):
            raise BadInput(
                "this list excludes files, but blocks are copied: nothing can be left out",
                on=str(file),
                remedy="remove the list; delete what shall not move in the guest, or on the target afterwards",
            )
