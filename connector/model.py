"""Frozen values that rooms exchange. Sizes and offsets are bytes, times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Protocol


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

    @staticmethod
    def blocking(*, running: bool) -> frozenset[Severity]:
        """The severities that forbid to migrate a machine. `running`: it is read while it runs."""
        return frozenset({Severity.BLOCK, Severity.WARM_BLOCK} if running else {Severity.BLOCK})


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
    encrypted: bool = False
    linked: bool = False  # a linked clone whose parent vCenter does not manage
    parents: int = 0  # length of the chain behind it
    native_4k: bool = False
    first_class: bool = False  # a first-class disk, e.g. a CSI volume
    filters: tuple[str, ...] = ()  # I/O filters, e.g. of a replication
    store: str = ""  # moref of its datastore, whose name is only unique within a datacenter


@dataclass(frozen=True, slots=True)
class SnapshotNode:
    """One snapshot in a machine's tree."""

    moref: str
    name: str
    description: str
    created: float
    depth: int
    off: bool = False  # the machine was powered off at its instant
    quiesced: bool = False


@dataclass(frozen=True, slots=True)
class Nic:
    """One virtual network card of a machine's configuration."""

    key: int
    label: str
    kind: str  # e.g. "VirtualVmxnet3"
    backing: str  # "Network", "DistributedVirtualPort", "OpaqueNetwork", "" for none
    network: str  # name, or port group key, or opaque network id
    mac: str
    start_connected: bool = True


@dataclass(frozen=True, slots=True)
class Device:
    """One virtual device that is no disk, network card or disk controller, but matters for migrating."""

    key: int
    label: str
    kind: str  # e.g. "VirtualTPM"
    backing: str = ""  # e.g. "VirtualPCIPassthroughVmiop"
    connected: bool = False


@dataclass(frozen=True, slots=True)
class GuestNic:
    """One network card as VMware Tools report it."""

    mac: str
    addresses: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()  # of each address of `ipConfig`: "manual", "dhcp", ...
    prefixes: tuple[int, ...] = ()
    dns: bool = False  # whether it names its resolvers


@dataclass(frozen=True, slots=True)
class GuestVolume:
    """One file system that VMware Tools report. Bytes."""

    path: str
    capacity: int
    free: int
    filesystem: str = ""


@dataclass(frozen=True, slots=True)
class Guest:
    """The guest as VMware Tools report it; empty while they do not run."""

    id: str = ""
    name: str = ""
    family: str = ""
    host_name: str = ""
    tools_version: str = ""  # toolsVersionStatus2, e.g. "guestToolsCurrent"
    nics: tuple[GuestNic, ...] = ()
    volumes: tuple[GuestVolume, ...] = ()
    gateway: bool = False  # whether a default route is reported
    dns: bool = False  # whether the IP stack names resolvers, for all cards together


@dataclass(frozen=True, slots=True)
class UnclearData:
    """Something in vCenter's answer about one machine that could not be understood."""

    path: str  # the property; empty for the whole object
    what: str
    lost: bool = False  # a value was left out, so that less is known than vCenter said


@dataclass(frozen=True, slots=True)
class Traits:
    """The properties of a machine that only checks and selectors need, and the control plane does not."""

    host: str = ""  # name
    cluster: str = ""  # name; empty for a host of its own
    datastores: tuple[str, ...] = ()  # names
    attributes: tuple[tuple[str, str], ...] = ()  # custom attributes, name and value
    tags: tuple[str, ...] = ()
    managed_by: str = ""  # key of the extension that owns the machine
    question: str = ""  # the question that vCenter asks and that blocks the machine
    disabled_methods: tuple[str, ...] = ()
    snapshots_supported: bool = True
    snapshots_disabled: bool = False
    quiescing_supported: bool = True
    snapshot_in_background: bool = False
    tools_installer_mounted: bool = False
    fault_tolerance: str = "notConfigured"
    replicated: bool = False
    encrypted: bool = False
    vbs: bool = False
    sgx: bool = False
    sev: bool = False
    secure_boot: bool = False
    boot_order: tuple[str, ...] = ()  # e.g. "disk:2000", "net:4000", "cdrom"
    cpu_hot_add: bool = False
    memory_hot_add: bool = False
    affinity: bool = False  # of CPUs or NUMA nodes
    latency: str = "normal"
    nested: bool = False
    reserved_cpu: int = 0  # MHz
    reserved_memory: int = 0  # bytes
    disk_uuids: bool = False  # disk.EnableUUID
    tracking_keys: tuple[
        tuple[str, bool], ...
    ] = ()  # CBT of a place for a disk: "scsi0:0", on or off; it may hold no disk
    alarms: int = 0
    health: str = "green"
    issues: tuple[str, ...] = ()
    guest: Guest = Guest()
    nics: tuple[Nic, ...] = ()
    devices: tuple[Device, ...] = ()
    doubts: tuple[UnclearData, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """An ESXi host as inventory sees it."""

    moref: str
    name: str
    cluster: str = ""
    connection: str = "connected"
    maintenance: bool = False
    quarantine: bool = False
    version: str = ""
    build: str = ""  # of ESXi


@dataclass(frozen=True, slots=True)
class Datastore:
    """A datastore as inventory sees it. Bytes."""

    moref: str
    name: str
    kind: str = ""  # "VMFS", "NFS", "vsan", "VVOL", ...
    capacity: int = 0
    free: int = 0
    accessible: bool = True
    maintenance: str = "normal"


@dataclass(frozen=True, slots=True)
class Network:
    """A network that machines may be attached to."""

    moref: str
    name: str
    kind: str = "Network"  # or "DistributedVirtualPortgroup", "OpaqueNetwork"
    segment: bool = False  # NSX made it, although it is shown as a port group


class MachinePart(StrEnum):
    """A part of a machine that vCenter may not show for a moment; `fields` of `Machine` are empty then."""

    CONFIGURATION = "configuration"
    HARDWARE = "hardware"
    IDENTITY = "instance UUID"
    BIOS_UUID = "BIOS UUID"
    FIRMWARE = "firmware"
    SYSTEM = "guest system"  # as it is configured
    SIZE = "size"  # processors and memory
    CAPABILITY = "capability"
    GUEST = "guest"
    ADDRESSES = "addresses"
    NAME = "name"
    PLACE = "place"
    POWER = "power state"
    HOST = "host"
    DATASTORES = "datastores"
    NETWORKS = "networks"

    @property
    def fields(self) -> tuple[str, ...]:
        return _FIELDS.get(self, ())


_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    MachinePart.CONFIGURATION: (
        *("instance_uuid", "bios_uuid", "firmware", "guest_id", "guest_name", "cpus", "memory", "hardware"),
        *("disks", "snapshots", "template", "cbt_enabled"),
    ),
    MachinePart.HARDWARE: ("cpus", "memory", "disks"),
    MachinePart.IDENTITY: ("instance_uuid",),
    MachinePart.BIOS_UUID: ("bios_uuid",),
    MachinePart.FIRMWARE: ("firmware",),
    MachinePart.SYSTEM: ("guest_id", "guest_name"),
    MachinePart.SIZE: ("cpus", "memory"),
    MachinePart.CAPABILITY: ("cbt_supported",),
    MachinePart.GUEST: ("tools_running", "addresses"),
    MachinePart.ADDRESSES: ("addresses",),
    MachinePart.NAME: ("name", "path"),
    MachinePart.PLACE: ("path",),
    MachinePart.POWER: ("power",),
    MachinePart.HOST: ("host",),
    MachinePart.NETWORKS: ("networks",),
}

#: Parts without which nothing may be done with a machine.
UNREADY: Final = frozenset({MachinePart.CONFIGURATION, MachinePart.HARDWARE, MachinePart.POWER})


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
    disks: tuple[MachineDisk, ...]  # in the order of `disk_order`: the first is the system disk
    snapshots: tuple[SnapshotNode, ...] = ()
    template: bool = False
    cbt_supported: bool = True
    cbt_enabled: bool = False
    tools_running: bool = False
    consolidation_needed: bool = False
    connection: str = "connected"
    addresses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    traits: Traits = Traits()
    missing: tuple[
        str, ...
    ] = ()  # parts (`MachinePart`) that vCenter did not show: their fields are empty, or as they were before


@dataclass(frozen=True, slots=True)
class Inventory:
    """The result of one sweep; machines are in the order of their inventory paths."""

    machines: tuple[Machine, ...]
    hosts: tuple[Host, ...] = ()
    datastores: tuple[Datastore, ...] = ()
    networks: tuple[Network, ...] = ()
    clusters: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()  # inventory paths


@dataclass(frozen=True, slots=True)
class DatastoreLoad:
    """One datastore: bytes, and the number of its machines with a snapshot, ours or others'."""

    name: str
    capacity: int
    free: int
    snapshots: int = 0


@dataclass(frozen=True, slots=True)
class Pressure:
    """What a machine's snapshot costs the datastores that it grows on.

    `delta`: bytes of the files that grew since it was taken.
    """

    stores: tuple[DatastoreLoad, ...]
    delta: int = 0
    measured: bool = True  # False: vCenter does not show the files now, and `delta` means nothing
    unread: tuple[str, ...] = ()  # datastores of which vCenter does not show this user how full they are


@dataclass(frozen=True, slots=True)
class TargetLimits:
    """What a target cloud takes; bytes and counts. The defaults are of one of which nothing is known that it refuses."""

    largest_disk: int = 1 << 62
    most_disks: int = 1 << 16
    secure_boot: bool = True
    sector_4k: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of one pre-flight check on one object."""

    check: str  # id of the check, e.g. "D1"
    severity: Severity
    subject: str
    message: str
    remedy: str = ""
    reads: str = ""  # the property that the check reads
    fixable: bool = False  # the tool can do what the remedy says


@dataclass(frozen=True, slots=True)
class NfcTicket:
    """Entry to the NFC service of one host, for one connection. `service` is the name that the ticket has for it."""

    host: str
    port: int
    thumbprint: str  # SHA-1 of the host's certificate
    service: str
    session_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileRoute:
    """The way to one file of a datastore over HTTPS. Exactly one of `pin` and `authority` is set: it says whom to believe.

    `setting` says what to change if another certificate than the pinned one is right.
    """

    host: str
    port: int
    target: str  # path and query of the URL
    pin: str  # SHA-1 or SHA-256 of the server's certificate
    authority: Path | None
    cookie: str = field(repr=False)
    setting: str = ""


@dataclass(frozen=True, slots=True)
class DiskBacking:
    """The files under one disk of one snapshot, as vCenter shows them at one moment.

    As long as two looks give equal values, nobody has rewritten or moved the snapshot's files between them.
    """

    kind: str  # of the disk's backing, e.g. "FlatVer2"
    files: tuple[str, ...]  # the snapshot's file and those below it; empty: there is no such snapshot or disk
    live: tuple[str, ...]  # the file that the machine uses now and those below it; empty: it has no such disk
    store: str  # kind of its datastore, e.g. "VMFS"
    snapshots: tuple[tuple[str, str], ...]  # every snapshot of the machine and its parent, by moref
    work: str = ""  # a task that may rewrite or move files now
    encrypted: bool = False


class DiskRoutes(Protocol):
    """Ways to one disk that vCenter opens on request. Thread-safe; each call asks vCenter anew, and raises its errors."""

    def nfc_ticket(self) -> NfcTicket:
        """A ticket for one connection to the host on which the machine runs now."""

    def file(self, path: str, host_port: int = 0) -> FileRoute:
        """The way to a file on the disk's datastore: through vCenter, or straight from the machine's host at this port.

        Its cookie does not live for ever: ask again when it is refused.
        """

    def snapshot_file(self) -> str:
        """The disk's file as the snapshot has it now; empty when the snapshot, or its disk, is gone."""

    def backing(self) -> DiskBacking:
        """The files under the disk now."""

    def in_use(self) -> tuple[Extent, ...]:
        """The areas in use by CBT; the whole disk where CBT does not know them."""


@dataclass(frozen=True, slots=True)
class DiskAccess:
    """What a reader needs to open one disk of one snapshot. `repr` hides the secret."""

    server: str
    port: int
    thumbprint: str  # SHA-1 of the server's certificate
    user: str
    secret: str = field(repr=False)  # password or session cookie
    secret_is_cookie: bool
    vm: str  # moref
    snapshot: str | None  # moref; None reads a powered-off machine
    path: str
    capacity: int = 0  # bytes by vCenter; 0: unknown
    routes: DiskRoutes | None = field(default=None, repr=False, compare=False)
    owner: str = ""  # of the lock that a reader may set: one installation must not take off another one's


#: What each `compress_level` of the public API means here: "adaptive", or a level of zstd.
COMPRESS_LEVELS: Final = ("none", "-5", "-3", "-1", "1", "2", "3", "adaptive", "4", "6", "9")


@dataclass(frozen=True, slots=True)
class Replication:
    """How a job's passes use link and processors, in the public API's words."""

    bandwidth_limit: int = 0  # Mbit/s for all disks of a pass together, 0: no limit
    compress_level: int | None = None  # 0 to 10; None: the appliance's setting
    checksum: bool = False  # the target is read again after each pass, even after an earlier proof

    @property
    def rate(self) -> float:
        """Bytes a second; 0 is no limit."""
        return self.bandwidth_limit * 1e6 / 8

    @property
    def compression(self) -> str | None:
        """A value of `TransferSettings.compression`; None means the appliance's setting."""
        return None if self.compress_level is None else COMPRESS_LEVELS[self.compress_level]


@dataclass(frozen=True, slots=True)
class InstanceAddress:
    """The address and ports of an intermediate instance."""

    host: str
    control_port: int = 8080
    block_port: int = 8703


@dataclass(frozen=True, slots=True)
class Credential:
    """One side's identity in mutual TLS, in PEM; only the key is secret."""

    authority: str
    certificate: str
    key: str = field(repr=False)
