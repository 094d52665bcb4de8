"""How long the migration of known sources may take: what is measured where something was, else what can be at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.control import estimate
from connector.control.estimate import Period
from connector.control.refusals import OutOfRange
from connector.control.store import Store
from connector.control.store.rows import Source


@dataclass(frozen=True, slots=True)
class Share:
    """One source alone: bytes to move, whether a pass has measured them (else its capacity), and its period."""

    source: Source
    data: int
    measured: bool
    period: Period


@dataclass(frozen=True, slots=True)
class Forecast:
    """All of them together, at `rate` bytes a second, which passes have reached or which was given."""

    period: Period
    rate: float
    measured: bool
    shares: tuple[Share, ...]


def forecast(store: Store, sources: Sequence[Source], rate: float | None, at_once: int) -> Forecast:
    """For these sources, `at_once` at a time, at `rate` bytes a second.

    Without a rate it is what the newest passes of the same vCenters have reached; `OutOfRange` when there was none. The
    data of a source is what its newest first pass had to read, else the capacity of its disks.
    """
    reached = rate or store.measured.rate({source.vcenter for source in sources})
    if reached is None:
        raise OutOfRange(
            "BandwidthLimit",
            "no pass of this vCenter has shown yet how fast the line is: give Mbit/s, or migrate a small machine first",
        )
    known = store.measured.planned([source.id for source in sources])
    data = [known.get(s.id, sum(disk.capacity for disk in s.disks)) for s in sources]
    shares = [
        Share(source, size, source.id in known, estimate.one(size, reached))
        for source, size in zip(sources, data, strict=True)
    ]
    return Forecast(estimate.many(data, reached, at_once), reached, rate is None, tuple(shares))
