"""A migration that can be put back to a moment of its life: simulated vCenter and target directory, as files, together."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connector.cli.main import main
from connector.errors import ConnectorError, catalogue, from_json
from tests.faults.restore import OLDER, Cell, Harm, Moment, Walk, Walks, is_state, stable
from tests.integration.command import Command
from tests.integration.house import MIB, House, Shape, house
from tests.integration.witness import digest
from tests.warm import warm

MACHINE: Final = "web-01"
DISKS: Final = ((40 * MIB, 2 * MIB), (40 * MIB, 2 * MIB))  # more than two pages of a digest table each
KEPT: Final = ("vcenter", "out")
SHM: Final = Path("/dev/shm")
_BEGUN: Final = "begun"

Images = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a command that failed said it."""

    code: int
    error: Mapping[str, Any]

    def check(self) -> None:
        """Clean: from the catalogue, one line, with something to do."""
        assert self.error.get("error") in catalogue(), self.error
        failed = from_json(dict(self.error))
        assert type(failed) is not ConnectorError, f"unforeseen: {failed}"
        assert "\n" not in str(failed), str(failed)
        assert failed.remedy, f"says nothing to do: {failed}"


class World:
    """Everything below `root`; `live` is where it happens, always at the same place, `kept` are its moments."""

    def __init__(self, root: Path) -> None:
        self.root, self.live, self._kept = root, root / "live", root / "kept"
        self.live.mkdir(parents=True)
        self._begin()

    # ------------------------------------------------------------------ its life

    def _begin(self) -> None:
        with house(self.live, (Shape(MACHINE, DISKS),)) as made:
            self._interrupted(made, MIB)
            self._keep(_BEGUN)
            self._complete(made)
            self._keep(Moment.FIRST)
            made.write(count=24)
            self._complete(made)
            self._keep(Moment.SECOND)
            made.write(count=60)
            self._interrupted(made, MIB // 2)
            self._keep(Moment.KILLED)

    def _words(self, made: House, step: str = "--incremental") -> list[str]:
        return made.migration(MACHINE, step, "--audit", "0")

    def _complete(self, made: House) -> None:
        command = Command(self._words(made), self.live, {})
        done = command.wait()
        assert done.code == 0, done.stderr
        command.gone()

    def _interrupted(self, made: House, bandwidth: int) -> None:
        """Every process is killed while blocks are copied; of a warm one it is the stub, which takes it along."""
        made.reader(bandwidth=bandwidth)
        command = Command(self._words(made), self.live, {})
        command.copied(0.2)
        for one in command.processes():
            one.kill()
        command.wait()
        command.gone()
        made.reader()

    def _keep(self, moment: str) -> None:
        for name in KEPT:
            copy(self.live / name, self._kept / moment / name)

    def before(self, moment: Moment) -> Path:
        """The older copy."""
        return (
            self._kept
            / {Moment.FIRST: _BEGUN, Moment.SECOND: Moment.FIRST}.get(moment, Moment.SECOND)
            / "out"
        )

    def walks(self) -> Walks:
        return {m: (walk(self.before(m)), walk(self._kept / m / "out")) for m in OLDER}

    # ------------------------------------------------------------------ cells

    def put_back(self, moment: Moment) -> None:
        for name in KEPT:
            shutil.rmtree(self.live / name)
            copy(self._kept / moment / name, self.live / name)

    def harm(self, cell: Cell) -> None:
        """Do to every part of the row what the cell says."""
        here, older = self.live / "out", self.before(cell.moment)
        for part in cell.parts:
            if cell.harm is Harm.SWAPPED:
                _swap(*matches(here, part)[:2])
            elif cell.harm is Harm.OLDER:
                put_back(here, older, part)
            else:
                damage(matches(here, part)[0], cell.harm)

    @contextmanager
    def open(self) -> Iterator[House]:
        """Its vCenter runs; the guest has written since."""
        with house(self.live) as made:
            made.write(count=6)
            yield made

    def step(self, made: House, step: str) -> Refusal | None:
        """One command. Whatever images it makes are those of the source, whether it ends well or not."""
        before, left, shown = images(made), set(made.snapshots()), len(made.witness.shown)
        code, error = call(self._words(made, step))
        truths = [made.digests(), *(dict(view.digests) for view in made.witness.shown[shown:])]
        changed = {name: disks for name, disks in images(made).items() if before.get(name) != disks}
        for name, disks in changed.items():
            assert disks in truths, f"{step}: WRONG IMAGE {name}: {_differing(disks, truths[0])}"
        assert set(made.snapshots()) <= left, f"{step}: a snapshot is left"
        if code:
            return Refusal(code, error)
        if step == "--cutover":
            assert truths[0] in changed.values(), f"no image of what the source is now: {sorted(changed)}"
            assert made.machine().power_state == "poweredOff"
        assert changed, f"{step}: no image"  # a run that goes on shows the instant of its own snapshot
        return None


def walked() -> Walks:
    """What a life leaves."""
    with world() as made:
        return made.walks()


@contextmanager
def world() -> Iterator[World]:
    where = SHM if os.access(SHM, os.W_OK) else None  # what is synced there costs nothing
    with tempfile.TemporaryDirectory(prefix="restore-", dir=where) as root, warm(Path(root) / "warm"):
        yield World(Path(root))


def walk(out: Path) -> Walk:
    files = (file for file in sorted(out.rglob("*")) if file.is_file())
    found = {str(file.relative_to(out)): file for file in files}
    return {path: digest(file.read_bytes()) for path, file in found.items() if is_state(path)}


def images(made: House) -> Images:
    return {name: made.image(name) for name in made.images() if not name.startswith(".")}


def call(words: list[str]) -> tuple[int, Mapping[str, Any]]:
    """`connector WORDS` in this process: its exit code, and the error that it printed, else its last object."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = main(words)
    lines = [json.loads(line) for line in out.getvalue().splitlines() if line.startswith("{")]
    errors = [line for line in lines if "error" in line and "event" not in line]
    return code, (errors or lines or [{}])[-1]


def _differing(disks: Mapping[int, str], truth: Mapping[int, str]) -> str:
    return f"disks {[key for key in truth if disks.get(key) != truth[key]]} differ"


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)


def matches(out: Path, row: str) -> list[Path]:
    """What there is of a row; a directory's match is its whole content."""
    if row == "./":
        return [out]
    kind = Path.is_dir if row.endswith("/") else Path.is_file
    places = (place for place in sorted(out.rglob("*")) if kind(place))
    return [place for place in places if stable(str(place.relative_to(out))) == row.rstrip("/")]


def put_back(here: Path, older: Path, row: str) -> None:
    """One match of the older copy takes its place; of a directory everything is as it was then, images excepted."""
    source = next(match for match in matches(older, row))
    target = here / source.relative_to(older)
    if not row.endswith("/"):
        shutil.copy2(source, target)
        return
    for file in _state_files(target, here):
        file.unlink()
    for file in _state_files(source, older):
        place = here / file.relative_to(older)
        place.parent.mkdir(parents=True, exist_ok=True)
        copy(file, place)


def _state_files(place: Path, out: Path) -> list[Path]:
    files = (file for file in sorted(place.rglob("*")) if file.is_file())
    return [file for file in files if is_state(str(file.relative_to(out)))]


def damage(target: Path, harm: Harm) -> None:
    files = [target] if target.is_file() else _state_files(target, target)
    for file in files:
        size = file.stat().st_size
        if harm is Harm.GONE:
            file.unlink()
        elif harm is Harm.CUT:
            os.truncate(file, size // 2)
        else:
            os.truncate(file, 0)
            os.truncate(file, size)
    if harm is Harm.GONE and target.is_dir() and not any(f.is_file() for f in target.rglob("*")):
        shutil.rmtree(target)


def _swap(left: Path, right: Path) -> None:
    aside = left.with_name("swapping")
    left.rename(aside)
    right.rename(left)
    aside.rename(right)
