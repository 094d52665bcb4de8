"""Checks of each disk and its datastore, and of all disks of a machine together (V9, D1-D18)."""

from __future__ import annotations

from connector.model import Datastore, Machine, MachineDisk
from connector.vcenter.checks.rule import BLOCK, BLOCK_RUNNING, GIB, INFO, WARN, CheckContext, Rule, when
from connector.vcenter.disk_order import uncertain

UNTRACKABLE = {"FlatVer1", "SparseVer1", "RawDiskVer2", "PartitionedRawDiskVer2"}
FREE_MODES = {"independent_persistent", "independent_nonpersistent", "nonpersistent", "undoable", "append"}
CHURN = 10  # per cent of a disk that may change while its snapshot is open
LEAST_FREE = 1 * GIB
MOST_SNAPSHOTTED = 15  # machines with open snapshots on one datastore
LONG_CHAIN = 28  # files
_SPECIAL = {"VVOL", "vsan", "vsanD", "NFS", "NFS41"}


def trackable(disk: MachineDisk) -> bool:
    """Whether vSphere can track this disk's changes at all."""
    physical = disk.backing == "RawDiskMappingVer1" and disk.compatibility == "physicalMode"
    free = disk.mode in FREE_MODES
    return not (physical or free or disk.backing in UNTRACKABLE or disk.backing == "LocalPMem")


def _stores(disk: MachineDisk, around: CheckContext) -> tuple[Datastore, ...]:
    """The disk's datastore, or all with its name: a name is unique only within a datacenter."""
    store = around.stores.get(disk.store)
    return around.datastores.get(disk.datastore, ()) if store is None else (store,)


def _shut(disk: MachineDisk, around: CheckContext) -> str:
    stores = _stores(disk, around)
    return when(
        stores and not any(store.accessible for store in stores), f"{disk.datastore} is not accessible"
    )


def _in_maintenance(disk: MachineDisk, around: CheckContext) -> str:
    stores = _stores(disk, around)
    closed = stores and all(store.maintenance == "inMaintenance" for store in stores)
    return when(closed, f"{disk.datastore} is in maintenance")


def _full(disk: MachineDisk, around: CheckContext) -> str:
    stores = [store for store in _stores(disk, around) if store.capacity]
    needed = max(LEAST_FREE, disk.capacity * CHURN // 100)
    free = max((store.free for store in stores), default=needed)
    return when(
        free < needed, f"{disk.datastore} has {free >> 20} MiB free, its snapshot may need {needed >> 20}"
    )


def _crowded(disk: MachineDisk, around: CheckContext) -> str:
    """Machines whose disks are there and that have any snapshot: counted in `CheckContext.of`, and by the datastore's key,
    because a name is unique only within a datacenter. A pass goes by `begin_snapshots` of the governor.
    """
    count = around.snapshotted.get(disk.store or disk.datastore, 0)
    return when(count > MOST_SNAPSHOTTED, f"{count} machines on {disk.datastore} have open snapshots")


def _special(disk: MachineDisk, around: CheckContext) -> str:
    kinds = {store.kind for store in _stores(disk, around)} & _SPECIAL
    return when(kinds, f"{disk.datastore} is of type {', '.join(sorted(kinds))}")


def _shared(disk: MachineDisk, around: CheckContext) -> str:
    others = around.owners.get(disk.path, ())
    by = f": {', '.join(others[:8])}" if len(others) > 1 else ""
    return when(disk.sharing == "sharingMultiWriter", f"several machines may write to the disk{by}")


def _boots_elsewhere(machine: Machine) -> str:
    first = machine.traits.boot_order[0] if machine.traits.boot_order else ""
    keys = {f"disk:{disk.key}" for disk in machine.disks}
    if first.startswith("disk:") and first not in keys:
        return f"it boots from {first}, which is none of its disks"
    if first.startswith("net"):
        return "it boots from the network first"
    if any(word.startswith("disk:") for word in machine.traits.boot_order):
        return ""
    why = uncertain(machine.disks)
    return f"{why} and states no boot order: {machine.disks[0].label} counts as the first" if why else ""


def _untracked(machine: Machine) -> list[str]:
    """The trackable disks without a ctkEnabled key of their own. Keys of places without a disk mean nothing."""
    on = {place for place, tracked in machine.traits.tracking_keys if tracked}
    return [
        f"{disk.label} ({disk.controller}:{disk.unit})"
        for disk in machine.disks
        if trackable(disk) and disk.controller and f"{disk.controller}:{disk.unit}".lower() not in on
    ]


MACHINE_RULES: tuple[Rule[Machine], ...] = (
    Rule(
        "V9",
        "CBT on for each disk",
        WARN,
        "config.extraConfig (ctkEnabled)",
        lambda m, _: when(
            m.cbt_enabled and _untracked(m),
            f"CBT is off for {', '.join(_untracked(m))}",
        ),
        "it is turned on before the first pass while the machine runs without snapshots; "
        "otherwise each pass reads the disk in full: set its ctkEnabled to TRUE while the machine is off",
    ),
    Rule(
        "D16",
        "has a disk",
        BLOCK,
        "config.hardware.device",
        lambda m, _: when(not m.disks, "it has no disk"),
        "nothing can be migrated",
    ),
    Rule(
        "D16",
        "disks fit the target",
        BLOCK,
        "config.hardware.device",
        lambda m, around: when(
            len(m.disks) > around.limits.most_disks,
            f"it has {len(m.disks)} disks, the target takes {around.limits.most_disks}",
        ),
        "exclude disks, or join them inside the guest",
    ),
    Rule(
        "D17",
        "boot disk known",
        WARN,
        "config.bootOptions.bootOrder, controllers",
        lambda m, _: _boots_elsewhere(m),
        "the target boots the first disk: state the boot order, or see with --deep that it can start",
    ),
    Rule(
        "D18",
        "disks not named by serial",
        INFO,
        "config.flags.diskUuidEnabled, config.extraConfig (disk.EnableUUID)",
        lambda m, _: when(m.traits.disk_uuids, "its guest sees serial numbers of its disks"),
        "they change: a guest that names disks by serial must be told the new names",
    ),
)

RULES: tuple[Rule[MachineDisk], ...] = (
    Rule(
        "D1",
        "dependent",
        BLOCK,
        "backing.diskMode",
        lambda d, _: when(d.mode in FREE_MODES, f"the disk is {d.mode}: no snapshot covers it"),
        "exclude the disk, or make it dependent while the machine is off",
    ),
    Rule(
        "D2",
        "no physical device mapping",
        BLOCK,
        "backing.compatibilityMode",
        lambda d, _: when(d.compatibility == "physicalMode", "a raw device mapping in physical mode"),
        "exclude the disk and copy it by other means, or convert it to virtual mode",
    ),
    Rule(
        "D2",
        "no virtual device mapping",
        WARN,
        "backing.compatibilityMode",
        lambda d, _: when(d.compatibility == "virtualMode", "a raw device mapping in virtual mode"),
        "CBT works, but the target gets an ordinary disk",
    ),
    Rule(
        "D3",
        "one writer",
        BLOCK_RUNNING,
        "backing.sharing",
        _shared,
        "migrate it with all its owners powered off",
    ),
    Rule(
        "D4",
        "bus not shared",
        BLOCK,
        "VirtualSCSIController.sharedBus",
        lambda d, _: when(
            d.bus_sharing not in ("", "noSharing"), f"its controller shares the bus ({d.bus_sharing})"
        ),
        "no snapshot is possible; take the disk out of the cluster first",
    ),
    Rule(
        "D5",
        "trackable format",
        BLOCK_RUNNING,
        "backing class",
        lambda d, _: when(d.backing in UNTRACKABLE, f"CBT cannot track its format ({d.backing})"),
        "move the disk to a current format with Storage vMotion, or migrate powered off",
    ),
    Rule(
        "D6",
        "not in persistent memory",
        BLOCK,
        "backing class",
        lambda d, _: when(d.backing == "LocalPMem", "it lives in persistent memory: no snapshot, no VDDK"),
        "move the disk to a datastore",
    ),
    Rule(
        "D7",
        "capacity known",
        BLOCK,
        "capacityInBytes",
        lambda d, _: when(d.capacity <= 0, "its capacity is not known"),
        "make the datastore accessible",
    ),
    Rule(
        "D7",
        "capacity fits the target",
        BLOCK,
        "capacityInBytes",
        lambda d, around: when(
            d.capacity > around.limits.largest_disk,
            f"its {d.capacity} bytes are more than the target's {around.limits.largest_disk}",
        ),
        "split the disk inside the guest",
    ),
    Rule(
        "D7",
        "whole GiB",
        INFO,
        "capacityInBytes",
        lambda d, _: when(d.capacity > 0 and d.capacity % GIB != 0, "its capacity is no whole number of GiB"),
        "the target disk is rounded up",
    ),
    Rule(
        "D8",
        "sectors of 512 bytes",
        WARN,
        "virtualDiskFormat",
        lambda d, around: when(d.native_4k and not around.limits.sector_4k, "its sectors have 4 KiB"),
        "choose a target with such sectors, or copy its files into a disk with 512-byte sectors",
    ),
    Rule(
        "D9",
        "no hidden parent",
        WARN,
        "nativeUnmanagedLinkedClone",
        lambda d, _: when(d.linked, "it is a linked clone of a disk that vCenter does not manage"),
        "make a full clone first if reads fail",
    ),
    Rule(
        "D9",
        "short chain of files",
        WARN,
        "backing.parent",
        lambda d, _: when(d.parents > LONG_CHAIN, f"its chain has {d.parents + 1} files"),
        "reads are slow; delete snapshots, or make a full clone",
    ),
    Rule(
        "D10",
        "no first-class disk",
        WARN,
        "vDiskId",
        lambda d, _: when(d.first_class, "it is a first-class disk, e.g. a volume of Kubernetes"),
        "its CBT may differ from the machine's; migrate the volume with its owner",
    ),
    Rule(
        "D11",
        "no I/O filter",
        WARN,
        "iofilter",
        lambda d, _: when(d.filters, f"I/O filters are on it: {', '.join(d.filters)}"),
        "a cache or replication may hold data back; detach it if reads differ",
    ),
    Rule(
        "D12",
        "has a datastore",
        BLOCK,
        "backing.datastore",
        lambda d, _: when(not d.datastore, "it is on no datastore"),
        "attach the disk's file again",
    ),
    Rule(
        "D12",
        "datastore accessible",
        BLOCK,
        "datastore.summary.accessible",
        _shut,
        "make the datastore accessible to the host",
    ),
    Rule(
        "D12",
        "datastore in service",
        BLOCK,
        "datastore.summary.maintenanceMode",
        _in_maintenance,
        "end the maintenance, or move the disk",
    ),
    Rule(
        "D13",
        "room for the snapshot",
        BLOCK_RUNNING,
        "datastore.summary.freeSpace",
        _full,
        "free space on the datastore, or move the disk",
    ),
    Rule(
        "D14",
        "few open snapshots on the datastore",
        WARN,
        "snapshot of all machines on the datastore",
        _crowded,
        "migrate in smaller groups",
    ),
    Rule(
        "D15",
        "ordinary datastore",
        INFO,
        "datastore.summary.type",
        _special,
        "snapshots behave differently there; reading over nbdssl works, over san it may not",
    ),
    Rule(
        "D16",
        "known controller",
        WARN,
        "config.hardware.device",
        lambda d, _: when(not d.controller, "the kind of its controller is not known"),
        "the order of the disks may differ at the target",
    ),
)
