"""The resources of an account in a region. They change only under the region's lock; sizes of disks are GiB."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

GIB: Final = 1 << 30


@dataclass(slots=True, kw_only=True)
class CloudObject:
    """Anything with an id. It shows in lists a moment after `created`."""

    id: str
    created: float
    name: str = ""
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Vpc(CloudObject):
    cidr: str


@dataclass(slots=True, kw_only=True)
class VSwitch(CloudObject):
    vpc: str
    zone: str
    cidr: str


@dataclass(slots=True, kw_only=True)
class Eip(CloudObject):
    """An address of the account's own; `instance` when it is bound."""

    address: str
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows connections from `source` (a CIDR block) to the ports `first` to `last`. A rule for what goes out: to `source`."""

    protocol: str
    first: int
    last: int
    source: str
    policy: str = "Accept"
    priority: int = 1
    description: str = ""


@dataclass(slots=True, kw_only=True)
class Group(CloudObject):
    """A security group: a connection that is not in `rules` is refused, one that goes out only by a rule of `outgoing`.

    `inner`: whether members reach each other, "Accept" or "Drop".
    """

    vpc: str
    rules: list[Rule] = field(default_factory=list)
    outgoing: list[Rule] = field(default_factory=list)
    inner: str = "Accept"


@dataclass(slots=True, kw_only=True)
class Disk(CloudObject):
    """A disk is a sparse file. `root`: a directory in place of the file system on a system disk."""

    zone: str
    category: str
    level: str
    size: int
    path: Path
    system: bool = False
    root: Path | None = None
    snapshot: str = ""
    instance: str = ""
    device: str = ""
    attached: float = 0.0
    delete_with_instance: bool = False
    ever_attached: bool = False

    @property
    def serial(self) -> str:
        """The serial number of the disk that the guest sees."""
        return self.id.partition("-")[2]


@dataclass(slots=True, kw_only=True)
class Snapshot(CloudObject):
    disk: str
    system: bool
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class Mapping:
    """One disk of an image."""

    device: str
    system: bool
    size: int
    snapshot: str


@dataclass(slots=True, kw_only=True)
class Image(CloudObject):
    """`owner` is "self" or "system"; `broken`: making it failed."""

    owner: str
    architecture: str
    platform: str
    boot_mode: str
    disks: tuple[Mapping, ...]
    broken: bool = False


@dataclass(slots=True, kw_only=True)
class Instance(CloudObject):
    """`goal` is "Running" or "Stopped", reached some time after `since`. `nic`: where its programs listen.

    `guest`: it was made of an image of the account's own.
    """

    type: str
    zone: str
    image: str
    vpc: str
    vswitch: str
    groups: list[str]
    user_data: bytes
    role: str
    nic: str
    private: str
    public: str
    bandwidth: int
    protected: bool
    guest: bool = False
    goal: str = "Running"
    since: float = 0.0
    started_before: bool = False
    stopped_mode: str = ""
    process: subprocess.Popen[bytes] | None = None
