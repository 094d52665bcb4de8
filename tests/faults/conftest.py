"""One installation for each test process, built anew when a cell has left it in an unknown state."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.faults.works import Works, works

SHARE: Final = int(os.environ.get("FAULTS_SHARE", "1"))
SEED: Final = os.environ.get("FAULTS_SEED", "0")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """FAULTS_SHARE=N: one cell in N, which ones by FAULTS_SEED. What is no cell, as the walk, always runs."""
    left_out = [item for item in items if "test_cell[" in item.nodeid and not _drawn(item.nodeid)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        out = set(left_out)
        items[:] = [item for item in items if item not in out]


def pytest_report_header() -> str | None:
    return f"faults: one cell in {SHARE}, seed {SEED}" if SHARE > 1 else None


def _drawn(cell: str) -> bool:
    return zlib.crc32(f"{SEED} {cell}".encode()) % SHARE == 0


class Shop:
    """Hands out the works; `spoiled` ones are thrown away before the next cell."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._works: Works | None = None
        self.total = 0  # bytes that a whole pass sends

    def open(self) -> Works:
        if self._works is None:
            root = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
            self._works = self._stack.enter_context(works(root, _number()))
            self.total = _rehearse(self._works)
        return self._works

    def spoil(self) -> None:
        self._works = None
        self._stack.close()


def _rehearse(made: Works) -> int:
    """One pass in peace: CBT is on afterwards, and it is known how many bytes a pass sends."""
    made.relay.reset()
    job = made.begin("rehearsal")
    made.jobs.start(job)
    assert made.rest(job)["status"] == "Finished"
    total = made.relay.passed
    made.end(job)
    return total


def _number() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) + 1


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.spoil()
