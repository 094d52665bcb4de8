"""A forecast of a migration grows with the number of machines and with their data, and never shrinks.

It adds the seconds before, for the transfer, for the images and after. All figures are bytes and seconds.
Only `forecast` reads the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connector.control.domain.entities import Source
from connector.control.domain.refusals import OutOfRange
from connector.control.store import Store

#: Bytes per second at which a target cloud makes an image; each machine has its own instance.
IMAGE_RATE: Final = 30 << 20
#: Seconds for each machine: instance and snapshot before; release and a first look at the result after.
BEFORE: Final = 300.0
AFTER: Final = 600.0


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds of the parts of a migration, one after the other."""

    before: float
    transfer: float
    image: float
    after: float

    @property
    def total(self) -> float:
        return self.before + self.transfer + self.image + self.after


def one(data: int, rate: float) -> Period:
    """One machine alone with `data` bytes to move, at `rate` bytes per second."""
    return Period(BEFORE, data / rate, data / IMAGE_RATE, AFTER)


def many(data: Sequence[int], rate: float, at_once: int) -> Period:
    """Machines that share one link of `rate` bytes per second, `at_once` of them at a time."""
    rounds = -(-len(data) // at_once)
    images = [size / IMAGE_RATE for size in data]
    return Period(
        before=rounds * BEFORE,
        transfer=sum(data) / rate,
        image=max(sum(images) / at_once, max(images, default=0.0)),
        after=rounds * AFTER,
    )


@dataclass(frozen=True, slots=True)
class SourceForecast:
    """One source alone: bytes to move, whether a pass measured them (else they are its capacity), and its period."""

    source: Source
    data: int
    measured: bool
    period: Period


@dataclass(frozen=True, slots=True)
class Forecast:
    """All sources together, at `rate` bytes per second."""

    period: Period
    rate: float
    measured: bool
    shares: tuple[SourceForecast, ...]


def forecast(store: Store, sources: Sequence[Source], rate: float | None, at_once: int) -> Forecast:
    """The forecast for these sources, `at_once` at a time, at `rate` bytes per second.

    Without a rate, the newest passes of the same vCenters give it; `OutOfRange` if there are none. The data of a source
    is what the first finished pass of its newest job with one had to read, else the capacity of its disks.
    """
    reached = rate or store.measured.rate({source.vcenter for source in sources})
    if reached is None:
        raise OutOfRange(
            "BandwidthLimit",
            "no pass of this vCenter has measured the link yet: give Mbit/s, or migrate a small machine first",
        )
    planned = store.measured.planned([source.id for source in sources])
    data = [planned.get(s.id, sum(disk.capacity for disk in s.disks)) for s in sources]
    shares = [
        SourceForecast(source, size, source.id in planned, one(size, reached))
        for source, size in zip(sources, data, strict=True)
    ]
    return Forecast(many(data, reached, at_once), reached, rate is None, tuple(shares))
