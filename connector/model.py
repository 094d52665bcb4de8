"""Frozen values that cross rooms. Sizes and offsets are bytes, times are seconds since the epoch (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Extent(NamedTuple):
    """A byte range `[start, start + length)` of one disk; `length` is positive."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


class PowerState(StrEnum):
    ON = "poweredOn"
    OFF = "poweredOff"
    SUSPENDED = "suspended"


class Firmware(StrEnum):
    BIOS = "bios"
    EFI = "efi"


class Severity(StrEnum):
    """How far a finding reaches."""

    BLOCK = "block"
    WARM_BLOCK = "warm-block"  # a running machine cannot be migrated, a powered-off one can
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class MachineDisk:
    """One virtual disk as the machine's configuration or a snapshot's configuration lists it."""

    key: int
    label: str
    capacity: int
    path: str  # "[datastore] folder/name.vmdk"
    datastore: str
    backing: str  # e.g. "FlatVer2"
    mode: str  # e.g. "persistent"
    uuid: str | None = None
    sharing: str = "sharingNone"
    change_id: str | None = None
    controller: str = ""  # e.g. "scsi0"
    bus: int = 0
    unit: int = 0
    bus_sharing: str = "noSharing"  # of its SCSI controller
    compatibility: str = ""  # of a raw device mapping: "physicalMode" or "virtualMode"


@dataclass(frozen=True, slots=True)
class SnapshotNode:
    """One snapshot in a machine's tree."""

    moref: str
    name: str
    description: str
    created: float
    depth: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine as inventory sees it."""

    moref: str
    name: str
    instance_uuid: str
    bios_uuid: str
    power: PowerState
    firmware: Firmware
    guest_id: str
    guest_name: str
    cpus: int
    memory: int
    hardware: str  # e.g. "vmx-19"
    host: str  # moref
    path: str  # inventory path, e.g. "/DC0/vm/web-01"
    disks: tuple[MachineDisk, ...]
    snapshots: tuple[SnapshotNode, ...] = ()
    template: bool = False
    cbt_supported: bool = True
    cbt_enabled: bool = False
    tools_running: bool = False
    consolidation_needed: bool = False
    connection: str = "connected"
    addresses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of one pre-flight check on one object."""

    check: str  # id of the check, e.g. "D1"
    severity: Severity
    subject: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class VddkAccess:
    """What a VDDK worker needs in order to open one disk of one snapshot. `repr` hides the secret."""

    server: str
    port: int
    thumbprint: str  # SHA-1 of the server's certificate
    user: str
    secret: str = field(repr=False)  # password or session cookie
    secret_is_cookie: bool
    vm: str  # moref
    snapshot: str | None  # moref; None reads a powered-off machine
    path: str


@dataclass(frozen=True, slots=True)
class InstanceAddress:
    """Where an intermediate instance listens."""

    host: str
    control_port: int = 8080
    block_port: int = 8703


@dataclass(frozen=True, slots=True)
class Credential:
    """One side's identity in mutual TLS: everything PEM, only the key is secret."""

    authority: str
    certificate: str
    key: str = field(repr=False)
