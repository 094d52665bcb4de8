"""An exclude list stops the appliance: it belongs to migrations that copy files, and blocks cannot be left out.

A client that copies files keeps its lists in a directory of this name. The appliance looks at `Excludes/*.txt` in its own state
directory. An operator who changes from such a client learns this at the first start, and not after the migration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connector.errors import BadInput

DIRECTORY: Final = "Excludes"


def refuse(state: Path) -> None:
    """Raises BadInput when an exclude list in this state directory names anything; missing and empty lists are allowed."""
    for file in sorted((state / DIRECTORY).glob("*.txt")):
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError as broken:
            raise BadInput(f"cannot be read: {broken.strerror}", on=str(file)) from None
        if any(line.strip() and not line.lstrip().startswith("#") for line in lines):
            raise BadInput(
                "this list excludes files, but blocks are copied: nothing can be left out",
                on=str(file),
                remedy="remove the list; delete the files in the guest before, or on the target afterwards",
            )
