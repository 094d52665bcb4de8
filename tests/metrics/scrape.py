"""A scrape, read by prometheus_client's own parser."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from connector.metrics.samples import Samples, Source
from connector.metrics.tables import TABLES
from tests.waiting import PATIENCE, eventually


@dataclass
class Scrape:
    """The samples of one answer. `kinds`: the type of each family."""

    text: str
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for family in text_string_to_metric_families(self.text):
            self.kinds[family.name] = family.type
            for sample in family.samples:
                series = self.samples.setdefault(sample.name, {})
                series[tuple(sorted(sample.labels.items()))] = sample.value

    def value(self, metric: str, /, **labels: str) -> float | None:
        """Of one series; None when it is absent."""
        return self.samples.get(metric, {}).get(tuple(sorted(labels.items())))

    def labelled(self, metric: str, label: str) -> dict[str, float]:
        """The values of a metric by one of its labels."""
        return {dict(key)[label]: value for key, value in self.samples.get(metric, {}).items()}


def scrape(url: str) -> Scrape:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return Scrape(answer.read().decode())


def status(url: str, method: str = "GET") -> tuple[int, str]:
    """HTTP status and text of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def until(url: str, look: Callable[[Scrape], bool], what: str) -> Scrape:
    """The first scrape that shows it."""
    found: list[Scrape] = []

    def shows() -> bool:
        found.append(scrape(url))
        return look(found[-1])

    eventually(shows, what, pause=0.1)
    return found[-1]


def collected(role: str, *sources: Source) -> Samples:
    """What these sources tell, without a listener."""
    samples = Samples({row.name: row for row in TABLES[role]})
    for source in sources:
        source(samples)
    return samples
