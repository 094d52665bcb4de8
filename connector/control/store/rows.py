"""Rows as the rest of the control plane sees them: frozen, detached, free of secrets but the sealed one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from connector.control.jobs import Business, State, Status
from connector.control.sources import SourceState
from connector.model import InstanceAddress

Json = dict[str, Any]


class PassState(StrEnum):
    """Where a pass stands: a lost one was given to another attempt, and its appliance is told to stop."""

    OFFERED = "Offered"
    TAKEN = "Taken"
    FINISHED = "Finished"
    LOST = "Lost"


class Outcome(StrEnum):
    """How a pass or a run ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Appliance:
    id: str
    name: str
    vcenter: str
    version: str
    heartbeat: float
    created: float


@dataclass(frozen=True, slots=True)
class SourceDisk:
    """One disk of a source; `capacity` in bytes."""

    key: int
    label: str
    capacity: int
    facts: Json


@dataclass(frozen=True, slots=True)
class Source:
    id: str
    vcenter: str
    moref: str
    instance_uuid: str
    name: str
    state: SourceState
    reason: str
    facts: Json
    findings: list[Json]
    seen: float
    created: float
    disks: tuple[SourceDisk, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `authority` is sealed by the vault and useless without its key."""

    id: str
    source_id: str
    name: str
    status: Status
    business: Business
    run_once: bool
    last_sync: bool
    image_name: str
    image_format: str
    shutdown_deadline: float
    allow_power_off: bool
    cutover: bool
    error: Json | None
    instance: InstanceAddress | None
    authority: str | None = field(repr=False)
    client_token: str | None
    created: float
    changed: float

    @property
    def state(self) -> State:
        return State(self.status, self.business)


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a job. `plan` has one entry per pass: is the source shut down for it?"""

    id: str
    job_id: str
    number: int
    kind: str
    plan: tuple[bool, ...]
    started: float
    stop: bool
    ended: float | None
    outcome: Outcome | None
    error: Json | None


@dataclass(frozen=True, slots=True)
class Pass:
    """One attempt at one reading of the source."""

    id: str
    run_id: str
    job_id: str
    slot: int
    attempt: int
    final: bool
    vcenter: str
    state: PassState
    appliance_id: str | None
    offered: float
    taken: float | None
    ended: float | None
    phase: str
    disks: list[Json]
    outcome: Outcome | None
    error: Json | None
    result: Json | None


@dataclass(frozen=True, slots=True)
class Thing:
    """Something created in vCenter or the cloud; recorded before the call that creates it."""

    token: str
    job_id: str
    pass_id: str | None
    place: str
    kind: str
    reference: str | None
    removed: bool
    created: float


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    job_id: str
    run_id: str
    name: str
    format: str
    ready: bool
    details: Json
    created: float


@dataclass(frozen=True, slots=True)
class LogEntry:
    id: int
    job_id: str
    at: float
    kind: str
    text: str
