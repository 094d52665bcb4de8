"""Every problem of a manifest names file, line and column. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.errors import BadInput, one_line

#: How many problems of one file are shown at most.
MOST = 50


@dataclass(frozen=True, slots=True, order=True)
class FilePosition:
    """A place in a file. Line and column count from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: what is wrong, where, and what to do."""

    what: str
    mark: FilePosition
    remedy: str = ""
    path: str = ""  # e.g. "machines[3].target.region"

    def line(self, file: str) -> str:
        """`FILE:LINE:COLUMN: path: what; remedy`."""
        subject = f"{self.path}: " if self.path else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return one_line(f"{file}:{self.mark.line}:{self.mark.column}: {subject}{self.what}{remedy}")

    def to_json(self, file: str) -> dict[str, object]:
        return {
            "file": file,
            "line": self.mark.line,
            "column": self.mark.column,
            "path": self.path,
            "what": self.what,
            "remedy": self.remedy,
        }


class ManifestRefused(BadInput):
    """A manifest cannot be used. `str()` is its first problem. `problems`: all, in the file's order."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        ordered = sorted(problems, key=lambda problem: problem.mark)
        first = ordered[0]
        more = f" (and {len(ordered) - 1} more: connector batch validate)" if len(ordered) > 1 else ""
        subject = f"{first.path}: " if first.path else ""
        on = f"{file}:{first.mark.line}:{first.mark.column}"
        super().__init__(f"{subject}{first.what}{more}", on=on, remedy=first.remedy)
        self.file = file
        self.problems = tuple(ordered[:MOST])
