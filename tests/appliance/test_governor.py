"""The policy over values: each ladder's steps, what growth means, and that worse never reads as milder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.appliance.snapshot_care.governor import Pace, Sample, Thresholds, judge, obstacle
from connector.model import DatastoreLoad, Pressure

GIB = 1 << 30
EVERY_STEP = {"slow": 1.0, "pause": 2.0, "give_back": 3.0}
SHRINKING = {"slow": 0.3, "pause": 0.2, "give_back": 0.1}
SILENT: dict[str, Any] = {
    name: {"slow": None, "pause": None, "give_back": None}
    for name in ("free", "fills_in", "delta", "nfc", "snapshots", "age")
}


def store(free: float = 50.0, snapshots: int = 0) -> DatastoreLoad:
    return DatastoreLoad("ds", 100 * GIB, int(free * GIB), snapshots)


def sample(at: float = 0.0, free: float = 50.0, delta: float = 0.0, **more: Any) -> Sample:
    snapshots = more.pop("snapshots", 0)
    pressure = Pressure((store(free, snapshots),), int(delta * GIB))
    return Sample(at, more.pop("age", at), pressure, disks=100 * GIB, **more)


def only(name: str, ladder: dict[str, float]) -> Thresholds:
    return Thresholds.model_validate(SILENT | {name: ladder})


@pytest.mark.parametrize(
    ("name", "ladder", "values"),
    [
        ("free", SHRINKING, [{"free": free} for free in (31, 29, 19, 9)]),
        ("delta", SHRINKING | {"slow": 0.1, "give_back": 0.3}, [{"delta": d} for d in (9, 11, 21, 31)]),
        ("nfc", EVERY_STEP, [{"nfc": count} for count in range(4)]),
        ("snapshots", EVERY_STEP, [{"snapshots": count} for count in range(4)]),
        ("age", EVERY_STEP, [{"age": float(age)} for age in range(4)]),
    ],
)
def test_each_signal_climbs_its_own_ladder(
    name: str, ladder: dict[str, float], values: list[dict[str, Any]]
) -> None:
    verdicts = [judge(only(name, ladder), [sample(**value)]) for value in values]
    assert [verdict.pace for verdict in verdicts] == list(Pace)
    assert [bool(verdict.reason) for verdict in verdicts] == [False, True, True, True]
    assert judge(Thresholds.model_validate(SILENT), [sample(**values[-1])]).pace is Pace.GO


def test_a_delta_too_small_to_fill_anything_is_no_reason_however_small_the_disks_are() -> None:
    """A disk of 512 bytes has twice as much in its delta at the first write."""
    thresholds = Thresholds.model_validate(SILENT | {"delta": {"give_back": 0.5}})
    assert judge(thresholds, [replace(sample(delta=0.9), disks=512)]).pace is Pace.GO
    assert judge(thresholds, [replace(sample(delta=1.1), disks=512)]).pace is Pace.GIVE_BACK
    strict = thresholds.model_copy(update={"delta_floor": 0})
    assert judge(strict, [replace(sample(delta=0.9), disks=512)]).pace is Pace.GIVE_BACK


@pytest.mark.parametrize(("ours", "rate"), [(True, 0.5), (False, 0.5)])
def test_a_growth_that_fills_the_datastore_in_time_is_seen_whoever_causes_it(ours: bool, rate: float) -> None:
    """10 GiB left at 0.5 GiB/s are 20 s."""
    thresholds = only("fills_in", {"give_back": 25.0})
    looks = [
        sample(at, 10 if ours else 10 + rate * (100 - at), rate * at if ours else 0.0)
        for at in (0.0, 50.0, 100.0)
    ]
    assert judge(thresholds, looks).pace is Pace.GIVE_BACK
    assert "full in 20 s" in judge(thresholds, looks).reason
    assert judge(thresholds, looks[1:2]).pace is Pace.GO  # one look knows no growth
    assert judge(thresholds, [replace(look, at=look.at / 10) for look in looks]).pace is Pace.GO  # a burst
    calm = [sample(at, 10, 0.1) for at in (0.0, 50.0, 100.0)]
    assert judge(thresholds, calm).pace is Pace.GO


def test_a_machine_that_is_off_is_slowed_and_paused_but_keeps_its_snapshot() -> None:
    bad = sample(free=1, delta=90, nfc=1000, age=1e9, running=False)
    assert judge(Thresholds(), [bad]).pace is Pace.PAUSE
    assert judge(Thresholds(), [replace(bad, nfc=0)]).pace is Pace.GO


@pytest.mark.parametrize("running", [True, False])
def test_slow_means_fewer_reads_in_flight_whether_the_machine_runs_or_not(running: bool) -> None:
    slowed = judge(Thresholds(), [sample(nfc=2, running=running)])
    assert (slowed.pace, slowed.depth(8)) == (Pace.SLOW, 2)


def test_a_pause_that_does_not_end_gives_the_snapshot_back() -> None:
    paused = sample(nfc=6)
    assert judge(Thresholds(), [paused]).pace is Pace.PAUSE
    assert judge(Thresholds(), [replace(paused, paused=1800.0)]).pace is Pace.GIVE_BACK


def test_every_refusal_halves_again_and_one_read_is_left() -> None:
    depths = [judge(Thresholds(), [sample(nfc=count)]).depth(8) for count in range(7)]
    assert depths == [8, 4, 2, 1, 1, 1, 0]


LOOKS = st.builds(
    sample,
    at=st.floats(0, 1000),
    free=st.floats(0, 100),
    delta=st.floats(0, 100),
    snapshots=st.integers(0, 40),
    nfc=st.integers(0, 100),
    running=st.booleans(),
)


@given(st.lists(LOOKS, min_size=1, max_size=5))
def test_it_decides_whatever_it_sees_and_says_why(looks: list[Sample]) -> None:
    looks.sort(key=lambda look: look.at)
    found = judge(Thresholds(), looks)
    assert bool(found.reason) is (found.pace is not Pace.GO)
    assert "\n" not in found.reason
    assert 0 <= found.depth(8) <= 8
    assert (found.depth(8) < 8) is (found.pace is not Pace.GO)


@given(LOOKS, st.floats(0, 1), st.integers(0, 50), st.integers(0, 20))
def test_worse_is_never_answered_more_mildly(look: Sample, share: float, nfc: int, crowd: int) -> None:
    (one,) = look.pressure.stores
    worse = replace(
        look,
        nfc=look.nfc + nfc,
        pressure=Pressure(
            (replace(one, free=int(one.free * share), snapshots=one.snapshots + crowd),), look.pressure.delta
        ),
    )
    assert judge(Thresholds(), [worse]).pace >= judge(Thresholds(), [look]).pace


def test_a_snapshot_is_begun_only_where_there_is_room_for_it() -> None:
    assert obstacle(Thresholds(), Pressure((store(11, 14),))) == ""
    assert "9.0% free" in obstacle(Thresholds(), Pressure((store(50), store(9))))
    assert "the limit is 15" in obstacle(Thresholds(), Pressure((store(50, 15),)))
