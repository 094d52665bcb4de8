"""The metrics of a control plane are computed when they are asked for, from the store, by a bounded number of queries.

The rule: a scrape never waits for the database longer than `PATIENCE`. A silent database leaves its figures out and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connector.control.domain import waiting
from connector.control.domain.downtime import outage
from connector.control.domain.entities import PassState
from connector.control.store.database import PEERS, DatabaseSilent
from connector.control.store.watched import WatchedState
from connector.errors import ConnectorError, catalogue
from connector.metrics.samples import Samples
from connector.outages import Outages
from connector.specification.limited_by import LIMITS

_LOG: Final = logging.getLogger(__name__)
#: Seconds that one scrape waits for the database. Prometheus gives up after 10 seconds.
PATIENCE: Final = 4.0
_P: Final = "connector_control_"


@dataclass(slots=True)
class _Question:
    """One round of queries. Scrapes that come meanwhile share its answer."""

    began: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    state: WatchedState | None = None
    took: float = 0.0


class DatabaseMetrics:
    """The source of all figures of the database. Thread-safe; at most one thread of its own asks the database."""

    def __init__(self, read: Callable[[], WatchedState], patience: float = PATIENCE) -> None:
        self._read, self._patience = read, patience
        self._lock = threading.Lock()
        self._question: _Question | None = None
        self._outages = Outages(_LOG, PEERS)

    def collect(self, samples: Samples) -> None:
        """See `Source`."""
        question = self._ask()
        question.done.wait(self._patience)
        state = question.state
        samples.set(_P + "database_up", state is not None)
        took = question.took or time.monotonic() - question.began
        samples.set(_P + "database_query_seconds", took)
        if state is not None:
            tell(state, samples)

    def _ask(self) -> _Question:
        """The question that is under way, or a new one."""
        with self._lock:
            if self._question is None or self._question.done.is_set():
                self._question = _Question()
                asking = threading.Thread(
                    target=self._answer, args=(self._question,), name="metrics database", daemon=True
                )
                asking.start()
            return self._question

    def _answer(self, question: _Question) -> None:
        try:
            question.state = self._read()
            self._outages.heard(DatabaseSilent)
        except ConnectorError as failed:
            self._outages.missed("a scrape has no figures of the database", failed)
        except Exception:  # noqa: BLE001 - outermost handler of a thread
            _LOG.exception("the figures of the database failed unexpectedly")
        finally:
            question.took = time.monotonic() - question.began
            question.done.set()


def tell(state: WatchedState, samples: Samples) -> None:
    """Put the whole state into an answer."""
    samples.set(_P + "state_held", bool(state.epoch.restored))
    samples.set(_P + "epoch", state.epoch.number)
    _jobs(state, samples)
    _queue(state, samples)
    for row in state.taken:
        _running(row, state.now, samples)
    _snapshots(state, samples)
    _down(state, samples)
    _notifications(state, samples)
    for row in state.names:
        samples.set(_P + "job_info", 1, job_id=row.id, name=row.name)
    for row in state.appliances:
        if row.state == "approved":
            silence = max(0.0, state.now - row.heartbeat)
            samples.set(_P + "appliance_silence_seconds", silence, appliance=row.id)


def _jobs(state: WatchedState, samples: Samples) -> None:
    for row in state.jobs:
        samples.set(_P + "jobs", row.count, status=row.status, business=row.business)
    for error, count in _known(state.errors).items():
        samples.set(_P + "failed_jobs", count, error=error)
    for span, count in state.expiring.items():
        samples.set(_P + "expiring_jobs", count, within=str(span))
    if state.next_expiry is not None:
        samples.set(_P + "next_expiry_timestamp_seconds", state.next_expiry)
    for row in state.sources:
        samples.set(_P + "sources", row.count, state=row.state)
    for row in state.runs:
        samples.set(_P + "runs_ended_last_hour", row.count, kind=row.kind, outcome=row.outcome or "")
    for row in state.drills:
        samples.set(_P + "drills", row.count, state=row.state)
    _add(samples, "appliances", [(row.state, 1) for row in state.appliances], "state")


def _known(rows: list[Any]) -> dict[str, int]:
    """Counts by the ids of the catalogue. Whatever else a row says counts as an unforeseen error."""
    counts: dict[str, int] = {}
    for row in rows:
        error = row.error if row.error in catalogue() else ConnectorError.__name__
        counts[error] = counts.get(error, 0) + row.count
    return counts


def _queue(state: WatchedState, samples: Samples) -> None:
    open_passes: dict[tuple[str, str], int] = {}
    counted = [(str(PassState.OFFERED), row.task, row.count) for row in state.offered]
    counted += [(str(PassState.TAKEN), row.task, row.count) for row in state.taken_counts]
    for pass_state, task, count in counted:
        open_passes[pass_state, task] = open_passes.get((pass_state, task), 0) + count
    for (pass_state, task), count in open_passes.items():
        samples.set(_P + "passes", count, state=pass_state, task=task)
    reasons = [(waiting.reason(row.waiting), row.count) for row in state.offered]
    _add(samples, "waiting_passes", reasons, "reason")
    oldest = min((row.oldest for row in state.offered), default=state.now)
    samples.set(_P + "oldest_waiting_pass_seconds", max(0.0, state.now - oldest))


def _add(samples: Samples, metric: str, counted: list[tuple[str, int]], label: str) -> None:
    sums: dict[str, int] = {}
    for word, count in counted:
        sums[word] = sums.get(word, 0) + count
    for word, count in sums.items():
        samples.set(_P + metric, count, **{label: word})


def _running(row: Any, now: float, samples: Samples) -> None:
    """A pass that an appliance has, as the appliance reports it: its words are put into closed sets."""
    job, disks = row.job_id, [disk for disk in row.disks if isinstance(disk, Mapping)]
    samples.set(_P + "pass_seconds", max(0.0, now - (row.taken or now)), job_id=job, task=row.task)
    samples.set(_P + "pass_planned_bytes", _sum(disks, "wanted"), job_id=job)
    samples.set(_P + "pass_durable_bytes", _sum(disks, "done"), job_id=job)
    samples.set(_P + "pass_rate_bytes_per_second", _sum(disks, "rate"), job_id=job)
    busy = [disk for disk in disks if _left(disk) > 0 and disk.get("bottleneck") in LIMITS]
    if busy:
        slowest = str(max(busy, key=_left)["bottleneck"])
        samples.set(_P + "pass_bottleneck", 1, job_id=job, bottleneck=slowest)


def _left(disk: Mapping[str, Any]) -> float:
    return float(disk.get("wanted", 0)) - float(disk.get("done", 0))


def _sum(disks: list[Mapping[str, Any]], figure: str) -> float:
    return sum(float(disk.get(figure) or 0) for disk in disks)


def _snapshots(state: WatchedState, samples: Samples) -> None:
    samples.set(_P + "open_snapshots", state.open_snapshots)
    ages = [(row.job_id, max(0.0, state.now - row.created)) for row in state.snapshots]
    samples.set(_P + "oldest_snapshot_seconds", max((age for _, age in ages), default=0.0))
    for job, age in ages:
        samples.set(_P + "open_snapshot_seconds", age, job_id=job)
    for row in state.leftovers:
        samples.set(_P + "leftovers", row.count, place=row.place)


def _down(state: WatchedState, samples: Samples) -> None:
    samples.set(_P + "sources_down", len(state.down))
    for job in state.down:
        downtime = outage(job, state.now)
        if downtime is None:
            continue
        samples.set(_P + "source_down_since_timestamp_seconds", downtime.since, job_id=job.id)
        samples.set(_P + "source_down_at_rest", downtime.at_rest, job_id=job.id)
        if downtime.back_in is not None:
            samples.set(_P + "source_back_in_seconds", downtime.back_in, job_id=job.id)
    for job in state.cutovers:
        samples.set(_P + "predicted_downtime_seconds", job.predicted_downtime or 0.0, job_id=job.id)


def _notifications(state: WatchedState, samples: Samples) -> None:
    for row in state.pending_notifications:
        samples.set(_P + "pending_notifications", row.count, recipient=row.recipient)
    oldest = min((row.oldest for row in state.pending_notifications), default=state.now)
    samples.set(_P + "oldest_pending_notification_seconds", max(0.0, state.now - oldest))
    for row in state.ended_notifications:
        samples.set(
            _P + "notifications_ended_last_hour", row.count, recipient=row.recipient, outcome=row.state
        )
