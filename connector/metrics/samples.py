"""Values of one answer (`Samples`), and counters that grow between answers (`Tally`). A metric without a row is a defect."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from connector.metrics.rows import SERIES, MetricKind, MetricRow
from connector.names import visible

#: Characters of a label's value, at most.
_LONGEST: Final = 128
Labels = tuple[str, ...]
"""The values of a metric's labels, in the order of its row."""


@dataclass(slots=True)
class Observed:
    """What a histogram has seen. `counts`: by bucket, the last one is for everything above."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Samples:
    """The values of one answer. `left_out`: series that did not fit, by metric."""

    rows: Mapping[str, MetricRow]
    values: dict[str, dict[Labels, float]] = field(default_factory=dict)
    observed: dict[str, Observed] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def set(self, metric: str, value: float, /, **labels: str) -> None:
        """The value of one series. Of too many series the first ones stay: tell the worst first."""
        series = self.values.setdefault(metric, {})
        key = labels_of(self.rows[metric], labels)
        if key not in series and len(series) >= SERIES:
            self.left_out[metric] = self.left_out.get(metric, 0) + 1
            return
        series[key] = value


Source = Callable[[Samples], None]
"""Puts what it knows into an answer. It must not wait for long."""


class Tally:
    """Counters and histograms of one process. Thread-safe. A counter without labels begins with 0."""

    def __init__(self, rows: Sequence[MetricRow]) -> None:
        self._rows = {row.name: row for row in rows}
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, float]] = {
            row.name: {} if row.labels else {(): 0.0} for row in rows if row.kind is MetricKind.COUNTER
        }
        self._observed = {
            row.name: Observed([0] * (len(row.buckets) + 1))
            for row in rows
            if row.kind is MetricKind.HISTOGRAM
        }

    def add(self, metric: str, amount: float = 1.0, /, **labels: str) -> None:
        """Count. Labels are words of closed sets: nothing removes a series."""
        key = labels_of(self._rows[metric], labels)
        with self._lock:
            series = self._counters[metric]
            series[key] = series.get(key, 0.0) + max(0.0, amount)

    def observe(self, metric: str, value: float) -> None:
        """Count a value into its bucket."""
        place = bisect.bisect_left(self._rows[metric].buckets, value)
        with self._lock:
            observed = self._observed[metric]
            observed.counts[place] += 1
            observed.total += value

    def collect(self, samples: Samples) -> None:
        """The source of an answer."""
        with self._lock:
            for name, series in self._counters.items():
                samples.values[name] = dict(series)
            for name, observed in self._observed.items():
                samples.observed[name] = Observed(list(observed.counts), observed.total)


def labels_of(row: MetricRow, labels: Mapping[str, str]) -> Labels:
    """The values in the order of the row. Every label has a value, and each value is short and one line."""
    if set(labels) != set(row.labels):
        raise AssertionError(f"{row.name} has the labels {row.labels}")
    return tuple(visible(str(labels[name]))[:_LONGEST] for name in row.labels)


def cumulative(seen: Observed, row: MetricRow) -> Iterator[tuple[str, float]]:
    """Prometheus' buckets: how many values were at most so large."""
    count = 0
    for bound, more in zip((*map(str, row.buckets), "+Inf"), seen.counts, strict=True):
        count += more
        yield bound, float(count)
