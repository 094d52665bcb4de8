"""A job changes its state only along `TRANSITIONS`; what is not in the table does not happen.

Pure: no clock, no store. The store compares and sets, so two callers cannot both win.
Statuses and business statuses are those of the public SMC API.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.specification.fields import JobField


class JobStatus(StrEnum):
    """Where a job stands."""

    READY = "Ready"
    RUNNING = "Running"
    STOPPED = "Stopped"
    IN_ERROR = "InError"
    WAITING = "Waiting"
    FINISHED = "Finished"
    EXPIRED = "Expired"
    DELETING = "Deleting"
    DELETED = "Deleted"


class BusinessStatus(StrEnum):
    """What a running job is doing."""

    NONE = ""
    PREPARING = "Preparing"
    SYNCING = "Syncing"
    PROCESSING = "Processing"
    CLEANING = "Cleaning"
    ROLLING_BACK = "RollingBack"  # ours: the public API knows no way back


class JobState(NamedTuple):
    """Status and business status together."""

    status: JobStatus
    business: BusinessStatus = BusinessStatus.NONE

    def __str__(self) -> str:
        return f"{self.status}/{self.business}" if self.business else str(self.status)


class JobEvent(StrEnum):
    """What can happen to a job: six wishes of people, then the reports of the workflow."""

    START = "start"
    STOP = "stop"
    CUTOVER = "cutover"
    CLOSE = "close"
    ROLLBACK = "rollback"
    DELETE = "delete"
    PREPARED = "prepared"
    SYNCED = "synced"
    PROCESSED = "processed"
    FINISHED = "finished"
    PAUSED = "paused"
    STOPPED = "stopped"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"
    EXPIRED = "expired"
    DELETED = "deleted"


READY: Final = JobState(JobStatus.READY)
STOPPED: Final = JobState(JobStatus.STOPPED)
IN_ERROR: Final = JobState(JobStatus.IN_ERROR)
WAITING: Final = JobState(JobStatus.WAITING)
FINISHED: Final = JobState(JobStatus.FINISHED)
EXPIRED: Final = JobState(JobStatus.EXPIRED)
DELETING: Final = JobState(JobStatus.DELETING)
DELETED: Final = JobState(JobStatus.DELETED)
PREPARING: Final = JobState(JobStatus.RUNNING, BusinessStatus.PREPARING)
SYNCING: Final = JobState(JobStatus.RUNNING, BusinessStatus.SYNCING)
PROCESSING: Final = JobState(JobStatus.RUNNING, BusinessStatus.PROCESSING)
CLEANING: Final = JobState(JobStatus.RUNNING, BusinessStatus.CLEANING)
ROLLING_BACK: Final = JobState(JobStatus.RUNNING, BusinessStatus.ROLLING_BACK)

STATES: Final = (
    READY,
    PREPARING,
    SYNCING,
    PROCESSING,
    CLEANING,
    ROLLING_BACK,
    STOPPED,
    IN_ERROR,
    WAITING,
    FINISHED,
    EXPIRED,
    DELETING,
    DELETED,
)


@dataclass(frozen=True, slots=True)
class Transition:
    """`event` leads from any of `sources` to `target`."""

    event: JobEvent
    sources: tuple[JobState, ...]
    target: JobState
    meaning: str


TRANSITIONS: Final = (
    Transition(JobEvent.START, (READY, STOPPED, IN_ERROR, WAITING), PREPARING, "a run begins or resumes"),
    Transition(JobEvent.PREPARED, (PREPARING,), SYNCING, "the intermediate instance stands"),
    Transition(JobEvent.SYNCED, (SYNCING,), PROCESSING, "every pass of the run is done and proved"),
    Transition(JobEvent.PROCESSED, (PROCESSING,), CLEANING, "the image exists"),
    Transition(JobEvent.FINISHED, (CLEANING,), FINISHED, "run once, or after cutover"),
    Transition(JobEvent.PAUSED, (CLEANING,), WAITING, "incremental: until the next run"),
    Transition(JobEvent.STOP, (SYNCING,), SYNCING, "the pass is asked to stop"),
    Transition(JobEvent.STOP, (WAITING,), STOPPED, "no further runs"),
    Transition(JobEvent.STOPPED, (SYNCING,), STOPPED, "the pass has stopped; its position is kept"),
    Transition(
        JobEvent.FAILED,
        (PREPARING, SYNCING, PROCESSING, CLEANING, ROLLING_BACK),
        IN_ERROR,
        "the position is kept; start again when the cause is gone",
    ),
    Transition(JobEvent.CUTOVER, (WAITING,), PREPARING, "the source is shut down, last pass, last image"),
    Transition(JobEvent.CLOSE, (WAITING,), CLEANING, "cutover without a last pass"),
    Transition(
        JobEvent.ROLLBACK,
        (STOPPED, IN_ERROR, FINISHED, EXPIRED),
        ROLLING_BACK,
        "after a cutover: the source is powered on again, as it was found",
    ),
    Transition(JobEvent.ROLLED_BACK, (ROLLING_BACK,), STOPPED, "the source runs again; start syncs it anew"),
    Transition(JobEvent.EXPIRED, (READY, STOPPED, IN_ERROR, WAITING), EXPIRED, "the valid time has passed"),
    Transition(
        JobEvent.DELETE,
        (READY, STOPPED, IN_ERROR, WAITING, FINISHED, EXPIRED),
        DELETING,
        "everything intermediate is released",
    ),
    Transition(JobEvent.DELETED, (DELETING,), DELETED, "released; the source is free"),
)

_TARGETS: Final = {(t.event, source): t.target for t in TRANSITIONS for source in t.sources}

#: A source with a job in one of these statuses takes no second job.
UNFINISHED: Final = (
    JobStatus.READY,
    JobStatus.RUNNING,
    JobStatus.STOPPED,
    JobStatus.IN_ERROR,
    JobStatus.WAITING,
    JobStatus.EXPIRED,
)

#: What a person may ask for.
OPERATIONS: Final = (JobEvent.START, JobEvent.STOP, JobEvent.CUTOVER, JobEvent.ROLLBACK, JobEvent.DELETE)


#: These become Expired when their valid time has passed; a running job first ends its run.
EXPIRING: Final = (JobStatus.READY, JobStatus.STOPPED, JobStatus.IN_ERROR, JobStatus.WAITING)

_REMEDIES: Final = {
    JobEvent.START: "start works from Ready, Stopped, InError and Waiting",
    JobEvent.STOP: "stop works while Running/Syncing and from Waiting",
    JobEvent.CUTOVER: "cutover works from Waiting, and only for incremental jobs",
    JobEvent.CLOSE: "cutover works from Waiting, and only for incremental jobs",
    JobEvent.ROLLBACK: "rollback works after a cutover, from Finished, InError, Stopped and Expired; stop a running job first",
    JobEvent.DELETE: "a running job cannot be deleted: stop it first",
}


def follow(state: JobState, event: JobEvent, subject: str = "job") -> JobState:
    """The state after `event`; `StateRefusal` when the table has no such line."""
    target = _TARGETS.get((event, state))
    if target is None:
        what = f"{event} is not possible while {state}"
        raise StateRefusal(RefusalCode.JOB_STATUS, what, on=subject, remedy=_REMEDIES.get(event, ""))
    return target


def allowed(state: JobState) -> tuple[JobEvent, ...]:
    """The operations that a person may ask for now."""
    return tuple(event for event in OPERATIONS if (event, state) in _TARGETS)


def modifiable(state: JobState, field: JobField) -> bool:
    """Whether a person may change this field of a job now."""
    return str(state.status) in field.changes or str(state) in field.changes


def events(state: JobState) -> tuple[JobEvent, ...]:
    """Everything that can happen in `state`."""
    return tuple(event for event, source in _TARGETS if source == state)


def diagram(transitions: Iterable[Transition] = TRANSITIONS) -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {_node(READY)}: create"]
    lines += [
        f"    {_node(source)} --> {_node(t.target)}: {t.event}" for t in transitions for source in t.sources
    ]
    return "\n".join([*lines, f"    {_node(DELETED)} --> [*]"])


def table() -> str:
    """The transitions as a Markdown table."""
    rows = [
        f"| {t.event} | {', '.join(map(str, t.sources))} | {t.target} | {t.meaning} |" for t in TRANSITIONS
    ]
    return "\n".join(["| event | from | to | meaning |", "|---|---|---|---|", *rows])


def _node(state: JobState) -> str:
    return str(state).replace("/", "_")
