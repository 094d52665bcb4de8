"""A proof that nobody can use any more ends soon, and what it had found wrong is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connector.errors import Conflict, ProofFailed
from connector.instance.disk import Disk
from connector.instance.proofs import Proofs
from connector.instance.records import PassBegin
from connector.transfer.target import RawFileTarget
from tests.transfer.conftest import CELL, MIB
from tests.waiting import PATIENCE

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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """The end of a pass; one byte of it has rotted."""
    made = Disk(tmp_path, "2000", BLOCKS * MIB)
    begin(made, "pass-1")
    made.finish("pass-1", [], [])
    with made.path.open("r+b") as file:
        file.write(b"x")
    made.contents.target = Slow(made.path, BLOCKS * MIB)
    yield made
    made.close()


def begin(disk: Disk, reading: str) -> None:
    disk.begin(PassBegin(reading, "full", f"of {reading}", f"id/{reading}", "", ""))


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
