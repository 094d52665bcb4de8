"""What is worth a notification now, from what the database and this process know. Pure: no clock, no store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from connector import errors
from connector.amounts import rate
from connector.control.domain import notified_events as events
from connector.control.domain.downtime import outage
from connector.control.domain.jobs import JobState, JobStatus
from connector.control.domain.notified_events import SubjectKind
from connector.control.domain.notifying import EventSubject, Figure, WatchedCondition, elapsed

#: Deltas that must all have been too slow.
SLOW_DELTAS: Final = 2


@dataclass(frozen=True, slots=True)
class JobAtRisk:
    """The part of a job that conditions are about."""

    subject: EventSubject
    status: JobStatus
    state: JobState
    run_once: bool
    valid_until: float
    down_since: float | None
    predicted_downtime: float | None


@dataclass(frozen=True, slots=True)
class OpenSnapshot:
    """The oldest open snapshot of a job. `created`: seconds since the epoch."""

    subject: EventSubject
    created: float


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Free share of the fullest datastore of a running pass, 0 to 1."""

    subject: EventSubject
    share: float


@dataclass(frozen=True, slots=True)
class SilentAppliance:
    """An approved appliance. `heartbeat`: when it was heard of last."""

    subject: EventSubject
    heartbeat: float


@dataclass(frozen=True, slots=True)
class ReadingTime:
    """One finished reading. `taken`: when its pass began; bytes that changed before it; `seconds` to read `read` bytes."""

    taken: float
    changed: int
    read: int
    seconds: float
    is_delta: bool


@dataclass(frozen=True, slots=True)
class Readings:
    """The newest readings of one incremental job, oldest first."""

    subject: EventSubject
    times: tuple[ReadingTime, ...]


@dataclass(frozen=True, slots=True)
class JobMoment:
    """An entry of the log: a job finished or failed. `error`: the id of the failure; empty without one."""

    subject: EventSubject
    entry: int
    event: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class NotificationFacts:
    """What is known at one look. `certificate_ends`: of the control plane's own; None when nobody says so."""

    now: float
    held: bool = False
    certificate_ends: float | None = None
    down: Sequence[JobAtRisk] = ()
    expiring: Sequence[JobAtRisk] = ()
    snapshots: Sequence[OpenSnapshot] = ()
    space: Sequence[FreeSpace] = ()
    appliances: Sequence[SilentAppliance] = ()
    readings: Sequence[Readings] = ()
    moments: Sequence[JobMoment] = ()


_PLANE: Final = EventSubject(SubjectKind.CONTROL_PLANE, "control-plane")


def conditions(facts: NotificationFacts) -> Iterator[WatchedCondition]:
    """Everything that is true now. While the state is held, only that: what a restored database says may be long over."""
    if facts.held:
        yield WatchedCondition("state-held", _PLANE)
        return
    for moment in facts.moments:
        yield _happened(moment)
    for job in facts.down:
        yield from _down(job, facts.now)
    for job in facts.expiring:
        event = "job-expires" if job.run_once else "cutover-due"
        yield WatchedCondition(event, job.subject, {"expires_timestamp": job.valid_until})
    for snapshot in facts.snapshots:
        if (age := facts.now - snapshot.created) > events.OPEN:
            yield WatchedCondition("snapshot-too-old", snapshot.subject, {"open_seconds": age})
    yield from _space(facts.space)
    for appliance in facts.appliances:
        if (silence := facts.now - appliance.heartbeat) > events.SILENT:
            yield WatchedCondition("appliance-silent", appliance.subject, {"silence_seconds": silence})
    for readings in facts.readings:
        yield from _lags(readings)
    if facts.certificate_ends is not None and facts.certificate_ends - facts.now < events.ENDS:
        yield WatchedCondition("certificate-ending", _PLANE, {"ends_timestamp": facts.certificate_ends})


def _happened(moment: JobMoment) -> WatchedCondition:
    """A failure has an id of the catalogue; whatever else a row says counts as an unforeseen error."""
    known = moment.error if moment.error in errors.catalogue() else errors.ConnectorError.__name__
    figures = {"error": known} if moment.event == "job-failed" else {}
    return WatchedCondition(moment.event, moment.subject, figures, entry=moment.entry)


def _down(job: JobAtRisk, now: float) -> Iterator[WatchedCondition]:
    """It lingers as long as the source is down: a cutover that was resumed has not brought it back."""
    now_down = outage(job, now)
    if now_down is None:
        return
    down = _passed(now_down.since, now)
    late = now_down.back_in < 0 if now_down.back_in is not None else down > events.DOWN
    predicted = job.predicted_downtime
    figures: dict[str, Figure] = {
        "down_seconds": down,
        "forecast": "there is no forecast" if predicted is None else f"predicted were {round(predicted)} s",
        "work": "Nothing is under way that ends it" if now_down.at_rest else "The control plane works on it",
    }
    yield WatchedCondition("source-down", job.subject, figures, lingers=not (late or now_down.at_rest))


def _passed(since: float, now: float) -> float:
    """Seconds since then; 0 for a time that is ahead."""
    passed = elapsed(since, now)
    return passed if passed != float("inf") else 0.0


def _space(spaces: Sequence[FreeSpace]) -> Iterator[WatchedCondition]:
    for space in spaces:
        if space.share < events.FREE_AGAIN:
            lingers = space.share >= events.FREE
            yield WatchedCondition(
                "datastore-filling", space.subject, {"free_ratio": space.share}, lingers=lingers
            )


def _lags(readings: Readings) -> Iterator[WatchedCondition]:
    """Whether each of the last deltas took longer to read than the time in which its changes came up."""
    newest = readings.times[-(SLOW_DELTAS + 1) :]
    if len(newest) <= SLOW_DELTAS:
        return
    pairs = list(itertools.pairwise(newest))
    if all(delta.is_delta and 0 < delta.taken - before.taken <= delta.seconds for before, delta in pairs):
        before, last = pairs[-1]
        figures = {
            "change_rate": rate(last.changed / (last.taken - before.taken)),
            "reading_rate": rate(last.read / last.seconds),
        }
        yield WatchedCondition("will-not-converge", readings.subject, figures)
