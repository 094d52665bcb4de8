"""The actions on a job follow from the transition table; here they get the words of the page. Data only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from connector.control.domain import jobs
from connector.control.domain.jobs import IN_ERROR, READY, STOPPED, SYNCING, WAITING, JobEvent, JobState

_DOWN_NOW: Final = "The source is shut down now."
_OFF_ALREADY: Final = "The source is off, as its appliance last saw it; if it runs, it is shut down now."


@dataclass(frozen=True, slots=True)
class Action:
    """One operation of the public API as a button. `word` is its part of the address. `done`: what a page says after it.

    An action with a `warning` must be confirmed. `effect` says what an action without a warning does to a job.
    """

    word: str
    event: JobEvent
    operation: str
    label: str
    done: str
    given: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[JobState, str] = field(default_factory=dict)
    warning: str = ""
    effects: Mapping[JobState, str] = field(default_factory=dict)
    shuts_down: bool = False  # it shuts a running source down
    reads: bool = False  # it begins to read the source, so the source must be online
    grave: bool = False

    def says(self, state: JobState) -> str:
        """The label while the job is in `state`."""
        return self.labels.get(state, self.label)

    def does(self, state: JobState) -> str:
        """What the action does to a job in `state`, in whole sentences."""
        return self.warning or self.effects.get(state, "")


ACTIONS: Final = (
    Action(
        "start",
        JobEvent.START,
        "StartReplicationJob",
        "Start",
        "The job starts.",
        labels={STOPPED: "Start again", IN_ERROR: "Start again", WAITING: "Run incremental now"},
        effects={
            READY: "Its first run begins. The source is read and does not change.",
            STOPPED: "It goes on where it stopped.",
            IN_ERROR: "It goes on where it failed.",
            WAITING: "An incremental run begins now.",
        },
        reads=True,
    ),
    Action(
        "stop",
        JobEvent.STOP,
        "StopReplicationJob",
        "Stop",
        "Stop is asked for. The position is kept.",
        labels={WAITING: "Stop the schedule"},
        effects={
            SYNCING: "Its pass ends. Its position is kept.",
            WAITING: "No further run begins by itself. The transferred data is kept.",
        },
    ),
    Action(
        "cutover",
        JobEvent.CUTOVER,
        "CutOverReplicationJob",
        "Cut over",
        "The cutover begins: the source is shut down, then the last pass runs.",
        given={"SyncData": "true"},
        warning=f"{_DOWN_NOW} Its changes since the last run are read, the last image is made, and"
        " the intermediate instance is released.",
        shuts_down=True,
        reads=True,
    ),
    Action(
        "close",
        JobEvent.CLOSE,
        "CutOverReplicationJob",
        "Complete without a last pass",
        "The job is being completed.",
        given={"SyncData": "false"},
        warning="The job ends with the image that it has. The source stays as it is, the intermediate instance is"
        " released.",
    ),
    Action(
        "rollback",
        JobEvent.ROLLBACK,
        "RollbackReplicationJob",
        "Roll back",
        "The rollback begins: the source gets its state back.",
        warning="The source gets its state back and is powered on, and the job is stopped. Data that was written to a"
        " machine made of the image is not copied back.",
        grave=True,
    ),
    Action(
        "delete",
        JobEvent.DELETE,
        "DeleteReplicationJob",
        "Delete",
        "The job is being deleted: its intermediate resources are released.",
        warning="The intermediate instance, its disks and our snapshots are released, and the transferred data is lost."
        " Images stay.",
        grave=True,
    ),
)

RESUME: Final = "Resume the cutover"

_ANEW: Final = (
    "Its cutover was rolled back and its source ran on: the source is synced anew, and whole disks are read."
)

_BY_WORD: Final = {action.word: action for action in ACTIONS}


def possible(state: JobState, never: Collection[JobEvent] = ()) -> tuple[Action, ...]:
    """The actions that the transition table allows in `state`, without those that this job `never` allows."""
    events = [event for event in jobs.events(state) if event not in never]
    return tuple(action for action in ACTIONS if action.event in events)


def in_cutover(action: Action, *, down: bool) -> Action:
    """The same action for a job whose cutover was asked for. `down`: it has already shut the source down."""
    if action.word == "start":
        warning = "" if down else f"{_DOWN_NOW} Its last changes are read."
        goes_on = "The source is down. The cutover goes on where it stopped."
        return replace(
            action, label=RESUME, labels={}, warning=warning, effects=dict.fromkeys(action.effects, goes_on),
            shuts_down=not down,
        )  # fmt: skip
    if not down:
        return action
    if action.word == "stop":
        return replace(
            action, warning="The source is down, and stays down until the cutover is resumed or rolled back."
        )
    if action.word == "delete":
        lost = "The source is down. Without this job nothing here can power it on again. "
        return replace(action, warning=lost + action.warning)
    return action


def after_rollback(action: Action) -> Action:
    """The same action for a job whose cutover was rolled back last: its start goes on from nowhere."""
    return replace(action, effects={STOPPED: _ANEW}) if action.word == "start" else action


def for_a_source_that_is_off(action: Action) -> Action:
    """The same action for a source that was off when its appliance looked last."""
    if not action.shuts_down:
        return action
    warning = action.warning.replace(_DOWN_NOW, _OFF_ALREADY)
    return replace(action, warning=warning, shuts_down=False)


def named(word: str) -> Action | None:
    """The action with this word in its address; None if there is none."""
    return _BY_WORD.get(word)
