"""When CBT lies: every case in which a change id cannot be trusted ends in a comparing pass with the right bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.appliance.progress import PassProgress
from connector.cancellation import Cancellation
from connector.errors import Interrupted
from connector.settings import TransferSettings
from simulator.estate.inventory import PowerState
from simulator.faults import Rule
from tests.appliance.context import CELL, MIB, Bench, context
from tests.transfer.conftest import make_job


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One machine that has been through it all: each case begins with a delta that puts it right."""
    with context(tmp_path_factory.mktemp("doubt"), make_job("doubt")) as made:
        yield made


@pytest.fixture
def web(shared: Bench) -> Bench:
    shared.house.witness.replace([])
    if shared.house.machine().power_state is PowerState.OFF:
        shared.house.estate.power.on(shared.house.machine().moref)
    shared.run()
    return shared


def stun(web: Bench) -> None:
    shots, moref = web.house.estate.snapshots, web.house.machine().moref
    shots.remove(moref, shots.create(moref, "stun"))


def tracking(web: Bench, wanted: bool) -> None:
    web.house.estate.hardware.set_change_tracking(web.house.machine().moref, wanted)
    stun(web)


def reset(web: Bench) -> None:
    tracking(web, False)
    web.house.write()
    tracking(web, True)


def disabled(web: Bench) -> None:
    """By somebody else, in a machine that is off when it is read: its snapshot has no change ids."""
    tracking(web, False)
    web.house.write(count=2)
    web.house.estate.power.off(web.house.machine().moref)


def file_fault(web: Bench) -> None:
    rule = Rule("QueryChangedDiskAreas", "fault", fault="FileFault", details={"file": "x"}, times=None)
    web.house.witness.add(rule)


def expired(web: Bench) -> None:
    """FileFault "Error caused by file ...", as of a damaged tracking file."""
    for disk in web.house.machine().disks:
        web.house.estate.storage.disk(disk.storage).tracking.forget_history()


def foreign(web: Bench) -> None:
    """InvalidArgument on changeId."""
    web.house.witness.add(Rule("estate.query", "answer", answer={"changeId": "52 00/9"}, times=None))


def grown(web: Bench) -> None:
    for disk in web.house.machine().disks:
        capacity = (disk.capacity // MIB + 2) * MIB
        web.house.estate.hardware.extend_disk(web.house.machine().moref, disk.key, capacity)
    web.house.write()


def reverted(web: Bench) -> None:
    estate, moref = web.house.estate, web.house.machine().moref
    shot = estate.snapshots.create(moref, "by hand")
    web.house.write()
    estate.snapshots.revert(moref, shot)
    estate.power.on(moref)
    estate.snapshots.remove(moref, shot)


def replaced(web: Bench) -> None:
    """Other disks, of the same size, with the same device keys and file names."""
    estate, vm = web.house.estate, web.house.machine()
    for disk in vm.disks:
        estate.hardware.remove_disk(vm.moref, disk.key, destroy=True)
    for disk in vm.disks:
        estate.hardware.add_disk(vm.moref, disk.controller, disk.unit, disk.capacity, key=disk.key)
    assert [d.path for d in web.house.machine().disks] == [d.path for d in vm.disks]
    web.house.write()


def readded(web: Bench) -> None:
    """Removed, written to elsewhere, and back in its place."""
    estate, vm = web.house.estate, web.house.machine()
    for disk in vm.disks:
        estate.hardware.remove_disk(vm.moref, disk.key)
        estate.storage.disk(disk.storage).write(MIB, b"elsewhere" * 512 + bytes(512), tracked=False)
    for disk in vm.disks:
        estate.hardware.attach_disk(vm.moref, disk)


def moved(web: Bench) -> None:
    estate, vm = web.house.estate, web.house.machine()
    other = next(moref for moref in estate.inventory.datastores if moref != vm.datastore)
    estate.hardware.relocate(vm.moref, other)


def moved_with_its_history(web: Bench) -> None:
    """The tracking file goes along; a new path is reason enough."""
    estate, vm = web.house.estate, web.house.machine()
    other = next(moref for moref in estate.inventory.datastores if moref != vm.datastore)
    estate.hardware.relocate(vm.moref, other, keep_tracking=True)


def crashed(web: Bench) -> None:
    moref = web.house.machine().moref
    web.house.estate.power.crash(moref)
    web.house.estate.power.on(moref)


def out_of_order(web: Bench) -> None:
    """The snapshot of the base is there when the next one is taken, or there again."""
    moref = web.house.machine().moref
    token = next(token for token in reversed(web.recorder.objects) if f":p-{web.number}" in token)
    shots = web.house.estate.snapshots
    web.house.witness.when("CreateSnapshot_Task", lambda: shots.create(moref, "restored", token))
    web.house.witness.when("RemoveSnapshot_Task", lambda: shots.remove(moref, _named(web, "restored")))


def _named(web: Bench, name: str) -> str:
    return next(shot.moref for shot in web.house.machine().snapshots if shot.name == name)


CASES: dict[str, tuple[Callable[[Bench], None], str]] = {
    "reset": (reset, "tracking was restarted"),
    "disabled": (disabled, "has no change id"),
    "file fault": (file_fault, ""),
    "expired": (expired, "Error caused by file"),
    "foreign id": (foreign, "changeId"),
    "grown": (grown, "was resized"),
    "reverted": (reverted, "tracking was restarted"),
    "replaced": (replaced, "another disk is in its place"),
    "removed and added again": (readded, "tracking was restarted"),
    "moved": (moved, "the disk moved"),
    "moved with its history": (moved_with_its_history, "the disk moved"),
    "host crashed": (crashed, "tracking was restarted"),
    "snapshots out of order": (out_of_order, "was still there"),
}


@pytest.mark.parametrize("case", CASES)
def test_invariant_6_a_change_id_in_doubt_means_comparing(web: Bench, case: str) -> None:
    spoil, reason = CASES[case]
    before = {disk.key: web.target(disk.key).read_bytes() for disk in web.house.machine().disks}
    web.house.write(count=4)
    spoil(web)
    if case != "disabled":
        web.house.write(count=2)
    rows = web.run(web.order(final=case == "disabled"))
    web.equal()
    after = web.house.content()
    for key, row in rows.items():
        assert row["kind"] == "compare"
        assert row["note"].startswith("compared: ")
        assert reason in row["note"]
        assert row["wire"] <= differing(before[key], after[key]) * (CELL + 200) + 20_000
        assert row["read"] >= row["sent"] + row["same"]


class Halfway(PassProgress):
    """Asks the pass to stop when some of the first disk is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = Cancellation()

    def update(self, key: int, **changes: Any) -> None:
        super().update(key, **changes)
        if key == 2000 and changes.get("done", 0) > MIB:
            self.stop.set()


def test_a_first_pass_whose_changes_are_lost_in_the_middle_is_not_sent_again(tmp_path: Path) -> None:
    """Interrupted, its snapshot gone and CBT reset since: everything is read again, what is there is not sent again."""
    settings = TransferSettings(in_flight=2 * MIB, compression="none")
    with context(tmp_path, make_job("first"), transfer=settings) as web:
        web.house.reader(bandwidth=2 * MIB)
        board = Halfway()
        with pytest.raises(Interrupted):
            web.run(stop=board.stop, board=board)
        durable = sum(n for _, n in web.instance.endpoint.disk("2000")["attempts"][0]["durable"])  # type: ignore[index]
        tracking(web, False)
        tracking(web, True)
        web.house.write(count=2)
        web.house.reader()
        row = web.run()[2000]
        web.equal()
        assert row["kind"] == "compare"
        assert "tracking was restarted" in row["note"]
        assert row["read"] == row["planned"]
        assert row["same"] >= durable - 4 * CELL > 0
        assert row["sent"] <= row["planned"] - durable + 4 * CELL


def differing(one: bytes, other: bytes) -> int:
    """Cells that are not the same."""
    return sum(
        one[at : at + CELL] != other[at : at + CELL] for at in range(0, max(len(one), len(other)), CELL)
    )
