"""Rows of the store as frozen values, detached from the database. The only secrets in them are sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from connector.control.domain.jobs import BusinessStatus, JobState, JobStatus
from connector.control.domain.sources import SourceState
from connector.model import InstanceAddress

Json = dict[str, Any]

#: Seconds after the deadline in which a guest may still be shutting down; at most as many as the deadline has.
_SETTLING: Final = 60.0

#: Kinds of resources that no cloud bills.
_FREE: Final = ("launch", "security-group", "vpc", "vswitch")

#: Kinds of a job's resources that stay in the cloud when its instance is released.
OUTLIVING: Final = ("image", "snapshot", "former disk")


class PassState(StrEnum):
    """The state of a pass. A lost pass has a new attempt, and its former appliance is asked to stop."""

    OFFERED = "Offered"
    TAKEN = "Taken"
    FINISHED = "Finished"
    LOST = "Lost"


class Outcome(StrEnum):
    """How a pass or a run ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class Task(StrEnum):
    """What an appliance does in one pass."""

    READ = "read"
    FINAL = "final"  # shut the machine down and read it
    SHUTDOWN = "shutdown"  # of an application: shut the machine down; it is read when all are off
    POWER_ON = "power-on"  # return the machine to the state before the cutover

    @property
    def reads(self) -> bool:
        """Whether the task reads disks; the limits count only such tasks."""
        return self in (Task.READ, Task.FINAL)


class ApplianceStatus(StrEnum):
    """What an appliance may do. A waiting one may only send heartbeats; a revoked one may do nothing."""

    WAITING = "waiting"
    APPROVED = "approved"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Appliance:
    """One appliance of one vCenter; `vcenter` is the vCenter's instance UUID. `workgroup_id` is its tenant; None: the
    administrator. `rotate`: it shall ask for a new secret and key.
    """

    id: str
    name: str
    vcenter: str
    version: str
    heartbeat: float
    created: float
    token_id: str | None = None
    notice: str = ""
    state: ApplianceStatus = ApplianceStatus.APPROVED
    workgroup_id: str | None = None
    rotate: bool = False


@dataclass(frozen=True, slots=True)
class ApplianceKey:
    """A public key (PEM) of evidence. After `replaced` it is valid only for passes that were taken before."""

    appliance_id: str
    fingerprint: str
    key: str
    registered: float
    replaced: float | None = None


@dataclass(frozen=True, slots=True)
class SourceDisk:
    """One disk of a source; `capacity` in bytes."""

    key: int
    label: str
    capacity: int
    facts: Json


@dataclass(frozen=True, slots=True)
class Source:
    """One registered machine. `name` is unique and people may edit it; `machine` is the machine's name in vCenter."""

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
    machine: str
    named: bool
    description: str
    error_code: str
    last_job: str | None
    workgroup_id: str | None
    resource_group: str
    token_id: str | None
    disks: tuple[SourceDisk, ...] = ()  # the first is the system disk


def in_order(disks: Sequence[SourceDisk], keys: Sequence[int]) -> tuple[SourceDisk, ...]:
    """These disks in the order of `keys`. Disks that `keys` does not name follow in their present order."""
    places = {key: place for place, key in enumerate(keys)}
    return tuple(sorted(disks, key=lambda disk: places.get(disk.key, len(places))))


#: In a job's definition: keys of disks that are not migrated. The public API has no parameter for it.
LEFT_OUT: Final = "LeftOutDisks"


@dataclass(frozen=True, slots=True)
class EvidenceEntry:
    """Evidence of one pass, without the manifest. `size`: the manifest's bytes. `key`: the public key (PEM) that signed it."""

    pass_id: str
    job_id: str
    run_id: str
    created: float
    size: int
    key: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `authority` is sealed by the vault; nobody can use it without the vault's key.

    `definition` is the request, in the public API's names. `frequency` is hours; all times are seconds.
    `next_run` is set while an incremental job waits. `waiting` tells people what the job waits for. `down_since` is
    when our cutover first asked the source to shut down; a rollback clears it. `predicted_downtime` was set before that.
    The sources of an `application` are cut over together, those of the lowest `rank` first. `disk_order`: keys of the
    source's disks in their order when the first run began; empty before. `compare_reason`: why the next pass
    compares every disk with its target, whatever the target says; empty when it need not.
    """

    id: str
    source_id: str
    name: str
    status: JobStatus
    business: BusinessStatus
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
    description: str
    job_type: int
    region: str
    resource_group: str
    target_instance: str
    definition: Json
    frequency: int | None
    max_images: int | None
    scheduled_start: float | None
    valid_until: float
    expired: float | None
    next_run: float | None
    started: float | None
    ended: float | None
    error_code: str
    waiting: str
    image_id: str | None
    transition_instance: str | None
    audit: float | None
    accept_removed_disks: bool
    down_since: float | None = None
    predicted_downtime: float | None = None
    keep_cbt: bool = False
    quiesce: str = "off"
    application: str = ""
    rank: int = 0
    disk_order: tuple[int, ...] = ()
    compare_reason: str = ""

    @property
    def state(self) -> JobState:
        return JobState(self.status, self.business)

    @property
    def on_demand(self) -> bool:
        """Whether its runs begin only when somebody starts them; then all its images are kept."""
        return self.definition.get("OnDemand") is True

    @property
    def settles(self) -> float:
        """When the shutdown that our cutover asked for has either happened or failed; 0: no shutdown was asked for."""
        if self.down_since is None:
            return 0.0
        return self.down_since + self.shutdown_deadline + min(_SETTLING, self.shutdown_deadline)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Keys of the source's disks that are not migrated."""
        return tuple(self.definition.get(LEFT_OUT, ()))


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a job. `plan` has one entry per pass. `kind` is "Manual", "Schedule" or "Rollback".

    `cohort` is shared by runs of several jobs that are carried out together, in the order of their ranks. `proved`: it was
    decided that all of them are proved; each may then end by itself.
    """

    id: str
    job_id: str
    number: int
    kind: str
    plan: tuple[Task, ...]
    started: float
    stop: bool
    ended: float | None
    outcome: Outcome | None
    error: Json | None
    cohort: str | None = None
    rank: int = 0
    proved: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """One attempt at a pass. No appliance takes it before `not_before`; `reason` says why."""

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
    host: str
    datastores: list[str]
    disk_count: int
    not_before: float = 0.0
    reason: str = ""
    task: Task = Task.READ
    wanted: tuple[int, ...] = ()  # keys of the disks that it is about, set when it was taken
    free: float | None = (
        None  # share of the fullest datastore under its open snapshot, as the appliance reports
    )


@dataclass(frozen=True, slots=True)
class TrackedResource:
    """An object that a job created in vCenter or in the cloud. It is recorded before the call that creates it.

    `trouble` says why it could not be removed so far.
    """

    token: str
    job_id: str
    pass_id: str | None
    place: str
    kind: str
    reference: str | None
    removed: bool
    created: float
    trouble: str = ""

    @property
    def billable(self) -> bool:
        """Whether the target cloud charges for it as long as it exists."""
        return self.place == "cloud" and self.kind not in _FREE


@dataclass(frozen=True, slots=True)
class JobImage:
    id: str
    job_id: str
    run_id: str
    name: str
    format: str
    ready: bool
    details: Json
    created: float
    removed: bool
    completed: float | None = None


class HandOverState(StrEnum):
    """What became of an image that was put onto a target instance's disks."""

    BEGUN = "Begun"
    DONE = "Done"
    PUTTING_BACK = "PuttingBack"
    PUT_BACK = "PutBack"
    RELEASING = "Releasing"
    RELEASED = "Released"

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked for something that is not done yet."""
        return self in (HandOverState.PUTTING_BACK, HandOverState.RELEASING)

    @property
    def keeps_former(self) -> bool:
        """Whether the disks from before the job may still exist."""
        return self not in (HandOverState.PUT_BACK, HandOverState.RELEASED)


@dataclass(frozen=True, slots=True)
class HandOver:
    """A job's image on the disks of a machine of the user. `instance`: its id. `trouble`: why the last request was not done.

    `changed`: when it came into its state.
    """

    job_id: str
    instance: str
    state: HandOverState
    changed: float
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class LogEntry:
    id: int
    job_id: str
    at: float
    kind: str
    text: str


class TagKind(StrEnum):
    """The kinds of resources that can have tags."""

    SOURCE = "sourceserver"
    JOB = "replicationjob"
    GROUP = "workgroup"


@dataclass(frozen=True, slots=True)
class Tag:
    kind: TagKind
    resource_id: str
    key: str
    value: str


class GroupStatus(StrEnum):
    """The status of a workgroup. It follows from the jobs of the group's sources."""

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    CUTOVER = "Cutover"
    COMPLETED = "Completed"


@dataclass(frozen=True, slots=True)
class Workgroup:
    """Sources that belong together. `failed`: sources whose last job is InError. `unrelated`: sources without a job."""

    id: str
    name: str
    description: str
    created: float
    status: GroupStatus
    sources: tuple[str, ...]
    failed: tuple[str, ...]
    unrelated: tuple[str, ...]
