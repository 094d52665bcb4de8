"""A source has at most one unfinished job, and changes its state only along `TRANSITIONS`. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from connector.control.domain.refusals import RefusalCode, StateRefusal


class SourceState(StrEnum):
    """The states of the public SMC API."""

    AVAILABLE = "Available"
    UNAVAILABLE = "Unavailable"
    IN_USE = "InUse"
    DELETING = "Deleting"
    DELETED = "Deleted"  # our extension: the source is shown nowhere, and its machine may be registered again


class SourceEvent(StrEnum):
    """What can happen to a source."""

    SEEN = "seen"
    LOST = "lost"
    TAKEN = "taken"
    RETAKEN = "taken again by a rollback"
    FREED = "freed"
    DELETE = "delete"
    DELETED = "deleted"


TRANSITIONS: Final = {
    (SourceState.AVAILABLE, SourceEvent.SEEN): SourceState.AVAILABLE,
    (SourceState.AVAILABLE, SourceEvent.LOST): SourceState.UNAVAILABLE,
    (SourceState.AVAILABLE, SourceEvent.TAKEN): SourceState.IN_USE,
    (SourceState.AVAILABLE, SourceEvent.RETAKEN): SourceState.IN_USE,
    (SourceState.AVAILABLE, SourceEvent.FREED): SourceState.AVAILABLE,
    (SourceState.AVAILABLE, SourceEvent.DELETE): SourceState.DELETING,
    (SourceState.UNAVAILABLE, SourceEvent.SEEN): SourceState.AVAILABLE,
    (SourceState.UNAVAILABLE, SourceEvent.LOST): SourceState.UNAVAILABLE,
    (SourceState.UNAVAILABLE, SourceEvent.RETAKEN): SourceState.IN_USE,  # no other member waits for it
    (SourceState.UNAVAILABLE, SourceEvent.FREED): SourceState.UNAVAILABLE,
    (SourceState.UNAVAILABLE, SourceEvent.DELETE): SourceState.DELETING,
    (SourceState.IN_USE, SourceEvent.SEEN): SourceState.IN_USE,
    (SourceState.IN_USE, SourceEvent.LOST): SourceState.IN_USE,  # the job itself fails with a better message
    (SourceState.IN_USE, SourceEvent.FREED): SourceState.AVAILABLE,
    (SourceState.DELETING, SourceEvent.SEEN): SourceState.DELETING,
    (SourceState.DELETING, SourceEvent.LOST): SourceState.DELETING,
    (SourceState.DELETING, SourceEvent.DELETED): SourceState.DELETED,
}

_REFUSED: Final = {
    SourceEvent.TAKEN: "no job can be made or started for it",
    SourceEvent.RETAKEN: "its job cannot be rolled back",
    SourceEvent.DELETE: "it cannot be deleted",
}
_REMEDIES: Final = {
    SourceState.UNAVAILABLE: "start an appliance for its vCenter, or rescan",
    SourceState.IN_USE: "finish or delete its unfinished job first",
    SourceState.DELETING: "it is being removed",
    SourceState.DELETED: "rescan its vCenter to register the machine anew",
}


def follow(state: SourceState, event: SourceEvent, subject: str = "source") -> SourceState:
    """The state after `event`. Raises `StateRefusal` if the table has no such row."""
    target = TRANSITIONS.get((state, event))
    if target is None:
        code = RefusalCode.SOURCE_UNFINISHED if state is SourceState.IN_USE else RefusalCode.SOURCE_STATE
        refusal = f"{_REFUSED.get(event, f'{event} is not possible')} while it is {state}"
        raise StateRefusal(code, refusal, on=subject, remedy=_REMEDIES.get(state, ""))
    return target


def diagram() -> str:
    """The table as a Mermaid state diagram, without transitions that change nothing."""
    lines = ["stateDiagram-v2", f"    [*] --> {SourceState.AVAILABLE}: seen"]
    lines += [
        f"    {state} --> {after}: {event}" for (state, event), after in TRANSITIONS.items() if state != after
    ]
    return "\n".join([*lines, f"    {SourceState.DELETED} --> [*]"])
