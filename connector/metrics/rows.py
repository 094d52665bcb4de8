"""A metric is one row of a table, and nothing outside the tables is answered: docs/metrics.md and the alert rules name rows.

Labels are words of closed sets, or ids whose number is bounded by what is unfinished; `SERIES` is the last bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Series of one metric in one answer, at most. How many were left out is a metric itself.
SERIES: Final = 500


class MetricKind(StrEnum):
    """The types of Prometheus that we use."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class MetricOrigin(StrEnum):
    """Whose figure it is. It decides how figures of several processes are put together."""

    PROCESS = "this process"  # the sum over processes is the whole
    DATABASE = "the database"  # every control plane on one database answers the same: take one, never the sum


@dataclass(frozen=True, slots=True)
class MetricRow:
    """`where`: where the figure comes from. `bound`: what bounds the number of series, if a label is no closed set."""

    name: str
    kind: MetricKind
    help: str
    where: str
    labels: tuple[str, ...] = ()
    origin: MetricOrigin = MetricOrigin.PROCESS
    bound: str = ""
    buckets: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """The help line of an answer. It says when the figure is of the database."""
        whole = " (of the database: the same in each control plane)"
        return self.help + (whole if self.origin is MetricOrigin.DATABASE else "")
