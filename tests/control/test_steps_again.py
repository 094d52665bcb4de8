"""The engine runs a step again when the process died after the step's work and before its note of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.control.house import Crash, House

STEPS = range(1, 9)  # a run with one pass has seven


def _turn(house: House, crash_after: int | None) -> None:
    with suppress(Crash):
        house.turn(crash_after)
    if crash_after is not None:
        house.crash()
        house.turn()


def _run(house: House, job: str, crash_after: int) -> None:
    """The process dies after so many steps, before the pass and after it."""
    _turn(house, crash_after)
    house.carry()
    _turn(house, crash_after)


def _once(house: House, crash_after: int) -> str:
    job = house.job()
    house.service.start(job)
    _run(house, job, crash_after)
    return job


def _incremental(house: House, crash_after: int) -> str:
    job = house.incremental()
    house.service.start(job)
    _run(house, job, crash_after)
    return job


def _cutover(house: House, crash_after: int) -> str:
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=True, changes={})
    _run(house, job, crash_after)
    return job


@pytest.mark.parametrize("crash_after", STEPS)
@pytest.mark.parametrize(
    ("life", "end"), [(_once, "Finished"), (_incremental, "Waiting"), (_cutover, "Finished")]
)
def test_steps_that_are_done_again_change_nothing(
    house: House, life: Callable[[House, int], str], end: str, crash_after: int
) -> None:
    job = life(house, crash_after)
    assert house.status(job) == end
    assert house.get(job).error is None
    assert len(house.cloud.images) == (2 if life is _cutover else 1)
