"""The governor decides how hard a source may be read while its snapshot is open, and says why. Pure.

Each signal has a ladder of three steps; the worst signal decides. Slower reading makes a snapshot live longer. So a full
datastore leads to giving the snapshot back, while refused reads lead to fewer reads in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from connector.amounts import plural, size, span
from connector.model import DatastoreLoad, Pressure

WINDOW: Final = 60.0  # seconds over which errors are counted
TREND: Final = 300.0  # seconds over which growth is measured
STEADY: Final = 60.0  # seconds that growth must last before it counts


class Pace(IntEnum):
    """What to do now, mildest first."""

    GO = 0
    SLOW = 1  # half the reads in flight, or less
    PAUSE = 2  # none, the snapshot stays
    GIVE_BACK = 3  # the snapshot is removed before it does harm; the pass resumes later


class Ladder(BaseModel):
    """The value of a signal at which each step is taken; null: never."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slow: float | None = Field(default=None, ge=0)
    pause: float | None = Field(default=None, ge=0)
    give_back: float | None = Field(default=None, ge=0)


class Thresholds(BaseModel):
    """The ladders, and the conditions for a new snapshot. Shares are fractions of 1, times are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    free: Ladder = Field(default=Ladder(give_back=0.05), description="free share of a datastore, at or below")
    fills_in: Ladder = Field(
        default=Ladder(give_back=600.0), description="time until it is full, at or below"
    )
    delta: Ladder = Field(
        default=Ladder(give_back=0.5), description="our delta, share of the disks, at or above"
    )
    delta_floor: int = Field(default=1 << 30, ge=0, description="bytes that our delta may always have")
    nfc: Ladder = Field(
        default=Ladder(slow=1, pause=6, give_back=60), description="NFC errors a minute, at or above"
    )
    snapshots: Ladder = Field(
        default=Ladder(slow=20), description="machines of a datastore with one, at or above"
    )
    age: Ladder = Field(default=Ladder(give_back=72 * 3600.0), description="age of our snapshot, at or above")
    paused: float = Field(
        default=1800.0, gt=0, description="a pause that lasts longer gives the snapshot back"
    )
    begin_free: float = Field(default=0.1, ge=0, le=1, description="free share that a new snapshot needs")
    begin_snapshots: int = Field(
        default=15, ge=1, description="machines with one beyond which no new one is taken"
    )
    every: float = Field(default=15.0, gt=0, description="between two looks at vCenter")
    rest: float = Field(
        default=300.0, gt=0, le=86400, description="until a pass that was given back is tried again"
    )


class PaceDecision(NamedTuple):
    """`halvings`: how often a slow pace halves the reads in flight; at least one read stays."""

    pace: Pace
    reason: str = ""
    halvings: int = 0

    def depth(self, most: int) -> int:
        """How many reads of at most `most` may be in flight."""
        if self.pace is Pace.GO:
            return most
        return max(1, most >> self.halvings) if self.pace is Pace.SLOW else 0


@dataclass(frozen=True, slots=True)
class Sample:
    """The signals at one moment. `at` and `age` are seconds, `disks` bytes of the machine's disks, `nfc` refused reads.

    The delta of a machine that is off does not grow: its snapshot harms no datastore, and giving it back only costs time.
    """

    at: float
    age: float
    pressure: Pressure
    running: bool = True
    disks: int = 0
    nfc: int = 0
    refused_by: str = "the host"  # the newest of these errors
    paused: float = 0.0  # seconds since the present pause began


class _Level(NamedTuple):
    """One value of a signal, and its meaning in words."""

    value: float
    words: str


def judge(thresholds: Thresholds, samples: Sequence[Sample]) -> PaceDecision:
    """The decision for the newest of `samples` (oldest first); the growth between them counts too."""
    decision = PaceDecision(Pace.GO)
    running, paused = samples[-1].running, samples[-1].paused
    for signal in _SIGNALS if running else (_NFC,):
        ladder: Ladder = getattr(thresholds, signal.name)
        for level in signal.read(samples, thresholds):
            pace = _step(ladder, level.value, signal.falling)
            if pace > decision.pace:
                decision = PaceDecision(pace, level.words, _halvings(pace, signal, ladder, samples[-1]))
    if not running:
        return decision._replace(pace=min(decision.pace, Pace.PAUSE))
    if decision.pace is Pace.PAUSE and paused >= thresholds.paused:
        return PaceDecision(Pace.GIVE_BACK, f"{decision.reason}, for {span(paused)}")
    return decision


def obstacle(thresholds: Thresholds, pressure: Pressure) -> str:
    """Why no snapshot may be taken now; empty when it may be taken."""
    for store in pressure.stores:
        if _share(store) < thresholds.begin_free:
            return f"{_space(store)}, a snapshot needs {thresholds.begin_free:.0%}"
        if store.snapshots >= thresholds.begin_snapshots:
            return f"{_crowd(store)}, the limit is {thresholds.begin_snapshots}"
    return ""


def fullest(pressure: Pressure) -> float | None:
    """The smallest free share of the datastores; None when none is known."""
    return min((_share(store) for store in pressure.stores), default=None)


def _halvings(pace: Pace, signal: _Signal, ladder: Ladder, sample: Sample) -> int:
    """Each further refusal by the host halves the reads again, until they fit."""
    if pace is not Pace.SLOW:
        return 0
    return max(1, min(8, int(sample.nfc / max(1.0, ladder.slow or 1.0)))) if signal is _NFC else 1


def _step(ladder: Ladder, value: float, falling: bool) -> Pace:
    for pace, limit in (
        (Pace.GIVE_BACK, ladder.give_back),
        (Pace.PAUSE, ladder.pause),
        (Pace.SLOW, ladder.slow),
    ):
        if limit is not None and (value <= limit if falling else value >= limit):
            return pace
    return Pace.GO


def _free(samples: Sequence[Sample], _: Thresholds) -> list[_Level]:
    return [_Level(_share(store), _space(store)) for store in samples[-1].pressure.stores]


def _fills_in(samples: Sequence[Sample], _: Thresholds) -> list[_Level]:
    """Each datastore's free space divided by the rate at which it, or our delta on it, grows."""
    last = samples[-1]
    first = next((sample for sample in samples if last.at - sample.at <= TREND), last)
    lasted = last.at - first.at
    if lasted < STEADY:
        return []
    before = {store.name: store.free for store in first.pressure.stores}
    delta_rate = (last.pressure.delta - first.pressure.delta) / lasted
    levels = []
    for store in last.pressure.stores:
        rate = max(delta_rate, (before.get(store.name, store.free) - store.free) / lasted)
        if rate > 0:
            remaining = store.free / rate
            words = (
                f"datastore {store.name} is full in {span(remaining)} at the present rate ({size(rate)}/s)"
            )
            levels.append(_Level(remaining, words))
    return levels


def _delta(samples: Sequence[Sample], thresholds: Thresholds) -> list[_Level]:
    last = samples[-1]
    if not last.disks or last.pressure.delta < thresholds.delta_floor:
        return []
    share = last.pressure.delta / last.disks
    return [
        _Level(
            share, f"the snapshot's delta has grown to {size(last.pressure.delta)}, {share:.0%} of the disks"
        )
    ]


def _nfc(samples: Sequence[Sample], _: Thresholds) -> list[_Level]:
    count, by = samples[-1].nfc, samples[-1].refused_by
    were = "was" if count == 1 else "were"
    return [_Level(count, f"{plural(count, 'read')} {were} refused within a minute by {by}")]


def _snapshots(samples: Sequence[Sample], _: Thresholds) -> list[_Level]:
    return [_Level(store.snapshots, _crowd(store)) for store in samples[-1].pressure.stores]


def _age(samples: Sequence[Sample], _: Thresholds) -> list[_Level]:
    return [_Level(samples[-1].age, f"the snapshot is {span(samples[-1].age)} old")]


class _Signal(NamedTuple):
    name: str  # of its ladder
    falling: bool  # less is worse
    read: Callable[[Sequence[Sample], Thresholds], list[_Level]]


_NFC: Final = _Signal("nfc", False, _nfc)
_SIGNALS: Final = (
    _Signal("free", True, _free),
    _Signal("fills_in", True, _fills_in),
    _Signal("delta", False, _delta),
    _NFC,
    _Signal("snapshots", False, _snapshots),
    _Signal("age", False, _age),
)


def _share(store: DatastoreLoad) -> float:
    return store.free / store.capacity if store.capacity else 1.0


def _space(store: DatastoreLoad) -> str:
    return f"datastore {store.name} has {_share(store):.1%} free ({size(store.free)})"


def _crowd(store: DatastoreLoad) -> str:
    return f"{store.snapshots} machines on datastore {store.name} have a snapshot"
