"""What a conversion changes in a guest: whole files and values of the registry, planned before anything is written.

A plan is made of facts that were read. The same guest gives the same plan, and a guest that needs nothing gives an empty one.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from typing import Final

from connector.conversion.registry import RegistryChange
from connector.conversion.removals import RemovedFile

MOST: Final = 1 << 20  # bytes of a text file that is planned to change
_MOST_LINES: Final = 200  # of one file, in a report


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of the guest. `path` is absolute in the guest. `before` is None for a new file, `after` for one that goes.

    `why`: one short sentence for the plan and the report, such as "names /dev/sda2, which another machine does not have".
    `mode`: of a new file; one that is there keeps its own.
    """

    path: str
    before: bytes | None
    after: bytes | None
    why: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Append:
    """Bytes that follow the end of a file that has `size` bytes now. `why`: as in `FileChange`."""

    path: str
    size: int
    data: bytes
    why: str


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """What will be changed, and what a person has to know: things that are not understood, or not changed on purpose."""

    changes: tuple[FileChange, ...] = ()
    notes: tuple[str, ...] = ()
    appends: tuple[Append, ...] = ()
    removals: tuple[RemovedFile, ...] = ()
    registry: tuple[RegistryChange, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to change."""
        return not (self.changes or self.appends or self.removals or self.registry)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that change or go, and the values of the registry."""
        changed = [change.path for change in self.changes] + [append.path for append in self.appends]
        values = [value.path for value in self.registry]
        return (*changed, *values, *(removal.path for removal in self.removals))

    @property
    def size(self) -> int:
        """Bytes that will be written."""
        return sum(len(c.after or b"") for c in self.changes) + sum(len(a.data) for a in self.appends)

    def __add__(self, other: ChangePlan) -> ChangePlan:
        return ChangePlan(
            self.changes + other.changes,
            self.notes + other.notes,
            self.appends + other.appends,
            self.removals + other.removals,
            self.registry + other.registry,
        )

    def to_json(self) -> dict[str, object]:
        """The report. Of text files it has the lines that change, never a whole file: files of a guest may hold secrets."""
        changes = [_row(change) for change in self.changes]
        changes += [
            {
                "path": a.path,
                "why": a.why,
                "before": {"bytes": a.size},
                "after": {
                    "bytes": a.size + len(a.data),
                    "appended_sha256": hashlib.sha256(a.data).hexdigest(),
                },
            }
            for a in self.appends
        ]
        changes += [change.to_json() for change in self.registry]
        removals = [{"path": row.path, "bytes": row.size} for row in self.removals]
        return {"changes": changes, "removed": removals, "notes": list(self.notes)}


def _row(change: FileChange) -> dict[str, object]:
    row: dict[str, object] = {"path": change.path, "why": change.why}
    row["before"], row["after"] = _digest(change.before), _digest(change.after)
    if change.before and change.after and (lines := changed_lines(change.before, change.after)):
        row["lines"] = lines
    return row


def _digest(data: bytes | None) -> dict[str, object] | None:
    return None if data is None else {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def changed_lines(before: bytes, after: bytes) -> list[str]:
    """The lines that go and come, with - and + before them; empty for files that are no text."""
    if b"\0" in before or b"\0" in after:
        return []
    texts = [data.decode("utf-8", "replace").splitlines() for data in (before, after)]
    lines = difflib.unified_diff(texts[0], texts[1], n=0, lineterm="")
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")][:_MOST_LINES]
