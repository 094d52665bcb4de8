"""An estimate of a wave's bytes, snapshots, hours and cost names every assumption that its figures rest on. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from connector.batch import quantities
from connector.batch.manifest import Assumptions
from connector.batch.parse import Wave
from connector.batch.resolve import ResolvedMachine

_GIB: Final = 1 << 30
_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR
_MONTH: Final = 30 * _DAY
_MBIT: Final = 1_000_000 / 8  # bytes
_FIXED: Final = 120.0  # seconds for the instance, the snapshot and the image of one run


@dataclass(frozen=True, slots=True)
class Estimate:
    """The figures of the machines whose first run is still ahead, in bytes and seconds."""

    machines: int = 0
    disks: int = 0
    capacity: int = 0
    first_run: int = 0
    deltas: int = 0  # runs between the first one and the cutover, over all machines
    delta_bytes: int = 0
    snapshots: int = 0
    images: int = 0
    seconds: float = 0.0  # of all first runs together
    longest: float = 0.0  # of the slowest machine
    cutover: float = 0.0  # all last runs together
    cost: float = 0.0
    currency: str = ""
    assumptions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def estimate(wave: Wave, placements: Sequence[ResolvedMachine], now: float) -> Estimate:
    """The estimate until the end of the cutover's window; without a window, of the first runs only."""
    assumptions = wave.manifest.assumptions
    if not placements:
        return Estimate(currency=assumptions.currency)
    link = quantities.megabits(assumptions.link) * _MBIT
    single = min(quantities.megabits(assumptions.perMachine) * _MBIT, link)
    all_rates = min(link, min(assumptions.parallel, len(placements)) * single)
    until = _until(wave)
    first = deltas = delta_bytes = images = cutover_bytes = 0
    longest = 0.0
    for place in placements:
        data = round(place.size * assumptions.used)
        rate = min(single, _limit(place) or single)
        longest = max(longest, data / rate + _FIXED)
        first += data
        between, changed = _rhythm(place, data, assumptions.dailyChange, until - now)
        deltas += between
        delta_bytes += between * changed
        cutover_bytes += changed if place.choices.incremental else 0
        images += min(between + 2, place.choices.incremental.keep) if place.choices.incremental else 1
    rounds = math.ceil(len(placements) / assumptions.parallel)
    span = max(first / all_rates + rounds * _FIXED, longest)
    incremental = sum(place.choices.incremental is not None for place in placements)
    last = (
        cutover_bytes / all_rates + math.ceil(incremental / assumptions.parallel) * _FIXED
        if incremental
        else 0.0
    )
    capacity = sum(place.size for place in placements)
    stands = max(span, until - now)
    cost = _cost(wave, len(placements), capacity, images * capacity / len(placements), stands)
    return Estimate(
        machines=len(placements),
        disks=sum(len(place.disks) for place in placements),
        capacity=capacity,
        first_run=first,
        deltas=deltas,
        delta_bytes=delta_bytes + cutover_bytes,
        snapshots=len(placements) + deltas + incremental,
        images=images,
        seconds=span,
        longest=longest,
        cutover=last,
        cost=cost,
        currency=assumptions.currency,
        assumptions=tuple(_assumptions(assumptions, placements, until > now)),
    )


def _until(wave: Wave) -> float:
    """The end of the last window; 0 without one."""
    groups = [group.name for group in wave.manifest.groups] or [""]
    return max((window[1] for name in groups if (window := wave.window(name))), default=0.0)


def _limit(place: ResolvedMachine) -> float:
    return quantities.megabits(place.choices.bandwidth) * _MBIT if place.choices.bandwidth else 0.0


def _rhythm(place: ResolvedMachine, data: int, daily: float, remaining: float) -> tuple[int, int]:
    """Deltas before the cutover, and the bytes of each."""
    if place.choices.incremental is None:
        return 0, 0
    every = quantities.seconds(place.choices.incremental.every)
    return max(0, int(remaining / every)), round(data * min(1.0, daily * every / _DAY))


def _cost(wave: Wave, machines: int, capacity: int, kept: float, stands: float) -> float:
    assumptions = wave.manifest.assumptions
    instances = machines * stands / _HOUR * assumptions.instanceHour
    disks = capacity / _GIB * stands / _MONTH * assumptions.diskGibMonth
    images = kept / _GIB * stands / _MONTH * assumptions.imageGibMonth
    return round(instances + disks + images, 2)


def _assumptions(
    assumptions: Assumptions, placements: Sequence[ResolvedMachine], has_end: bool
) -> Iterator[str]:
    """The assumptions that these figures rest on."""
    yield f"{assumptions.used:.0%} of each disk is read in the first run"
    if any(place.choices.incremental for place in placements):
        yield f"{assumptions.dailyChange:.1%} of that changes in a day"
    together = min(assumptions.parallel, len(placements))
    rate = min(assumptions.perMachine, assumptions.link, key=quantities.megabits)
    yield f"{rate} for one machine, {assumptions.link} for all, {together} at a time"
    if slower := sum(_limit(p) > 0 and _limit(p) < quantities.megabits(rate) * _MBIT for p in placements):
        yield f"{slower} of {len(placements)} by their own bandwidth limit"
    yield f"{_FIXED:.0f} s of each run are not copying: instance, snapshot, image"
    yield "the time in which somebody looks at the images is not counted (`connector source estimate` counts it)"
    if not (assumptions.instanceHour or assumptions.diskGibMonth or assumptions.imageGibMonth):
        yield "no prices are given, so no cost"
        return
    yield f"everything stands {'until the last window ends' if has_end else 'as long as the first runs take'}"
    yield f"prices of the manifest, in {assumptions.currency}"
