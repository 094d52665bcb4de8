"""Every call of a provider is idempotent by its token: after a crash the caller simply calls again.

The caller records the token before `create_instance`, so that nothing in the cloud is ever unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from connector.model import Credential, InstanceAddress, TargetLimits

#: The name that an operator of the target cloud sees, and must not delete.
INSTANCE_NAME: Final = "No_Delete_SMC_Transition_Instance"


@dataclass(frozen=True, slots=True)
class TargetDisk:
    """One disk that the instance must offer; `capacity` in bytes.

    `size`: so many bytes were asked for at the target, never fewer than `capacity`; 0: the provider rounds up.
    """

    key: int
    label: str
    capacity: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and as what the instance was asked for; what is empty the provider chooses.

    An `instance_type` that cannot be had is a failure, never a reason for another one. `net_mode` is the public
    API's: 0 reaches the instance over the internet, 2 at its private address in `vswitch`.
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
    """What to create. `token` names the instance for ever.

    Of mutual TLS with it, `credential` is its side and `control` the control plane's.
    """

    token: str
    job_id: str
    disks: tuple[TargetDisk, ...]
    credential: Credential
    control: Credential
    placement: Placement = Placement()


class Health(StrEnum):
    """What a provider knows of an instance."""

    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class CloudResource:
    """Something that exists beside an instance because of it, and may be billed: `kind` is "disk", "snapshot" and so on."""

    kind: str
    reference: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One intermediate instance. `handle` is the provider's own name for it.

    `resources` go when it is released without its disks.
    """

    handle: str
    name: str
    address: InstanceAddress
    health: Health
    resources: tuple[CloudResource, ...] = ()
    token: str = ""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What to make of an instance's disks, in this order: the first one is the system disk.

    The same `token` and `run` are the same image for ever. `expect` is what the disks must show, by key: reading, target,
    generation, root, as the evidence of the run says; other disks are no part of the image. `firmware`, `guest_id` and
    `architecture` are vCenter's words for the machine that shall boot from it.
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
    expect: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image as the provider lists it; `size` in bytes on the provider's side.

    `id` is the cloud's name for it where it has one. `details` is for people: disks, format, notes.
    """

    name: str
    location: str
    files: tuple[str, ...]
    size: int
    created: float
    details: Mapping[str, object] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of a ledger: what was intended at `created`, what it became, and whether it is gone."""

    token: str
    kind: str
    reference: str | None
    gone: bool
    created: float


class ProviderLedger(Protocol):
    """Where a provider writes what it is about to create, before the call that does. `owner` is an instance's token.

    It outlives this process and is shared by all that may act for the same owner. Tokens begin with their owner's.
    """

    def intend(self, owner: str, kind: str, token: str) -> None:
        """This is going to be created. Harmless when repeated."""
        ...

    def made(self, owner: str, kind: str, token: str, reference: str) -> None:
        """It exists, and this is the cloud's name for it."""
        ...

    def gone(self, owner: str, kind: str, token: str) -> None:
        """It does not exist, and never will under this token."""
        ...

    def entries(self, owner: str) -> Sequence[LedgerEntry]:
        """Everything that was ever intended for this owner, oldest first."""
        ...


class Provider(Protocol):
    """Thread-safe. Its own failures are `TargetFailed` (also `TargetFull`, `PortInUse`) and nothing else."""

    @property
    def features(self) -> Collection[str]:
        """What it can do that others cannot, in the words of `JobField.needs`."""
        ...

    @property
    def limits(self) -> TargetLimits:
        """What it takes of a machine: pre-flight checks go by them."""
        ...

    def check(self, placement: Placement) -> None:
        """Refuse what cannot be had, before a job is made of it: `BadInput`, whose `on` is the placement's field."""
        ...

    def create_instance(self, request: InstanceRequest) -> Instance:
        """A running instance for this token, the same one each time, with the disks it had before.

        Returns when it can be used. An instance that stopped is started again on the same disks, at the same
        address whenever possible.
        """
        ...

    def find(self, token: str) -> Instance | None:
        """The instance of this token, running or not; None when there is none."""
        ...

    def describe(self) -> Sequence[Instance]:
        """All instances that exist."""
        ...

    def release(self, token: str, *, keep_disks: bool) -> None:
        """Stop the instance; without `keep_disks` only its images remain. Harmless when gone."""
        ...

    def make_image(self, request: ImageRequest) -> StoredImage:
        """An image of the instance's disks as its last pass left them; it outlives the instance.

        Returns when the image can be used. Its name may differ from the one that was asked for. Raises Conflict when a
        disk is in the middle of a pass (invariant 10).
        """
        ...

    def list_images(self) -> Sequence[StoredImage]:
        """The images that this provider keeps."""
        ...

    def delete_image(self, name: str) -> None:
        """Remove one image. Harmless when gone."""
        ...

    def close(self) -> None:
        """Let go: instances that live in this process's hands stop and keep their disks, others run on."""
        ...
