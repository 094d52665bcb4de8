"""The datacenter as frozen values: an operation replaces the whole tree, so a reader never needs a lock.

Field names follow vSphere's; sizes are bytes, times ISO 8601 in UTC, references managed object ids
("vm-101"). Disks here are descriptions; their bytes are in `simulator.estate.disk`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from simulator.estate.errors import NotFound


def now(ahead: float = 0.0) -> str:
    """The present in UTC, in vSphere's form, by a clock that is so many seconds ahead."""
    return (
        (datetime.now(UTC) + timedelta(seconds=ahead))
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


class PowerState(StrEnum):
    ON = "poweredOn"
    OFF = "poweredOff"
    SUSPENDED = "suspended"


class ToolsState(StrEnum):
    RUNNING = "guestToolsRunning"
    NOT_RUNNING = "guestToolsNotRunning"


@dataclass(frozen=True)
class About:
    """ServiceContent.about."""

    name: str = "VMware vCenter Server"
    full_name: str = "VMware vCenter Server 8.0.3 build-24022515"
    vendor: str = "VMware, Inc."
    version: str = "8.0.3"
    build: str = "24022515"
    api_type: str = "VirtualCenter"
    api_version: str = "8.0.3.0"
    os_type: str = "linux-x64"
    product_line_id: str = "vpx"
    instance_uuid: str = ""


@dataclass(frozen=True)
class Folder:
    """`kind`: what it may hold ("vm", "host", "datastore", "network", "datacenter"). The root has no
    parent.
    """

    moref: str
    name: str
    kind: str
    parent: str | None


@dataclass(frozen=True)
class Datacenter:
    """Its four folders are the ones in `Inventory.folders` whose parent it is."""

    moref: str
    name: str
    parent: str


@dataclass(frozen=True)
class Cluster:
    moref: str
    name: str
    parent: str
    resource_pool: str


@dataclass(frozen=True)
class ResourcePool:
    """`owner` is the cluster; `parent` another pool or the owner."""

    moref: str
    name: str
    owner: str
    parent: str


@dataclass(frozen=True)
class Host:
    """An ESXi host; `parent` is its cluster."""

    moref: str
    name: str
    parent: str
    uuid: str
    connection_state: str = "connected"
    in_maintenance: bool = False
    version: str = "8.0.3"
    build: str = "24022510"
    cpu_cores: int = 16
    cpu_mhz: int = 2600
    memory: int = 64 << 30
    datastores: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Datastore:
    """`capacity` is its size, `other` the space that objects outside this estate use; free space is computed."""

    moref: str
    name: str
    parent: str
    capacity: int
    other: int = 0
    type: str = "VMFS"
    url: str = ""
    accessible: bool = True
    maintenance_mode: str = "normal"


@dataclass(frozen=True)
class Network:
    """`type`: "Network" or "DistributedVirtualPortgroup"; `segment`: a port group that NSX made."""

    moref: str
    name: str
    parent: str
    type: str = "Network"
    segment: bool = False


@dataclass(frozen=True)
class Controller:
    """`kind`: "lsilogic", "buslogic", "pvscsi", "lsisas", "sata", "nvme" or "ide"; key as in the device
    list.
    """

    key: int
    kind: str
    bus: int = 0
    sharing: str = "noSharing"


@dataclass(frozen=True)
class VirtualDisk:
    """A disk device. `path` is its live file "[datastore] dir/name.vmdk" and moves with snapshots; `storage`
    names the directory of its bytes and never changes; `scratch` is the (start, length) that a guest may
    overwrite freely. `backing`: "flat", "sesparse", "rdm-virtual", "rdm-physical". `change_id` is what the
    running disk shows. `parents`: the files below `path`, the next one first, whether a snapshot needs them or
    they only wait for consolidation.
    """

    key: int
    controller: int
    unit: int
    label: str
    capacity: int
    path: str
    datastore: str
    uuid: str
    storage: str
    mode: str = "persistent"
    sharing: str = "sharingNone"
    backing: str = "flat"
    thin: bool = True
    change_id: str | None = None
    scratch: tuple[int, int] | None = None
    parents: tuple[str, ...] = ()

    @property
    def snapshots_allowed(self) -> bool:
        return not self.mode.startswith("independent") and self.backing != "rdm-physical"


@dataclass(frozen=True)
class Nic:
    """`kind`: "vmxnet3", "e1000e" or "e1000"."""

    key: int
    label: str
    mac: str
    network: str
    kind: str = "vmxnet3"
    connected: bool = True
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """One snapshot. `disks` are the devices as they were, each with the path and change id of that
    instant.
    """

    moref: str
    id: int
    name: str
    description: str
    created: str
    parent: str | None
    power_state: PowerState
    disks: tuple[VirtualDisk, ...]
    memory: bool = False
    quiesced: bool = False
    change_tracking: bool = False


@dataclass(frozen=True)
class Guest:
    """The guest as the tools report it while they run."""

    host_name: str = ""
    full_name: str = ""
    family: str = "linuxGuest"
    tools: ToolsState = ToolsState.NOT_RUNNING
    tools_installed: bool = True
    tools_version_status: str = "guestToolsUnmanaged"
    ip: str = ""


@dataclass(frozen=True)
class VirtualMachine:
    """One machine. `change_tracking` is the configured flag; it acts from the next stun on
    (`tracking_pending`).

    `extra` is extraConfig. `question` is a pending question's text. `reverting` is a revert that a kill
    interrupted. `boot_order` is what bootOptions state: "disk:2001", "net:4000", "cdrom", "floppy". `hidden`
    are the property paths that vCenter does not show now, such as "config": answers leave them out.
    """

    moref: str
    name: str
    parent: str
    host: str
    resource_pool: str
    datastore: str
    directory: str
    uuid: str
    instance_uuid: str
    firmware: str = "bios"
    guest_id: str = "debian12_64Guest"
    version: str = "vmx-21"
    cpus: int = 2
    memory: int = 2 << 30
    annotation: str = ""
    created: str = "2026-01-01T00:00:00Z"
    power_state: PowerState = PowerState.OFF
    connection_state: str = "connected"
    boot_time: str | None = None
    template: bool = False
    guest: Guest = field(default_factory=Guest)
    controllers: tuple[Controller, ...] = ()
    disks: tuple[VirtualDisk, ...] = ()
    nics: tuple[Nic, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    current_snapshot: str | None = None
    change_tracking: bool = False
    tracking_pending: bool = False
    change_tracking_supported: bool = True
    secure_boot: bool = False
    consolidation_needed: bool = False
    question: str | None = None
    reverting: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    boot_order: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    def snapshot(self, moref: str) -> Snapshot:
        """Raises NotFound."""
        match = next((snapshot for snapshot in self.snapshots if snapshot.moref == moref), None)
        if match is None:
            raise NotFound(f"{self.name}: no snapshot {moref}", obj=moref)
        return match

    def disk(self, key: int) -> VirtualDisk:
        """Raises NotFound."""
        match = next((disk for disk in self.disks if disk.key == key), None)
        if match is None:
            raise NotFound(f"{self.name}: no disk with device key {key}", obj=key)
        return match

    def children(self, moref: str | None) -> tuple[Snapshot, ...]:
        """Snapshots directly below one; the roots below None."""
        return tuple(snapshot for snapshot in self.snapshots if snapshot.parent == moref)

    def descendants(self, moref: str) -> Iterator[Snapshot]:
        """Everything below a snapshot, parents before children."""
        for child in self.children(moref):
            yield child
            yield from self.descendants(child.moref)


@dataclass(frozen=True)
class Inventory:
    """Everything, by moref. `counters` hold the last number used for each kind; numbers are never used
    again.
    """

    about: About = field(default_factory=About)
    folders: dict[str, Folder] = field(default_factory=dict)
    datacenters: dict[str, Datacenter] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    pools: dict[str, ResourcePool] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    datastores: dict[str, Datastore] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    vms: dict[str, VirtualMachine] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)

    def vm(self, moref: str) -> VirtualMachine:
        """Raises NotFound."""
        if moref not in self.vms:
            raise NotFound(f"no virtual machine {moref}", obj=moref)
        return self.vms[moref]
