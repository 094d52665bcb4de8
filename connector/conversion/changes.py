"""What a conversion changes in a guest: whole files, planned before anything is written.

A plan is made of facts that were read. The same guest gives the same plan, and a guest that needs nothing gives an empty one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST: Final = 1 << 20  # bytes of a text file that is planned to change


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of the guest. `path` is absolute in the guest. `before` is None for a new file, `after` for one that goes.

    `why`: one short sentence for the plan and the report, such as "names /dev/sda2, which another machine does not have".
    """

    path: str
    before: bytes | None
    after: bytes | None
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be changed, and what a person has to know: things that are not understood, or not changed on purpose."""

    changes: tuple[FileChange, ...] = ()
    notes: tuple[str, ...] = ()
