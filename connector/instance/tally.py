"""What an instance counts for its metrics: durable bytes, and how long its storage takes to make them durable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connector.kinds import RangeState
from connector.metrics.samples import Samples, Tally
from connector.metrics.tables import INSTANCE
from connector.model import Extent

_P: Final = "connector_instance_"


class InstanceTally:
    """Thread-safe. It counts whether metrics are served or not."""

    def __init__(self) -> None:
        self._tally = Tally(INSTANCE)

    def flushed(self, seconds: float) -> None:
        self._tally.observe(_P + "flush_seconds", seconds)

    def appended(self, seconds: float) -> None:
        self._tally.observe(_P + "journal_seconds", seconds)

    def durable(self, ranges: Iterable[tuple[Extent, RangeState]]) -> None:
        """Count the ranges of a window that was committed."""
        for extent, state in ranges:
            self._tally.add(_P + "durable_bytes_total", extent.length, delivered=state.name.lower())

    def collect(self, samples: Samples) -> None:
        """See `Source`."""
        self._tally.collect(samples)
