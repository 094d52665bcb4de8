"""Rows as the rest of the control plane sees them: frozen, detached, free of secrets but the sealed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from connector.control.domain.jobs import BusinessStatus, JobState, JobStatus
from connector.control.domain.sources import SourceState
from connector.model import InstanceAddress

Json = dict[str, Any]

#: Kinds of things that no cloud bills.
#: Seconds beyond the deadline, at most as many again, in which a guest may still be on its way down.
_SETTLING: Final = 60.0

_FREE: Final = ("launch", "security-group", "vpc", "vswitch")


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


class Task(StrEnum):
    """What an appliance does in one pass."""

    READ = "read"
    FINAL = "final"  # read, with the machine shut down
    SHUTDOWN = "shutdown"  # of an application: shut down, to be read when all are
    POWER_ON = "power-on"  # give the machine back as it was found

    @property
    def reads(self) -> bool:
        """Whether disks are read, so that the limits count it."""
        return self in (Task.READ, Task.FINAL)


class ApplianceStatus(StrEnum):
    """What an appliance may do: nothing but call in until it is approved, nothing at all once it is revoked."""

    WAITING = "waiting"
    APPROVED = "approved"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Appliance:
    """One appliance of one vCenter, which it names by its instance UUID. `workgroup_id` is its tenant, None: the
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
    """A public key (PEM) of evidence. Once `replaced` it is good for passes that were taken before that."""

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
    """`name` is unique and people may edit it; `machine` is the machine's name in vCenter."""

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
    """These disks as `keys` order them; those that it does not name follow as they stand."""
    places = {key: place for place, key in enumerate(keys)}
    return tuple(sorted(disks, key=lambda disk: places.get(disk.key, len(places))))


#: In a job's definition: keys of disks that stay behind. The public API has no word for it.
LEFT_OUT: Final = "LeftOutDisks"


@dataclass(frozen=True, slots=True)
class EvidenceEntry:
    """The evidence of one pass, without the manifest: `size` is its bytes, `key` the public key (PEM) it is signed with."""

    pass_id: str
    job_id: str
    run_id: str
    created: float
    size: int
    key: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `authority` is sealed by the vault and useless without its key.

    `definition` is what was asked for, in the public API's names. `frequency` is hours; all times are seconds.
    `next_run` is set while an incremental job waits; `waiting` says to people what the job waits for. `down_since` is
    when our cutover first asked the source to shut down, until a rollback; `predicted_downtime` was said before that.
    The sources of an `application` are cut over together, those of the lowest `rank` first. `disk_order`: keys of the
    source's disks as they were ordered when its first run began; empty before. `compare_reason` is why its next pass
    shall compare every disk with its target, whatever the target says; empty when it need not.
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
        """Its runs begin only when asked for, and all its images are kept."""
        return self.definition.get("OnDemand") is True

    @property
    def settles(self) -> float:
        """When a guest that our cutover asked to shut down will either be off or stay on; 0: none was asked."""
        if self.down_since is None:
            return 0.0
        return self.down_since + self.shutdown_deadline + min(_SETTLING, self.shutdown_deadline)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Keys of the source's disks that stay behind."""
        return tuple(self.definition.get(LEFT_OUT, ()))


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a job. `plan` has one entry per pass. `kind` is "Manual", "Schedule" or "Rollback".

    `cohort` names what it does together with runs of other jobs, in the order of their ranks; `proved`: it was decided
    that all of them are, and each may end by itself.
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
    """One attempt at one reading of the source. Nobody takes it before `not_before`, because of `reason`."""

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
    wanted: tuple[int, ...] = ()  # keys of the disks, when it was taken


@dataclass(frozen=True, slots=True)
class TrackedResource:
    """Something created in vCenter or the cloud; recorded before the call that creates it.

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
        """Whether it costs in the target cloud for as long as it exists."""
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


@dataclass(frozen=True, slots=True)
class LogEntry:
    id: int
    job_id: str
    at: float
    kind: str
    text: str


class TagKind(StrEnum):
    """What can carry tags."""

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
    """Follows from the jobs of the group's sources."""

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    CUTOVER = "Cutover"
    COMPLETED = "Completed"


@dataclass(frozen=True, slots=True)
class Workgroup:
    """Sources that belong together. `failed`: sources whose last job is InError; `unrelated`: those without a job."""

    id: str
    name: str
    description: str
    created: float
    status: GroupStatus
    sources: tuple[str, ...]
    failed: tuple[str, ...]
    unrelated: tuple[str, ...]


class TokenStatus(StrEnum):
    ACTIVE = "activated"
    DISABLED = "unactivated"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An activation code, of which only a digest is kept. `registered` of `count` sources came in by it.

    It is good for one `vcenter` and tenant; what enrols with a code that names no vCenter waits for approval, and so does
    the first appliance of a vCenter unless the code `joins`.
    """

    id: str
    name: str
    description: str
    count: int
    registered: int
    days: int
    created: float
    status: TokenStatus
    approved: bool = True
    vcenter: str = ""
    workgroup_id: str | None = None
    joins: bool = False


class Role(StrEnum):
    """What the holder of an access key may do: look; run jobs; also manage keys and tokens."""

    READER = "read-only"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """`sealed` is the secret as the vault sealed it: signatures cannot be checked with a digest.

    `workgroups`: ids of the only ones that its holder sees; None: everything. It is refused from `until` on.
    `of_directory`: it is that of the owner of the state directory, and no row.
    """

    id: str
    sealed: str = field(repr=False)
    role: Role
    name: str
    created: float
    disabled: bool
    approved: bool = True  # not since a restore that brought it back
    workgroups: tuple[str, ...] | None = None
    until: float | None = None
    of_directory: bool = False

    @property
    def usable(self) -> bool:
        return self.approved and not self.disabled


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A person in the console. `id` is the digest of the cookie; `origin` the address at login."""

    id: str
    key_id: str
    origin: str
    created: float
    seen: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: int
    at: float
    who: str
    origin: str
    action: str
    subject: str
    details: Json
