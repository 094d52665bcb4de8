"""A proof that nobody can use any more ends soon, and what it had found wrong is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from connector.errors import Conflict, ProofFailed, TargetFailed
from connector.instance.disk import Disk
from connector.instance.proofs import Proofs
from connector.instance.records import PassBegin
from connector.kinds import RangeState
from connector.model import Extent
from connector.transfer.target import RawFileTarget
from tests.transfer.conftest import CELL, MIB
from tests.waiting import PATIENCE, eventually

BLOCKS = 64


class Slow(RawFileTarget):
    """Every block but the first takes its time."""

    def __init__(self, path: Path, capacity: int) -> None:
        super().__init__(path, capacity)
        self.reads: list[int] = []
        self.busy = threading.Event()

    def read_into(self, offset: int, room: memoryview) -> None:
        self.reads.append(offset)
        if offset:
            self.busy.set()
            time.sleep(0.3)
        super().read_into(offset, room)


def settled(directory: Path, blocks: int) -> Disk:
    """The end of a pass; one byte of it has rotted."""
    made = Disk(directory, "2000", blocks * MIB)
    begin(made, "pass-1")
    made.finish("pass-1", [], [])
    with made.path.open("r+b") as file:
        file.write(b"x")
    return made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = settled(tmp_path, BLOCKS)
    made.contents.target = Slow(made.path, BLOCKS * MIB)
    yield made
    made.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    """One that is proved at once."""
    made = settled(tmp_path, 1)
    yield made
    made.close()


def begin(disk: Disk, reading: str, kind: str = "full", base: str = "") -> None:
    disk.begin(PassBegin(reading, kind, f"of {reading}", f"id/{reading}", base, ""))


def fail_unseen(proofs: Proofs, disk: Disk) -> None:
    """A proof finds the rot while nobody waits for it."""
    proofs.ask(disk, 0.0, False)
    eventually(lambda: disk.describe()["spoiled"], "the proof finds the rot")


def repair(proofs: Proofs, disk: Disk) -> None:
    """Deliver the rotten cell again."""
    proofs.make_way(disk.key, "pass-1")
    begin(disk, "pass-1", "repair", "id/pass-1")
    session = disk.open_session("pass-1", disk.capacity, lambda: None)
    session.zero(0, CELL)
    session.commit([(Extent(0, CELL), RangeState.ZERO)])
    session.close()
    assert disk.finish("pass-1", [], []) == []


def test_a_proof_makes_way_for_another_reading(disk: Disk) -> None:
    proofs, target = Proofs(), disk.contents.target
    assert isinstance(target, Slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(proofs.ask, disk, PATIENCE, False)
        assert target.busy.wait(PATIENCE)
        proofs.make_way(disk.key, "pass-1")
        with pytest.raises(Conflict, match="being proved"):
            begin(disk, "pass-2")
        proofs.make_way(disk.key, "pass-2")
        begin(disk, "pass-2")
        with pytest.raises(ProofFailed, match=rf"{CELL} bytes differ .* in \[0, {CELL}\)"):
            asked.result(PATIENCE)
    assert len(target.reads) < BLOCKS
    assert disk.describe()["spoiled"] == [[0, CELL]]


def test_a_proof_that_fails_between_two_requests_is_answered_as_such(small: Disk) -> None:
    """The appliance asks again and again; any of its requests may be the first after the proof's end, or be repeated."""
    proofs = Proofs()
    with suppress(ProofFailed):  # it may already end while the first request waits
        fail_unseen(proofs, small)
    for fresh in (False, True):
        with pytest.raises(ProofFailed, match=rf"{CELL} bytes differ .* in \[0, {CELL}\)"):
            proofs.ask(small, PATIENCE, fresh)


def test_an_instance_that_was_started_again_still_knows_what_a_proof_found_wrong(small: Disk) -> None:
    fail_unseen(Proofs(), small)
    with pytest.raises(ProofFailed, match=rf"{CELL} bytes differ .* in \[0, {CELL}\)"):
        Proofs().ask(small, PATIENCE, False)


def test_what_is_wrong_in_the_middle_of_a_pass_is_a_conflict(small: Disk) -> None:
    proofs = Proofs()
    fail_unseen(proofs, small)
    proofs.make_way(small.key, "pass-1")
    begin(small, "pass-1", "repair", "id/pass-1")
    with pytest.raises(Conflict):
        proofs.ask(small, PATIENCE, False)


def test_a_proof_that_failed_says_nothing_about_a_disk_that_was_repaired_since(small: Disk) -> None:
    proofs = Proofs()
    fail_unseen(proofs, small)
    repair(proofs, small)
    run = proofs.ask(small, PATIENCE, False)
    assert run is not None and run.proof is not None and not run.proof.mismatched


class Failing(RawFileTarget):
    """Its storage cannot be read."""

    def read_into(self, offset: int, room: memoryview) -> None:
        raise TargetFailed("the storage does not answer", on="disk 2000")


def test_another_failure_is_answered_once_and_then_it_is_proved_again(small: Disk) -> None:
    """It is answered although it came between two requests: otherwise the appliance would ask for ever."""
    proofs, good = Proofs(), small.contents.target
    small.contents.target = Failing(small.path, MIB)
    with pytest.raises(TargetFailed, match="does not answer"):
        while proofs.ask(small, 0.0, False) is None:
            pass
    small.contents.target = good
    with pytest.raises(ProofFailed):
        proofs.ask(small, PATIENCE, False)
