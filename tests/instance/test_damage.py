"""Files of a disk that are lost, old, foreign or changed: the instance starts, others are not touched, and the image is right.

All damages are done to one instance, each to disks of its own, between two of its lives: it starts once.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.errors import ProofFailed
from connector.kinds import PassKind
from connector.model import Extent
from connector.settings import TransferSettings
from connector.transfer import digest, tree
from connector.transfer.disk_pass import DiskPass, copy_disk
from connector.transfer.source import FileSource
from tests.transfer.conftest import CELL, MIB, Instance, Job

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # every window is flushed
CAPACITY = 17 * MIB + 5 * 512
SETTINGS = TransferSettings(in_flight=2 * MIB, compression="none")
Damage = Callable[[Path, Path], None]
"""What is done to the directory of a disk; the second is a copy of it from before the last pass."""


def lost(*names: str) -> Damage:
    return lambda home, _: [(home / name).unlink() for name in names] and None


def zeroed(*names: str) -> Damage:
    return lambda home, _: [(home / n).write_bytes(bytes((home / n).stat().st_size)) for n in names] and None


def cut(*names: str) -> Damage:
    return lambda home, _: [os.truncate(home / n, (home / n).stat().st_size // 2) for n in names] and None


def longer(name: str) -> Damage:
    return lambda home, _: os.truncate(home / name, (home / name).stat().st_size + CELL)


def older(*names: str) -> Damage:
    return lambda home, old: [shutil.copy(old / name, home / name) for name in names] and None


def filled(name: str, content: bytes) -> Damage:
    return lambda home, _: (home / name).write_bytes(content) and None


def changed_together(home: Path, _: Path) -> None:
    """Somebody changes one cell, and its entry, so that the two agree."""
    noise = random.Random(1).randbytes(CELL)
    with (home / "disk.raw").open("r+b") as data, (home / "digests").open("r+b") as table:
        data.seek(16 * MIB)
        data.write(noise)
        table.seek(256 * digest.SIZE)
        table.write(digest.cells(memoryview(noise)))


def about(**changes: object) -> Damage:
    def write(home: Path, _: Path) -> None:
        (home / "disk.json").write_text(json.dumps(json.loads((home / "disk.json").read_text()) | changes))

    return write


def both(one: Damage, other: Damage) -> Damage:
    def damage(home: Path, old: Path) -> None:
        one(home, old)
        other(home, old)

    return damage


#: What is done, and what the next pass is: it need not compare where the journal knows what everything else must be, and a
#: target that seems to be of a larger disk is removed.
DAMAGES: dict[str, tuple[Damage, str]] = {
    "nothing": (lambda home, _: None, "delta"),
    "journal-lost": (lost("journal"), "compare"),
    "journal-empty": (filled("journal", b""), "compare"),
    "journal-zeroed": (zeroed("journal"), "compare"),
    "journal-older": (older("journal"), "delta"),
    "all-older": (older("journal", "disk.raw", "digests"), "delta"),
    "journal-nonsense": (filled("journal", b"ACJOURN\n" + bytes(range(200))), "compare"),
    "data-lost": (lost("disk.raw"), "compare"),
    "data-short": (cut("disk.raw"), "compare"),
    "data-long": (longer("disk.raw"), "compare"),
    "data-zeroed": (zeroed("disk.raw"), "delta"),
    "data-older": (older("disk.raw"), "delta"),
    "table-lost": (lost("digests"), "compare"),
    "table-short": (cut("digests"), "compare"),
    "table-zeroed": (zeroed("digests"), "delta"),
    "table-older": (older("digests"), "delta"),
    "both-lost": (lost("disk.raw", "digests"), "compare"),
    "both-zeroed": (zeroed("disk.raw", "digests"), "delta"),
    "both-older": (older("disk.raw", "digests"), "delta"),
    "cell-and-entry": (changed_together, "delta"),
    "journal-and-table-lost": (lost("journal", "digests"), "compare"),
    "journal-and-data-lost": (lost("journal", "disk.raw"), "compare"),
    "all-but-about-lost": (lost("journal", "disk.raw", "digests"), "compare"),
    "about-lost": (lost("disk.json"), "delta"),
    "about-nonsense": (filled("disk.json", b"[1, 2"), "delta"),
    "about-larger": (about(capacity=1 << 40), "delta"),
    "about-smaller": (about(capacity=512), "delta"),
    "about-and-journal-lost": (lost("disk.json", "journal"), "compare"),
    "about-wrong-and-journal-lost": (
        both(about(capacity=40 * MIB), lost("journal")),
        "full",
    ),
}
SWAPS = {
    "journals": (("journal",), "compare"),
    "data": (("disk.raw",), "delta"),
    "tables": (("digests",), "delta"),
    "both": (("disk.raw", "digests"), "delta"),
    "abouts": (("disk.json",), "delta"),
    "journals-and-tables": (("journal", "digests"), "compare"),
}


OLD = ("journal-older", "all-older")  # they know only the first pass


@dataclass
class Disk:
    """One disk: its source, and where the instance keeps it."""

    key: str
    source: Path
    home: Path
    kinds: tuple[str, ...] = ()
    row: dict[str, Any] | None = None
    shown: str = ""  # the root at the end

    def write(self, number: int) -> None:
        """The guest writes in both pages of the table before a pass, each time elsewhere."""
        noise = random.Random(f"{self.key} {number}")
        with self.source.open("r+b") as out:
            for at, length in self.changes(number - 1):
                out.seek(at)
                out.write(noise.randbytes(length))

    def changes(self, since: int) -> list[Extent]:
        """What CBT says of a pass since another one."""
        places = (3 * CELL + 7, 9 * MIB, 16 * MIB + 3 * CELL)
        return [Extent(at + 2 * CELL * n, 700) for n in range(since + 1, 4) for at in places]


def bring(endpoint: InstanceEndpoint, disk: Disk, number: int) -> tuple[str, ...]:
    """A pass as an appliance runs it: compare where there is no base to go on from, and mend once what the proof finds."""
    if disk.row and int(disk.row["capacity"]) > CAPACITY:
        endpoint.remove_disk(disk.key)
    state: dict[str, Any] = endpoint.put_disk(disk.key, CAPACITY)
    if not state["touched"]:
        kind, base = PassKind.FULL, ""
    elif state["doubt"] or not state["base"]:
        kind, base = PassKind.COMPARE, ""
    else:
        kind, base = PassKind.REPAIR if state["spoiled"] else PassKind.DELTA, state["base"]["change_id"]
    order = DiskPass(disk.key, f"p-{number}", CAPACITY, kind, f"s-{number}", f"c/{number}", base)
    wanted = (lambda: disk.changes(int(base[2:]))) if base else None
    copy_disk(FileSource(disk.source), endpoint, order, wanted, settings=SETTINGS)
    try:
        endpoint.prove(disk.key)
        return (kind,)
    except ProofFailed:
        mend = DiskPass(
            disk.key,
            order.reading_id,
            CAPACITY,
            PassKind.REPAIR,
            order.snapshot,
            order.change_id,
            order.change_id,
        )
        copy_disk(FileSource(disk.source), endpoint, mend, list, settings=SETTINGS)
        endpoint.prove(disk.key)
        return (kind, "repair")


def root_of(path: Path) -> str:
    content = path.read_bytes()
    entries = digest.marked(len(content), digest.cells(memoryview(content)))
    return tree.root(len(content), tree.nodes(entries)).hex()


@pytest.fixture(scope="module")
def disks(job: Job) -> Iterator[dict[str, Disk]]:
    """Each after two passes, the damage, and a third pass."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        yield damaged(job, Path(place))


def damaged(job: Job, place: Path) -> dict[str, Disk]:
    home, old = place / "instance", place / "old"
    names = [*DAMAGES, *(f"{name}-{side}" for name in SWAPS for side in "ab")]
    made = {}
    for number, name in enumerate(names):
        made[name] = Disk(name, written(place / f"{name}.raw", number), home / "disks" / name)
    first = Instance(home, job)
    try:
        for disk in made.values():
            disk.write(1)
            bring(first.endpoint, disk, 1)
            if "older" in disk.key:
                shutil.copytree(disk.home, old / disk.key)
            disk.write(2)
            bring(first.endpoint, disk, 2)
    finally:
        first.kill()
        first.stop()
    for name, (damage, _) in DAMAGES.items():
        damage(made[name].home, old / name)
    for name, (files, _) in SWAPS.items():
        for file in files:
            swap(made[f"{name}-a"].home / file, made[f"{name}-b"].home / file)
    second = Instance(home, job)
    try:
        for disk in made.values():
            disk.row = second.endpoint.disk(disk.key)
            disk.write(3)
            disk.kinds = bring(second.endpoint, disk, 3)
            disk.shown = str(second.endpoint.disk(disk.key)["root"])
    finally:
        second.stop()
    return made


def written(path: Path, seed: int) -> Path:
    """A sparse disk with some cells of its own."""
    noise = random.Random(seed)
    with path.open("wb") as out:
        out.truncate(CAPACITY)
        for cell in range(0, CAPACITY // CELL, 9):
            out.seek(cell * CELL)
            out.write(noise.randbytes(min(CELL, CAPACITY - cell * CELL)))
    return path


def swap(one: Path, other: Path) -> None:
    held = one.read_bytes()
    shutil.copy(other, one)
    other.write_bytes(held)


@pytest.mark.parametrize("name", DAMAGES)
def test_the_image_is_right_after_the_next_pass(disks: dict[str, Disk], name: str) -> None:
    agrees(disks[name], DAMAGES[name][1])


@pytest.mark.parametrize("side", "ab")
@pytest.mark.parametrize("name", SWAPS)
def test_the_image_is_right_though_files_of_two_disks_were_exchanged(
    disks: dict[str, Disk], name: str, side: str
) -> None:
    agrees(disks[f"{name}-{side}"], SWAPS[name][1])


def agrees(disk: Disk, kind: str) -> None:
    assert disk.row is not None
    assert disk.source.stat().st_size == CAPACITY
    equal = (disk.home / "disk.raw").read_bytes() == disk.source.read_bytes()
    assert equal
    assert disk.kinds[0] == kind
    assert disk.shown == root_of(disk.source)
    assert disk.row["touched"]
    if kind != "delta":
        assert disk.row["base"] is None and disk.row["doubt"].startswith("its ") and not disk.row["root"]
    else:
        assert disk.row["doubt"] == "" and disk.row["generation"] == (1 if disk.key in OLD else 2)


def test_what_was_not_damaged_costs_nothing_more(disks: dict[str, Disk]) -> None:
    assert disks["nothing"].kinds == ("delta",)
    assert disks["about-lost"].kinds == disks["about-larger"].kinds == ("delta",)


def test_a_damaged_target_is_another_one(disks: dict[str, Disk]) -> None:
    targets = [disk.row["target"] for disk in disks.values() if disk.row]
    assert len(set(targets)) == len(targets) == len(DAMAGES) + 2 * len(SWAPS)
