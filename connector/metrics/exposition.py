"""One answer to a scrape: what the sources know now, as Prometheus' text. A source that fails leaves its figures out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from connector import __version__
from connector.errors import ConnectorError
from connector.metrics import process
from connector.metrics.rows import MetricKind, MetricRow
from connector.metrics.samples import Samples, Source, cumulative
from connector.metrics.tables import TABLES
from connector.service_manager import ServiceManager

_LOG: Final = logging.getLogger(__name__)


class Exposition(Collector):
    """The metrics of one service. Sources may be added at any time; thread-safe."""

    def __init__(self, role: str, manager: ServiceManager, certificates: Mapping[str, float]) -> None:
        """`certificates`: when each of them ends, in seconds since the epoch, by a word."""
        self._role, self._manager, self._certificates = role, manager, dict(certificates)
        self._rows = {row.name: row for row in TABLES[role]}
        self._sources: list[Source] = [self._service, process.collect]
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def add(self, *sources: Source) -> None:
        self._sources += sources

    def text(self) -> bytes:
        """The answer, in version 0.0.4 of the text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        samples = Samples(self._rows)
        for source in list(self._sources):
            try:
                source(samples)
            except ConnectorError as failed:
                _LOG.warning("figures are left out of a scrape: %s", failed)
        for name, count in samples.left_out.items():
            samples.values.setdefault("connector_metric_series_left_out", {})[(name,)] = count
        return list(_families(self._rows.values(), samples))

    def _service(self, samples: Samples) -> None:
        samples.set("connector_build_info", 1, version=__version__, role=self._role)
        samples.set("connector_ready", self._manager.is_ready)
        samples.set("connector_healthy", not self._manager.hanging())
        samples.set("connector_threads", threading.active_count())
        for word, ends in self._certificates.items():
            samples.set("connector_certificate_not_after_timestamp_seconds", ends, certificate=word)


def _families(rows: Iterable[MetricRow], samples: Samples) -> Iterator[Metric]:
    for row in rows:
        if row.kind is MetricKind.HISTOGRAM:
            if observed := samples.observed.get(row.name):
                histogram = HistogramMetricFamily(row.name, row.text)
                histogram.add_metric([], list(cumulative(observed, row)), observed.total)
                yield histogram
        elif series := samples.values.get(row.name):
            make = CounterMetricFamily if row.kind is MetricKind.COUNTER else GaugeMetricFamily
            family = make(row.name, row.text, labels=row.labels)
            for labels, value in series.items():
                family.add_metric(labels, float(value))
            yield family
