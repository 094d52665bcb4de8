"""One installation for each test process, built anew when a cell has left it in an unknown state."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.works import Works, works


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
