"""Every call of a provider is idempotent by its token, so after a crash the caller calls again.

The caller records the token before `create_instance`, so that no object in the cloud is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import Any, Final, Protocol

from connector.cloud.target_instance import TargetInstances
from connector.model import Credential, InstanceAddress, TargetLimits

#: The instance's name in the target cloud, which tells operators not to delete it.
INSTANCE_NAME: Final = "No_Delete_SMC_Transition_Instance"


@dataclass(frozen=True, slots=True)
class TargetDisk:
    """One disk that the instance must have. `capacity`: bytes.

    `size`: bytes that were asked for at the target, at least `capacity`; 0: the provider rounds up.
    """

    key: int
    label: str
    capacity: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the instance shall run, and as which type. The provider chooses empty fields.

    An unavailable `instance_type` is a failure; no other type is tried. `net_mode` is the public API's: 0 reaches the
    instance over the internet, 2 at its private address in `vswitch`.
    """

    region: str = ""
    instance_type: str = ""
    architecture: str = "x86_64"  # of the machine: "x86_64", "i386" or "arm64"
    net_mode: int = 0
    vpc: str = ""
    vswitch: str = ""
    ram_role: str = ""
    launch_template: str = ""
    launch_template_version: str = ""


@dataclass(frozen=True, slots=True)
class InstanceRequest:
    """The instance to create. `token` names it for ever.

    `credential` is the instance's certificate for mutual TLS, `control` the control plane's.
    """

    token: str
    job_id: str
    disks: tuple[TargetDisk, ...]
    credential: Credential
    control: Credential
    placement: Placement = Placement()


class Health(StrEnum):
    """The health of an instance, as the provider sees it."""

    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class CloudResource:
    """An object that belongs to an instance and may be billed. `kind`: "disk", "snapshot" and so on."""

    kind: str
    reference: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One intermediate instance. `handle` is the provider's own name for it.

    `resources` are removed when it is released without its disks.
    """

    handle: str
    name: str
    address: InstanceAddress
    health: Health
    resources: tuple[CloudResource, ...] = ()
    token: str = ""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image of an instance's disks, in this order: the first is the system disk.

    The same `token` and `run` mean the same image for ever. `expect`: what the disks must show, by key: reading, target,
    generation and root in the evidence of the run. Other disks are no part of the image. `firmware`, `guest_id` and
    `architecture`: vCenter's words for the machine that shall boot from it; `memory` in bytes; `cards`: MAC and network of each
    network card. `conversion`: "none", or what becomes of the network in a converted copy; `boot_check`: start a copy.
    `converter`: the certificate of an instance that is made for a conversion.
    """

    token: str
    job_id: str
    run: str
    name: str
    format: str
    control: Credential
    disks: tuple[TargetDisk, ...] = ()
    firmware: str = "bios"
    guest_id: str = ""
    architecture: str = "x86_64"
    secure_boot: bool = False
    cpus: int = 1
    memory: int = 1 << 30
    cards: tuple[tuple[str, str], ...] = ()
    conversion: str = "none"
    boot_check: bool = False
    converter: Credential | None = None
    expect: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image in the provider's list. `size`: bytes at the provider.

    `id`: the cloud's id, if it has one. `details`: disks, format and notes for people.
    """

    name: str
    location: str
    files: tuple[str, ...]
    size: int
    created: float
    details: Mapping[str, object] = field(default_factory=dict)
    id: str = ""


_ANYWHERE: Final = Placement()


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """A drill of one image, or with `plan_only` the plan of its conversion. `location`: as `StoredImage` has it.

    `token`: that of the job's instance; it names what the drill makes. `converted`: the image's converted copy, if it has one.
    `image`, `placement`: what the image is made of, and where an instance may run: for a plan that needs an instance.

    `network`: what becomes of the network: dhcp, keep or none. `new_macs`: the machine gets other MACs than the image says.
    `timeout`: seconds until a machine that shows nothing counts as silent. `marker`: a regular expression for the line of its
    serial console that is awaited instead of a login prompt.
    """

    id: str
    location: str
    network: str
    converted: str = ""
    image: ImageRequest | None = None
    placement: Placement = _ANYWHERE
    token: str = ""
    job_id: str = ""
    plan_only: bool = False
    new_macs: bool = False
    timeout: float = 600.0
    marker: str = ""


@dataclass(frozen=True, slots=True)
class DrillOutcome:
    """What a drill found. `report`: `conversion`, `refusal`, `conversion_seconds` and `boot`, as `DrillReport.to_json` has them.

    `kept`: SHA-256 and bytes of each file that was kept, by its name (`DRILL_FILES`).
    """

    report: Mapping[str, Any]
    kept: Mapping[str, Mapping[str, object]]


#: The files that a drill keeps beside its image.
DRILL_FILES: Final = ("console.log", "screen.png", "screen.jpg")


#: The tokens of all that drills make begin with it.
DRILL_PREFIX: Final = "drill-"


class Drills(Protocol):
    """Drills of the images that a provider keeps. They change no image."""

    @property
    def converts(self) -> bool:
        """Whether a drill converts a copy; otherwise it starts the image, or its converted copy, as it is."""
        ...

    def run(self, request: DrillRequest, halt: Event, say: Callable[[str], None]) -> DrillOutcome:
        """Do one drill; nothing of it runs when this returns. `say` gets a line for each stage.

        Raises Interrupted after `halt`; BadInput without the tools or the image; TargetFailed, Ineligible, BootFailed.
        """
        ...

    def file(self, location: str, name: str) -> bytes | None:
        """A file that the last drill of this image kept; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry of a ledger: the object that was intended at `created`, its reference, and whether it is gone."""

    token: str
    kind: str
    reference: str | None
    gone: bool
    created: float


class ProviderLedger(Protocol):
    """Where a provider records an object before the call that creates it. `owner`: an instance's token.

    It outlives this process, and all processes that may act for an owner share it. Tokens begin with their owner's token.
    """

    def intend(self, owner: str, kind: str, token: str) -> None:
        """Record that this object will be created. Repeating it is harmless."""
        ...

    def made(self, owner: str, kind: str, token: str, reference: str) -> None:
        """Record that it exists, with the cloud's name for it. An instance may exist again under its owner's token."""
        ...

    def gone(self, owner: str, kind: str, token: str) -> None:
        """Record that it does not exist. Only an instance will ever exist again under this token."""
        ...

    def entries(self, owner: str) -> Sequence[LedgerEntry]:
        """All entries of this owner, oldest first."""
        ...


class Provider(Protocol):
    """Thread-safe. Its own failures are `TargetFailed` (also `TargetFull`, `PortInUse`) and nothing else."""

    def offers(self, ability: str) -> bool:
        """Whether it has an ability that not every provider has, in the words of `JobField.needs`."""
        ...

    @property
    def billed(self) -> bool:
        """Whether what it makes costs money as long as it exists."""
        ...

    @property
    def limits(self) -> TargetLimits:
        """What it takes of a machine: pre-flight checks go by them."""
        ...

    @property
    def target_instances(self) -> TargetInstances | None:
        """The user's machines, whose disks a job may replace; None if it offers none."""
        ...

    @property
    def drills(self) -> Drills | None:
        """Drills of its images; None if it offers none."""
        ...

    def remove_drill(self, token: str) -> None:
        """Remove what a drill of this job has left, also when drills are not offered any more. Harmless if there is nothing.

        A drill of the job that is under way is waited for. Raises TargetFailed.
        """
        ...

    def check(self, placement: Placement) -> None:
        """Raise `BadInput` for a placement that is not available, before a job is made. `on` is the placement's field."""
        ...

    def create_instance(self, request: InstanceRequest) -> Instance:
        """The running instance of this token, always the same, with its former disks.

        It returns when the instance can be used. A stopped instance is started again on the same disks, if possible
        at the same address.
        """
        ...

    def find(self, token: str) -> Instance | None:
        """The instance of this token, running or not; None if there is none."""
        ...

    def describe(self) -> Sequence[Instance]:
        """All instances that exist."""
        ...

    def release(self, token: str, *, keep_disks: bool) -> None:
        """Stop the instance; without `keep_disks` only its images remain. Harmless if it is gone."""
        ...

    def make_image(self, request: ImageRequest) -> StoredImage:
        """Make an image of the instance's disks at the end of the last pass. The image outlives the instance.

        It returns when the image can be used. The image's name may differ from the requested one. Raises Conflict if a
        disk is in the middle of a pass (invariant 10).
        """
        ...

    def list_images(self) -> Sequence[StoredImage]:
        """The images that this provider keeps."""
        ...

    def delete_image(self, name: str) -> None:
        """Remove one image. Harmless if it is gone."""
        ...

    def close(self) -> None:
        """Close the provider. Instances that are children of this process stop and keep their disks; others go on."""
        ...
