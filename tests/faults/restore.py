"""What of our state is put back, lost or damaged, when, and what must come of it: rows are what a walk finds after real runs.

`python -m tests.faults.restore` makes such runs, walks, and writes the cells that follow from it and docs/restore-matrix.md.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Final

WALKED: Final = Path(__file__).with_name("restore_cells.json")
PAGE: Final = Path(__file__).parents[2] / "docs" / "restore-matrix.md"


class Moment(StrEnum):
    FIRST = "after run 1"
    SECOND = "after run 2"
    KILLED = "run 3 killed"


class Harm(StrEnum):
    OLDER = "older copy"
    GONE = "deleted"
    ZEROED = "zeroed"
    CUT = "cut"
    SWAPPED = "swapped"


#: What the older copy is a copy of.
OLDER: Final = {
    Moment.FIRST: "run 1 in its middle, killed",
    Moment.SECOND: "the end of run 1",
    Moment.KILLED: "the end of run 2",
}

#: Not state: nothing is read from it, or it is there only while something is written.
LEFT_OUT: Final = ("*.log", "*/lock", "images/[!.]*", "*/data/images/*", "*.sqlite-shm", "*.sqlite-journal")
_NAMES: Final = (
    (re.compile(r"(?<=/)instance-j-[0-9a-f]+"), "INSTANCE"),
    (re.compile(r"(?<=disks/)[0-9]+(?=/|$)"), "DISK"),
    (re.compile(r"p-[0-9a-f]{20}[0-9-]*"), "PASS"),
    (re.compile(r"(?<=images/\.)[^/]+(?=\.json)"), "IMAGE"),
    (re.compile(r"[0-9a-f]{16,}"), "ID"),
)


def stable(path: str) -> str:
    """The path with a word for every name that differs from run to run."""
    for pattern, word in _NAMES:
        path = pattern.sub(word, path)
    return path


def is_state(path: str) -> bool:
    return not any(fnmatchcase(path, pattern) for pattern in LEFT_OUT)


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """`row`: one stable path, two joined by " + ", or a directory, which ends in "/" (all of it: "./")."""

    row: str
    harm: Harm
    moment: Moment

    @property
    def id(self) -> str:
        return f"{self.row} {self.harm} {self.moment}".replace(" ", "_")

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.row.split(" + "))


#: Digest of each state file, by its path.
Walk = Mapping[str, str]
#: For each moment: the older copy, and then.
Walks = Mapping[Moment, tuple[Walk, Walk]]


def cells(walks: Walks) -> list[Cell]:
    """All that follow from what was walked.

    Whether a file changes is asked of all moments together: at a single one it depends on when a process was killed.
    Of a pair both change, else the one that does is a row already.
    """
    made: list[Cell] = []
    for row in _rows(walks):
        turn = zlib.crc32(row.encode())  # another row changes nothing of it
        for number, harm in enumerate(Harm):
            able = [moment for moment in Moment if _bites(row, harm, moment, walks)]
            if able and harm is Harm.OLDER:
                made += [Cell(row, harm, moment) for moment in able]
            elif able:
                made.append(Cell(row, harm, able[(turn + number) % len(able)]))
    return sorted(made)


def _rows(walks: Walks) -> list[str]:
    files = {stable(path) for walk in walks.values() for path in walk[1]}
    places: dict[str, set[str]] = {}
    for file in files:
        for place in PurePosixPath(file).parents:
            places.setdefault(str(place), set()).add(file)
    distinct = {frozenset(held): place for place, held in sorted(places.items()) if len(held) > 1}
    siblings = (sorted(f for f in files if str(PurePosixPath(f).parent) == place) for place in places)
    pairs = [" + ".join(pair) for held in siblings for pair in combinations(held, 2)]
    return sorted([*files, *pairs, *(f"{place}/" for place in distinct.values())])


def _bites(row: str, harm: Harm, moment: Moment, walks: Walks) -> bool:
    """Whether there is something to harm at that moment."""
    parts, whole, target = row.split(" + "), row.endswith("/"), "/DISK/" in row
    old, new = ([_of(part, walk) for part in parts] for walk in walks[moment])
    if not all(new):
        return False
    match harm:
        case Harm.OLDER:
            return all(old) and all(_changes(part, walks) for part in parts)
        case Harm.SWAPPED:
            return target and (not whole or row.endswith("/DISK/")) and all(len(held) > 1 for held in new)
        case Harm.GONE:
            return len(parts) == 1 or target
        case Harm.ZEROED:
            return len(parts) == 1
        case Harm.CUT:
            return len(parts) == 1 and not whole


def _changes(row: str, walks: Walks) -> bool:
    pairs = [(_of(row, old), _of(row, new)) for old, new in walks.values()]
    if row.endswith("/"):
        return any(old != new for old, new in pairs)
    return any(old[path] != new[path] for old, new in pairs for path in old.keys() & new.keys())


def _of(row: str, walk: Walk) -> dict[str, str]:
    if row == "./":
        return dict(walk)
    return {
        p: d for p, d in walk.items() if stable(p) == row or (row.endswith("/") and stable(p).startswith(row))
    }


# ---------------------------------------------------------------- what must come of it


@dataclass(frozen=True, slots=True)
class Rule:
    """Cells whose row, harm and moment fit the patterns."""

    row: str
    harm: str
    moment: str
    reason: str

    def covers(self, cell: Cell) -> bool:
        words = ((cell.row, self.row), (cell.harm, self.harm), (cell.moment, self.moment))
        return all(fnmatchcase(word, pattern) for word, pattern in words)


_KEY: Final = "a key that is damaged is neither used nor replaced in silence"
_DATABASE: Final = "a damaged database is restored from its backup, not guessed"
_RECORD: Final = "a damaged record of a credential is removed by a person, who gives a new code for it"
_INSTANCE: Final = "a damaged record says no more which instance it is"
_STRANGER: Final = "the database does not know the appliance, and a person says whether it may come back"

#: A clean refusal is right here; everywhere else the run must end equal.
REFUSALS: Final = (
    Rule("./", "zeroed", "*", _KEY),
    Rule(".connector/", "zeroed", "*", _KEY),
    Rule(".connector/appliance/", "zeroed", "*", _RECORD),
    Rule(".connector/appliance/evidence-key.pem", "zeroed", "*", _KEY),
    Rule(".connector/appliance/evidence-key.pem", "cut", "*", _KEY),
    Rule(".connector/appliance/membership.json", "zeroed", "*", _RECORD),
    Rule(".connector/appliance/membership.json", "cut", "*", _RECORD),
    Rule(".connector/control/", "zeroed", "*", _KEY),
    Rule(".connector/control/activation-code", "zeroed", "*", _KEY),
    Rule(".connector/control/control.pem", "zeroed", "*", _KEY),
    Rule(".connector/control/control.pem", "cut", "*", _KEY),
    Rule(".connector/control/control.sqlite", "zeroed", "*", _DATABASE),
    Rule(".connector/control/control.sqlite", "cut", "*", _DATABASE),
    Rule(".connector/control/control.sqlite", "older copy", "after run 1", _STRANGER),
    Rule(".connector/control/control.sqlite + *", "older copy", "after run 1", _STRANGER),
    Rule(".connector/control/control.sqlite", "deleted", "*", _STRANGER),
    Rule(".connector/control/engine.sqlite", "zeroed", "*", _DATABASE),
    Rule(".connector/control/engine.sqlite", "cut", "*", _DATABASE),
    Rule("instances/INSTANCE/", "zeroed", "*", _INSTANCE),
    Rule("instances/INSTANCE/instance.json", "zeroed", "*", _INSTANCE),
    Rule("instances/INSTANCE/instance.json", "cut", "*", _INSTANCE),
    Rule(
        "instances/INSTANCE/instance.json",
        "deleted",
        "*",
        "without its record the provider has no such instance: somebody released it",
    ),
    Rule(
        ".connector/control/control.pem",
        "deleted",
        "run 3 killed",
        "with another identity the snapshot of the run that was killed is another connector's: a person decides",
    ),
    Rule(
        "instances/INSTANCE/",
        "deleted",
        "run 3 killed",
        "an instance that is gone under a run was released by somebody",
    ),
    Rule(".connector/control/access-key.toml", "zeroed", "*", _KEY),
    Rule(".connector/control/access-key.toml", "cut", "*", _KEY),
    Rule(".connector/control/vault-key", "*", "*", "what it sealed cannot be opened without it"),
)

#: With these gone the control plane is another one: it leaves the snapshots of the one before alone.
FOREIGN: Final = ("./", ".connector/", ".connector/control/", ".connector/control/control.pem")

#: What is not mended yet. Strict: a cell here that ends well fails.
BROKEN: Final[tuple[Rule, ...]] = ()


def rule(rules: Iterable[Rule], cell: Cell) -> Rule | None:
    return next((rule for rule in rules if rule.covers(cell)), None)


# ---------------------------------------------------------------- what is kept of a walk


def known() -> list[Cell]:
    """The cells of the last walk that was written down."""
    rows = json.loads(WALKED.read_text())
    return [Cell(row, Harm(harm), Moment(moment)) for row, harm, moment in rows]


def write(found: Iterable[Cell]) -> None:
    lines = (json.dumps([cell.row, cell.harm, cell.moment]) for cell in found)
    WALKED.write_text("[\n " + ",\n ".join(lines) + "\n]\n")
    PAGE.write_text(page(known()))


def page(found: list[Cell]) -> str:
    """docs/restore-matrix.md."""
    older = [f"| {moment} | {copy} |" for moment, copy in OLDER.items()]
    rows = sorted({cell.row for cell in found})
    table = [_line(row, [cell for cell in found if cell.row == row]) for row in rows]
    refused = [f"| {_code(r.row)} | {r.harm} | {r.moment} | {r.reason} |" for r in REFUSALS]
    return "\n".join(
        [
            _INTRODUCTION.format(cells=len(found), standing=len(STANDING)),
            *("| moment | the older copy is of |", "|---|---|", *older, ""),
            *(f"| state | {' | '.join(Harm)} |", f"|---|{'---|' * len(Harm)}", *table, ""),
            *(_REFUSED, "| state | harm | moment | why |", "|---|---|---|---|", *refused, ""),
            *(_STANDING, "| state | harm | and then |", "|---|---|---|", *map(_standing, STANDING), ""),
        ]
    )


def _line(row: str, its: list[Cell]) -> str:
    def moments(harm: Harm) -> str:
        return ", ".join(str(cell.moment).removeprefix("after ") for cell in its if cell.harm is harm) or "-"

    return f"| {_code(row)} | {' | '.join(moments(harm) for harm in Harm)} |"


def _standing(cell: StandingCell) -> str:
    then = "held until it is confirmed, then equal" if cell.held else "equal"
    return f"| {_code(' + '.join(cell.harmed))} | {cell.harm} | {then} |"


def _code(row: str) -> str:
    return " + ".join(f"`{part}`" for part in row.split(" + "))


@dataclass(frozen=True, slots=True)
class StandingCell:
    """Of a control plane that stands by itself, after run 2. `held`: nothing is begun before the restore is confirmed; `late`:
    only the instance knows of it, so that the run begins and waits.
    """

    harmed: tuple[str, ...]
    harm: Harm
    held: bool
    late: bool = False
    broken: str = ""  # what is not mended yet

    @property
    def id(self) -> str:
        return f"{'+'.join(self.harmed)} {self.harm}".replace(" ", "_")


STANDING: Final = (
    StandingCell(("database",), Harm.OLDER, held=True),
    StandingCell(("database", "control/"), Harm.OLDER, held=True),
    StandingCell(("database", "appliance/"), Harm.OLDER, held=True),
    StandingCell(("database", "instances/INSTANCE/"), Harm.OLDER, held=True),
    StandingCell(("database", "control/", "appliance/"), Harm.OLDER, held=True, late=True),
    StandingCell(("database", "control/", "appliance/", "instances/INSTANCE/"), Harm.OLDER, held=False),
    StandingCell(("control/",), Harm.OLDER, held=False),
    StandingCell(("appliance/",), Harm.OLDER, held=False),
    StandingCell(("appliance/",), Harm.GONE, held=False),
    StandingCell(("instances/INSTANCE/",), Harm.OLDER, held=False),
    StandingCell(("instances/INSTANCE/data/disks/DISK/disk.raw",), Harm.GONE, held=False),
    StandingCell(("instances/INSTANCE/data/disks/DISK/journal",), Harm.GONE, held=False),
)

_INTRODUCTION: Final = """# Restore matrix

{cells} cells of `connector migrate` on SQLite and {standing} of a standing control plane on PostgreSQL, each a test
(`make faults`): a machine of two disks of equal size is migrated in runs, and between two commands something of the state is
put back to an older copy, deleted, zeroed, cut in its middle, or swapped between the two disks. The guest goes on writing.
Then an incremental run and a cutover follow, with the audit off (`--audit 0`). Afterwards

- every image that was made equals the source byte for byte: it is compared with the disks of the simulated vCenter, not by
  our own proof;
- where a command ends otherwise than with 0, its error is in the [catalogue](errors.md), is one line, says what to do, and
  the cell is in the list of refusals below.

Rows are what a walk through the state directories finds after these runs: a file that is new is tried at once, and the
matrix fails until this page knows it (`python -m tests.faults.restore`). A pair of files is a row where both change.
"""
_REFUSED: Final = "A refusal is right in these cells, and in no others:\n"
_STANDING: Final = """A control plane that stands by itself, on PostgreSQL, with an appliance beside it, after run 2. Older
copies are of the end of run 1:
"""


def main() -> None:
    from tests.faults.world import walked  # the world needs these names

    write(cells(walked()))


def each(found: Iterable[Cell], do: Callable[[Cell], None]) -> Iterator[str]:
    """What went wrong in each of the cells."""
    for cell in found:
        try:
            do(cell)
        except AssertionError as failed:
            yield f"{cell.id}: {failed}"


if __name__ == "__main__":
    main()
