"""A guest that never stops writing, one incremental job, and in every second pass something breaks: images stay equal."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connector.errors import ConnectorError, catalogue, from_json
from simulator.guest.workload import Mix, Workload
from tests.faults.matrix import Cell, Fault
from tests.faults.strikes import Strike
from tests.faults.works import DONE, MACHINE, Works, can_fill, works
from tests.integration.house import MIB
from tests.integration.witness import Shown
from tests.soak.draw import Length, fault, traced

DISKS = ((12 * MIB, 8 * MIB), (4 * MIB + 1536, 2 * MIB), (2 * MIB + 512, MIB))
RATE = 2 * MIB  # bytes a second that the guest writes
GUEST = Mix(burst=1, burst_least=MIB // 2, burst_most=MIB)
NAME = "soak"


@dataclass(slots=True)
class Soak:
    """The job between two passes. `seen` counts how passes with a fault went."""

    works: Works
    length: Length
    job: str
    total: int  # bytes that the last undisturbed pass sent
    images: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)

    def one(self, number: int) -> None:
        """One delta pass, and its image compared with what its snapshot showed."""
        cell = self._possible(fault(self.length, number)) if number else None
        with traced(self.length, number, cell):
            began = time.monotonic()
            went = self._run(cell)
            self.works.no_snapshot()
            self._compare()
            self.seen[went] += 1
            what = cell.id if cell else "-"
            print(f"pass {number:4} {time.monotonic() - began:5.1f} s  {went:8} {what}", flush=True)

    def _possible(self, cell: Cell | None) -> Cell | None:
        if cell is not None and cell.fault is Fault.FULL and not can_fill(self.works.small["target"]):
            return None
        return cell

    def _run(self, cell: Cell | None) -> str:
        made = self.works
        made.relay.reset()
        made.house.witness.forget()
        with ExitStack() as undo:
            strike = None
            if cell is not None:
                strike = Strike(made, cell, self.total, undo)
                strike.arm()
            made.jobs.start(self.job)
            found = made.rest(self.job)
            sent = made.relay.passed
        if strike is None:
            self.total = sent
        if found["status"] in DONE:
            return "quiet" if strike is None else "survived" if strike.done else "missed"
        assert strike is not None and strike.done, f"it failed in peace: {found['error']}"
        _check_cause(found["error"])
        found = made.again(self.job)
        assert found["status"] in DONE, f"it fails again after the cause is gone: {found['error']}"
        return "failed, started again"

    def _compare(self) -> None:
        made = self.works
        (image,) = made.images()
        truth = self._last().digests
        found = made.image(image)
        assert found == truth, (
            f"bytes differ on disks {[key for key in truth if found.get(key) != truth[key]]}"
        )
        key = str(sorted(found.items()))
        assert key not in self.images, "the guest wrote, and the image is an old one"
        self.images.add(key)
        made.drop_images()

    def _last(self) -> Shown:
        """The newest snapshot of ours; all are gone by now."""
        return [shown for shown in self.works.house.witness.shown if shown.machine == MACHINE][-1]


def _check_cause(error: dict[str, object] | None) -> None:
    assert error is not None
    assert error["error"] in catalogue()
    assert type(from_json(error)) is not ConnectorError, f"an unforeseen failure: {error}"


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_images_stay_equal_for_as_long_as_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    length = Length.told()
    with capsys.disabled(), ExitStack() as stack:
        made = stack.enter_context(works(tmp_path, 99, DISKS, scratch=True))
        foreign = made.foreign()
        guest = Workload(
            made.house.estate,
            made.house.machine().moref,
            rate=RATE,
            seed=length.seed,
            mix=GUEST,
            record=False,
        )
        guest.start()
        stack.callback(guest.stop)
        soak = Soak(made, length, made.begin(NAME, run_once=False), 0)
        print(f"\nseed {length.seed}, {length.passes} passes, {length.seconds:g} s", flush=True)
        _go(soak)
        guest.stop()
        assert guest.failure is None
        assert made.foreign() == foreign
        made.end(soak.job)


def _go(soak: Soak) -> None:
    """The full pass in peace, then deltas until the end of the run."""
    soak.one(0)
    soak.total = MIB  # a delta is smaller, how much smaller the first quiet one tells
    began, number = time.monotonic(), 0
    while number < soak.length.passes:
        spent = time.monotonic() - began
        if soak.length.seconds and spent >= soak.length.seconds:
            break
        number += 1
        soak.one(number)
    spent = time.monotonic() - began
    rate = 60 * number / spent
    print(f"{number} delta passes in {spent:.0f} s: {rate:.0f} a minute; {dict(soak.seen)}", flush=True)
    assert len(soak.images) == number + 1 > 1
