"""A job changes its state only along `TRANSITIONS`. The table is complete: no other change happens.

Pure: no clock, no store. The store compares and sets, so only one of two callers succeeds.
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
    """The status of a job in the public API."""

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
    ROLLING_BACK = "RollingBack"  # our extension: the public API has no rollback


class JobState(NamedTuple):
    """Status and business status together."""

    status: JobStatus
    business: BusinessStatus = BusinessStatus.NONE

    def __str__(self) -> str:
        return f"{self.status}/{self.business}" if self.business else str(self.status)


class JobEvent(StrEnum):
    """What can happen to a job: first the six requests of people, then the reports of the workflow."""

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
    Transition(JobEvent.PREPARED, (PREPARING,), SYNCING, "the intermediate instance is ready"),
    Transition(JobEvent.SYNCED, (SYNCING,), PROCESSING, "every pass of the run is done and proved"),
    Transition(JobEvent.PROCESSED, (PROCESSING,), CLEANING, "the image exists"),
    Transition(JobEvent.FINISHED, (CLEANING,), FINISHED, "the job runs once, or its cutover is done"),
    Transition(JobEvent.PAUSED, (CLEANING,), WAITING, "an incremental job waits for its next run"),
    Transition(JobEvent.STOP, (SYNCING,), SYNCING, "the running pass is asked to stop"),
    Transition(JobEvent.STOP, (WAITING,), STOPPED, "no further run begins"),
    Transition(JobEvent.STOPPED, (SYNCING,), STOPPED, "the pass has stopped; its position is kept"),
    Transition(
        JobEvent.FAILED,
        (PREPARING, SYNCING, PROCESSING, CLEANING, ROLLING_BACK),
        IN_ERROR,
        "the position is kept; start the job again when the cause is gone",
    ),
    Transition(
        JobEvent.CUTOVER,
        (WAITING,),
        PREPARING,
        "the last run begins: shut the source down, read it, make the image",
    ),
    Transition(JobEvent.CLOSE, (WAITING,), CLEANING, "a cutover that needs no last pass"),
    Transition(
        JobEvent.ROLLBACK,
        (STOPPED, IN_ERROR, FINISHED, EXPIRED),
        ROLLING_BACK,
        "after a cutover: the source gets its state back and is powered on again",
    ),
    Transition(
        JobEvent.ROLLED_BACK, (ROLLING_BACK,), STOPPED, "the source runs again; a new start syncs it again"
    ),
    Transition(JobEvent.EXPIRED, (READY, STOPPED, IN_ERROR, WAITING), EXPIRED, "the valid time has passed"),
    Transition(
        JobEvent.DELETE,
        (READY, STOPPED, IN_ERROR, WAITING, FINISHED, EXPIRED),
        DELETING,
        "the intermediate resources are released",
    ),
    Transition(JobEvent.DELETED, (DELETING,), DELETED, "the resources are released"),
)

_TARGETS: Final = {(t.event, source): t.target for t in TRANSITIONS for source in t.sources}

#: A source that has a job in one of these statuses takes no second job.
UNFINISHED: Final = (
    JobStatus.READY,
    JobStatus.RUNNING,
    JobStatus.STOPPED,
    JobStatus.IN_ERROR,
    JobStatus.WAITING,
    JobStatus.EXPIRED,
)

#: The events that a person may ask for.
OPERATIONS: Final = (JobEvent.START, JobEvent.STOP, JobEvent.CUTOVER, JobEvent.ROLLBACK, JobEvent.DELETE)


#: Jobs in these statuses become Expired when their valid time has passed. A running job first ends its run.
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
    """The state after `event`. Raises `StateRefusal` if the table has no such row."""
    target = _TARGETS.get((event, state))
    if target is None:
        refusal = f"{event} is not possible while {state}"
        raise StateRefusal(RefusalCode.JOB_STATUS, refusal, on=subject, remedy=_REMEDIES.get(event, ""))
    return target


def allowed(state: JobState) -> tuple[JobEvent, ...]:
    """The events that a person may ask for in this state."""
    return tuple(event for event in OPERATIONS if (event, state) in _TARGETS)


def modifiable(state: JobState, field: JobField) -> bool:
    """Whether a person may change this field of a job in this state."""
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
