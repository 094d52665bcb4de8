"""A source is given back as it was found: what resists is told, and mended by whoever comes next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from simulator.faults import Rule
from tests.integration.conftest import Run
from tests.integration.house import MIB, House, Shape, equal

TINY = ((2 * MIB, MIB),)


@pytest.fixture
def tracked(make_house: Callable[..., House]) -> House:
    """web-01, powered on with CBT already active."""
    house = make_house(Shape("web-01", TINY, on=False))
    house.estate.hardware.set_change_tracking(house.machine().moref, True)
    house.estate.power.on(house.machine().moref)
    return house


def recorded(house: House, query: str) -> list[Any]:
    """What the control plane of the last command wrote down."""
    with sqlite3.connect(house.out / ".connector" / "control" / "control.sqlite") as store:
        return list(store.execute(query))


def stuck(call: str) -> Rule:
    return Rule(call, "fault", fault="FileFault", message="stuck", times=None)


@pytest.mark.parametrize(
    ("call", "stands"),
    [
        ("task:RemoveSnapshot_Task", True),
        pytest.param("estate.consolidate", False, marks=pytest.mark.slow),
    ],
)
def test_invariant_3_a_snapshot_that_resists_fails_no_migration_and_stays_visible_until_it_is_mended(
    tracked: House, run: Run, call: str, stands: bool
) -> None:
    tracked.witness.add(stuck(call))
    before = tracked.digests()
    done = run(tracked.migration("web-01", "--incremental"))
    assert done.code == 0, done.stderr
    equal(tracked, "web-01", "web-01_CYCLE_1", before)
    assert bool(tracked.snapshots()) is stands
    assert "stuck" in done.result()["snapshots"][-1]["left"]
    ((removed, trouble),) = recorded(tracked, "SELECT removed, trouble FROM objects WHERE kind = 'snapshot'")
    assert not removed and "stuck" in trouble
    assert recorded(tracked, "SELECT text FROM events WHERE kind = 'left'")
    tracked.witness.replace([])
    tracked.write()
    again = run(tracked.migration("web-01", "--incremental"))
    assert again.code == 0, again.stderr
    equal(tracked, "web-01", "web-01_CYCLE_2")
    assert not tracked.snapshots()
    assert not tracked.machine().consolidation_needed
    rows = recorded(tracked, "SELECT removed, trouble FROM objects WHERE kind = 'snapshot'")
    assert rows == [(1, "")] * 2
    assert recorded(tracked, "SELECT text FROM events WHERE kind = 'mended'")
    assert json.loads(done.stdout.splitlines()[-1])["snapshots"][0]["create"] >= 0
