"""What an appliance counts for its metrics: bytes, ends of passes, errors, the cost of snapshots. Each is counted once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connector.appliance.progress import MovedBytes
from connector.errors import ConnectorError
from connector.metrics.samples import Samples, Tally
from connector.metrics.tables import APPLIANCE

_P: Final = "connector_appliance_"
#: The tasks that the metrics name; a control plane may be newer than its appliance.
_TASKS: Final = ("read", "final", "shutdown", "power-on")


class ApplianceTally:
    """Thread-safe. It counts whether metrics are served or not."""

    def __init__(self) -> None:
        self._tally = Tally(APPLIANCE)

    def moved(self, more: MovedBytes) -> None:
        """Count what a copy has moved since the last call."""
        self._tally.add(_P + "read_bytes_total", more.read)
        self._tally.add(_P + "sent_bytes_total", more.sent)
        self._tally.add(_P + "wire_bytes_total", more.wire)
        self._tally.add(_P + "not_sent_bytes_total", more.zero, reason="zero")
        self._tally.add(_P + "not_sent_bytes_total", more.same, reason="same")

    def ended(self, task: str, outcome: str, error: ConnectorError | None, result: Mapping[str, Any]) -> None:
        """Count the end of a pass, and what its snapshot cost."""
        self._tally.add(_P + "passes_ended_total", task=known_task(task), outcome=outcome)
        if error is not None:
            self._tally.add(_P + "errors_total", error=error.id)
        cost: Mapping[str, Any] = result.get("toll") or {}
        for part in ("create", "remove"):
            if (seconds := cost.get(part)) is not None:
                self._tally.observe(f"{_P}snapshot_{part}_seconds", float(seconds))

    def collect(self, samples: Samples) -> None:
        """See `Source`."""
        self._tally.collect(samples)


def known_task(task: str) -> str:
    """The task, if this release knows it."""
    return task if task in _TASKS else "unknown"
