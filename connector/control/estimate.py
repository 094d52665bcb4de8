"""How long a migration may take: before it, transfer and images, after it. Pure; bytes and seconds.

Grows with the number of machines and with their data, never the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Bytes a second at which a target cloud makes an image; each machine has an instance of its own.
IMAGE_RATE: Final = 30 << 20
#: Seconds for each machine: instance and snapshot before, release and a first look at the result after.
BEFORE: Final = 300.0
AFTER: Final = 600.0


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds, one after the other."""

    before: float
    transfer: float
    image: float
    after: float

    @property
    def total(self) -> float:
        return self.before + self.transfer + self.image + self.after


def one(data: int, rate: float) -> Period:
    """One machine alone with so many bytes to move, at `rate` bytes a second."""
    return Period(BEFORE, data / rate, data / IMAGE_RATE, AFTER)


def many(data: Sequence[int], rate: float, at_once: int) -> Period:
    """Machines that share one line of `rate` bytes a second, `at_once` of them under way at a time."""
    rounds = -(-len(data) // at_once)
    images = [size / IMAGE_RATE for size in data]
    return Period(
        before=rounds * BEFORE,
        transfer=sum(data) / rate,
        image=max(sum(images) / at_once, max(images, default=0.0)),
        after=rounds * AFTER,
    )
