"""docs/metrics.md is made from the tables of metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from connector.metrics.rows import SERIES, MetricOrigin, MetricRow
from connector.metrics.tables import APPLIANCE, CONTROL, INSTANCE, SERVICE

_HEAD: Final = f"""# Metrics

What each service answers at `/metrics`; [monitoring](monitoring.md) switches it on. This page is generated from
`connector/metrics/tables.py`; a test compares them.

Units are in the names: bytes, seconds, ratios of 1. A name that ends in `_total` only grows while its process runs. Times
ending in `_timestamp_seconds` are seconds since 1970. `process_*` have the names that Prometheus' clients use.

**Whose figure it is.** Figures *of the database* are the same in every control plane on one database: take one with `max`, never
the sum. All others are of one process: add them up.

**Bounds.** A label is a word of a closed set, or an id whose number is bounded by what is unfinished; the column says by what.
One metric has at most {SERIES} series in an answer; `connector_metric_series_left_out` says when there would be more. No label
has a text that people wrote, except `name` of `connector_control_job_info`: the name of a job.
"""
_PARTS: Final = (
    ("Every service", SERVICE),
    ("Control plane", CONTROL),
    ("Appliance", APPLIANCE),
    ("Instance", INSTANCE),
)


def page() -> str:
    """The whole page."""
    parts = ["\n".join([f"## {title}", "", *_table(rows)]) for title, rows in _PARTS]
    return "\n".join([_HEAD, "\n\n".join(parts), ""])


def _table(rows: Sequence[MetricRow]) -> Iterator[str]:
    yield "| metric | type | labels | what it is | seen by | of |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        bound = f"{labels}: {row.bound}" if row.bound else labels
        origin = "the database" if row.origin is MetricOrigin.DATABASE else "this process"
        yield f"| `{row.name}` | {row.kind} | {bound} | {row.help} | {row.where} | {origin} |"
