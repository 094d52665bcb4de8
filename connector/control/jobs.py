"""A job changes its state only along `TRANSITIONS`; what is not in the table does not happen.

Pure: no clock, no store. The store compares and sets, so two callers cannot both win.
Statuses and business statuses are those of the public SMC API.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from connector.control.refusals import Code, Refused
from connector.specification.fields import JobField


class Status(StrEnum):
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


class Business(StrEnum):
    """What a running job is doing."""

    NONE = ""
    PREPARING = "Preparing"
    SYNCING = "Syncing"
    PROCESSING = "Processing"
    CLEANING = "Cleaning"
    ROLLING_BACK = "RollingBack"  # ours: the public API knows no way back


class State(NamedTuple):
    """Status and business status together."""

    status: Status
    business: Business = Business.NONE

    def __str__(self) -> str:
        return f"{self.status}/{self.business}" if self.business else str(self.status)


class Event(StrEnum):
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


READY: Final = State(Status.READY)
STOPPED: Final = State(Status.STOPPED)
IN_ERROR: Final = State(Status.IN_ERROR)
WAITING: Final = State(Status.WAITING)
FINISHED: Final = State(Status.FINISHED)
EXPIRED: Final = State(Status.EXPIRED)
DELETING: Final = State(Status.DELETING)
DELETED: Final = State(Status.DELETED)
PREPARING: Final = State(Status.RUNNING, Business.PREPARING)
SYNCING: Final = State(Status.RUNNING, Business.SYNCING)
PROCESSING: Final = State(Status.RUNNING, Business.PROCESSING)
CLEANING: Final = State(Status.RUNNING, Business.CLEANING)
ROLLING_BACK: Final = State(Status.RUNNING, Business.ROLLING_BACK)

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

    event: Event
    sources: tuple[State, ...]
    target: State
    meaning: str


TRANSITIONS: Final = (
    Transition(Event.START, (READY, STOPPED, IN_ERROR, WAITING), PREPARING, "a run begins or resumes"),
    Transition(Event.PREPARED, (PREPARING,), SYNCING, "the intermediate instance stands"),
    Transition(Event.SYNCED, (SYNCING,), PROCESSING, "every pass of the run is done and proved"),
    Transition(Event.PROCESSED, (PROCESSING,), CLEANING, "the image exists"),
    Transition(Event.FINISHED, (CLEANING,), FINISHED, "run once, or after cutover"),
    Transition(Event.PAUSED, (CLEANING,), WAITING, "incremental: until the next run"),
    Transition(Event.STOP, (SYNCING,), SYNCING, "the pass is asked to stop"),
    Transition(Event.STOP, (WAITING,), STOPPED, "no further runs"),
    Transition(Event.STOPPED, (SYNCING,), STOPPED, "the pass has stopped; its position is kept"),
    Transition(
        Event.FAILED,
        (PREPARING, SYNCING, PROCESSING, CLEANING, ROLLING_BACK),
        IN_ERROR,
        "the position is kept; start again when the cause is gone",
    ),
    Transition(Event.CUTOVER, (WAITING,), PREPARING, "the source is shut down, last pass, last image"),
    Transition(Event.CLOSE, (WAITING,), CLEANING, "cutover without a last pass"),
    Transition(
        Event.ROLLBACK,
        (STOPPED, IN_ERROR, FINISHED, EXPIRED),
        ROLLING_BACK,
        "after a cutover: the source is powered on again, as it was found",
    ),
    Transition(Event.ROLLED_BACK, (ROLLING_BACK,), STOPPED, "the source runs again; start syncs it anew"),
    Transition(Event.EXPIRED, (READY, STOPPED, IN_ERROR, WAITING), EXPIRED, "the valid time has passed"),
    Transition(
        Event.DELETE,
        (READY, STOPPED, IN_ERROR, WAITING, FINISHED, EXPIRED),
        DELETING,
        "everything intermediate is released",
    ),
    Transition(Event.DELETED, (DELETING,), DELETED, "released; the source is free"),
)

_TARGETS: Final = {(t.event, source): t.target for t in TRANSITIONS for source in t.sources}

#: A source with a job in one of these statuses takes no second job.
UNFINISHED: Final = (
    Status.READY,
    Status.RUNNING,
    Status.STOPPED,
    Status.IN_ERROR,
    Status.WAITING,
    Status.EXPIRED,
)

#: What a person may ask for.
OPERATIONS: Final = (Event.START, Event.STOP, Event.CUTOVER, Event.ROLLBACK, Event.DELETE)


#: These become Expired when their valid time has passed; a running job first ends its run.
EXPIRING: Final = (Status.READY, Status.STOPPED, Status.IN_ERROR, Status.WAITING)

_REMEDIES: Final = {
    Event.START: "start works from Ready, Stopped, InError and Waiting",
    Event.STOP: "stop works while Running/Syncing and from Waiting",
    Event.CUTOVER: "cutover works from Waiting, and only for incremental jobs",
    Event.CLOSE: "cutover works from Waiting, and only for incremental jobs",
    Event.ROLLBACK: "rollback works after a cutover, from Finished, InError, Stopped and Expired; stop a running job first",
    Event.DELETE: "a running job cannot be deleted: stop it first",
}


def follow(state: State, event: Event, subject: str = "job") -> State:
    """The state after `event`; `Refused` when the table has no such line."""
    target = _TARGETS.get((event, state))
    if target is None:
        what = f"{event} is not possible while {state}"
        raise Refused(Code.JOB_STATUS, what, on=subject, remedy=_REMEDIES.get(event, ""))
    return target


def allowed(state: State) -> tuple[Event, ...]:
    """The operations that a person may ask for now."""
    return tuple(event for event in OPERATIONS if (event, state) in _TARGETS)


def modifiable(state: State, field: JobField) -> bool:
    """Whether a person may change this field of a job now."""
    return str(state.status) in field.changes or str(state) in field.changes


def events(state: State) -> tuple[Event, ...]:
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


def _node(state: State) -> str:
    return str(state).replace("/", "_")
