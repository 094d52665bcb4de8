"""Whether a machine can be migrated, and how: a table of rules over inventory values, without any I/O.

A rule names its id, its reach, the properties it reads, what is wrong, and what to do. Ids are those of the
documented checks; one id may have several rows when it has several degrees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from connector.model import Finding, Machine, MachineDisk, PowerState, Severity, SnapshotNode
from connector.vcenter.changes import root_file
from connector.vcenter.naming import Ticket

BLOCK, WARM, WARN, INFO = Severity.BLOCK, Severity.WARM_BLOCK, Severity.WARN, Severity.INFO

GIB = 1 << 30
DEEP, TOO_DEEP = 2, 28  # levels of a snapshot chain: slow, and close to vSphere's limit of 32
_BACKUP = re.compile(
    r"veeam|commvault|galaxy_|netbackup|nbu_|rubrik|cohesity|avamar|networker|consolidate helper|_backup_",
    re.I,
)
_UNTRACKABLE = {"FlatVer1", "SparseVer1", "RawDiskVer2", "PartitionedRawDiskVer2"}
_FREE_MODES = {"independent_persistent", "independent_nonpersistent", "nonpersistent", "undoable", "append"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the target can take; bytes and counts."""

    largest_disk: int = 32 << 40
    most_disks: int = 17


@dataclass(frozen=True, slots=True)
class Rule:
    """One check of a machine; `wrong` says what is wrong, or "" when nothing is."""

    id: str
    severity: Severity
    reads: str
    wrong: Callable[[Machine, Bounds], str]
    remedy: str
    fixable: bool = False


@dataclass(frozen=True, slots=True)
class DiskRule:
    """The same for each disk of a machine."""

    id: str
    severity: Severity
    reads: str
    wrong: Callable[[MachineDisk, Bounds], str]
    remedy: str
    fixable: bool = False


def hardware_level(version: str) -> int:
    """19 for "vmx-19"; 0 when it is not known."""
    digits = version.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def trackable(disk: MachineDisk) -> bool:
    """Whether vSphere can track this disk's changes at all."""
    physical = disk.backing == "RawDiskMappingVer1" and disk.compatibility == "physicalMode"
    free = disk.mode in _FREE_MODES
    return not (physical or free or disk.backing in _UNTRACKABLE or disk.backing == "LocalPMem")


def foreign(machine: Machine) -> tuple[SnapshotNode, ...]:
    """The snapshots that are not ours, whoever made them."""
    return tuple(node for node in machine.snapshots if Ticket.of(node.description) is None)


def _ours(machine: Machine) -> int:
    return len(machine.snapshots) - len(foreign(machine))


def _depth(machine: Machine) -> int:
    return max((node.depth + 1 for node in foreign(machine)), default=0)


def _backups(machine: Machine) -> str:
    return ", ".join(
        node.name for node in foreign(machine) if _BACKUP.search(f"{node.name} {node.description}")
    )


def _when(wrong: bool, message: str) -> str:
    return message if wrong else ""


RULES: tuple[Rule, ...] = (
    Rule(
        "V1",
        BLOCK,
        "runtime.connectionState",
        lambda m, _: _when(m.connection != "connected", f"the machine is {m.connection}"),
        "make its host and datastore reachable, or register it again",
    ),
    Rule(
        "V2",
        BLOCK,
        "config.template",
        lambda m, _: _when(m.template, "it is a template"),
        "convert it to a virtual machine, or migrate a clone",
    ),
    Rule(
        "V4",
        BLOCK,
        "runtime.powerState",
        lambda m, _: _when(
            m.power is PowerState.SUSPENDED, "it is suspended: its memory holds unwritten data"
        ),
        "resume it or shut it down",
    ),
    Rule(
        "V7",
        WARM,
        "config.version",
        lambda m, _: _when(
            hardware_level(m.hardware) < 7, f"hardware version {m.hardware or 'unknown'} has no CBT"
        ),
        "upgrade the virtual hardware to vmx-07 or later, or migrate it powered off",
    ),
    Rule(
        "V8",
        WARM,
        "capability.changeTrackingSupported",
        lambda m, _: _when(not m.cbt_supported, "its host does not support CBT for it"),
        "migrate it powered off",
    ),
    Rule(
        "V9",
        INFO,
        "config.changeTrackingEnabled",
        lambda m, _: _when(not m.cbt_enabled, "CBT is off"),
        "it is turned on before the first pass, which stuns a running machine for a moment",
        fixable=True,
    ),
    Rule(
        "V10",
        WARM,
        "snapshot.rootSnapshotList, config.changeTrackingEnabled",
        lambda m, _: _when(
            not m.cbt_enabled and bool(foreign(m)),
            f"CBT cannot be turned on while it has {len(foreign(m))} snapshot(s)",
        ),
        "delete its snapshots first, or migrate it powered off",
    ),
    Rule(
        "V10",
        WARN,
        "snapshot.rootSnapshotList",
        lambda m, _: _when(DEEP < _depth(m) < TOO_DEEP, f"its snapshot chain is {_depth(m)} deep"),
        "reads and consolidation are slow; delete old snapshots",
    ),
    Rule(
        "V10",
        BLOCK,
        "snapshot.rootSnapshotList",
        lambda m, _: _when(_depth(m) >= TOO_DEEP, f"its snapshot chain is {_depth(m)} deep, the limit is 32"),
        "delete old snapshots",
    ),
    Rule(
        "V11",
        WARN,
        "snapshot.rootSnapshotList[].description",
        lambda m, _: _when(_ours(m) > 0, f"{_ours(m)} snapshot(s) of ours are on it"),
        "they belong to a running pass, or are removed by the next clean-up",
        fixable=True,
    ),
    Rule(
        "V11",
        WARN,
        "snapshot.rootSnapshotList[].name",
        lambda m, _: _when(bool(_backups(m)), f"snapshots look like a backup's: {_backups(m)}"),
        "wait for the backup, or remove what it left behind",
    ),
    Rule(
        "V12",
        WARN,
        "runtime.consolidationNeeded",
        lambda m, _: _when(m.consolidation_needed, "its disks need consolidation"),
        "consolidate the disks in vCenter",
        fixable=True,
    ),
    Rule(
        "V23",
        WARN,
        "guest.toolsRunningStatus",
        lambda m, _: _when(
            m.power is PowerState.ON and not m.tools_running, "VMware Tools do not run: no graceful shutdown"
        ),
        "start VMware Tools, or plan a hard power-off at cutover",
    ),
    Rule(
        "D16",
        BLOCK,
        "config.hardware.device",
        lambda m, _: _when(not m.disks, "it has no disk"),
        "nothing can be migrated",
    ),
    Rule(
        "D16",
        BLOCK,
        "config.hardware.device",
        lambda m, limits: _when(
            len(m.disks) > limits.most_disks,
            f"it has {len(m.disks)} disks, the target takes {limits.most_disks}",
        ),
        "exclude disks, or join them inside the guest",
    ),
)

DISK_RULES: tuple[DiskRule, ...] = (
    DiskRule(
        "D1",
        BLOCK,
        "backing.diskMode",
        lambda d, _: _when(d.mode in _FREE_MODES, f"the disk is {d.mode}: no snapshot covers it"),
        "exclude the disk, or make it dependent while the machine is off",
    ),
    DiskRule(
        "D2",
        BLOCK,
        "backing.compatibilityMode",
        lambda d, _: _when(d.compatibility == "physicalMode", "a raw device mapping in physical mode"),
        "exclude the disk and copy it by other means, or convert it to virtual mode",
    ),
    DiskRule(
        "D2",
        WARN,
        "backing.compatibilityMode",
        lambda d, _: _when(d.compatibility == "virtualMode", "a raw device mapping in virtual mode"),
        "CBT works, but the target gets an ordinary disk",
    ),
    DiskRule(
        "D3",
        WARM,
        "backing.sharing",
        lambda d, _: _when(d.sharing == "sharingMultiWriter", "several machines may write to the disk"),
        "migrate it with all its owners powered off",
    ),
    DiskRule(
        "D4",
        BLOCK,
        "VirtualSCSIController.sharedBus",
        lambda d, _: _when(
            d.bus_sharing not in ("", "noSharing"), f"its controller shares the bus ({d.bus_sharing})"
        ),
        "no snapshot is possible; take the disk out of the cluster first",
    ),
    DiskRule(
        "D5",
        WARM,
        "backing class",
        lambda d, _: _when(d.backing in _UNTRACKABLE, f"CBT cannot track its format ({d.backing})"),
        "move the disk to a current format with Storage vMotion, or migrate powered off",
    ),
    DiskRule(
        "D6",
        BLOCK,
        "backing class",
        lambda d, _: _when(d.backing == "LocalPMem", "it lives in persistent memory: no snapshot, no VDDK"),
        "move the disk to a datastore",
    ),
    DiskRule(
        "D7",
        BLOCK,
        "capacityInBytes",
        lambda d, _: _when(d.capacity <= 0, "its capacity is not known"),
        "make the datastore accessible",
    ),
    DiskRule(
        "D7",
        BLOCK,
        "capacityInBytes",
        lambda d, limits: _when(
            d.capacity > limits.largest_disk,
            f"its {d.capacity} bytes are more than the target's {limits.largest_disk}",
        ),
        "split the disk inside the guest",
    ),
    DiskRule(
        "D7",
        INFO,
        "capacityInBytes",
        lambda d, _: _when(
            d.capacity > 0 and d.capacity % GIB != 0, "its capacity is no whole number of GiB"
        ),
        "the target disk is rounded up",
    ),
)

_REACH = (BLOCK, WARM, WARN, INFO)


def check(machine: Machine, bounds: Bounds = Bounds()) -> tuple[Finding, ...]:
    """Every finding about a machine and its disks, the gravest first."""
    found = [*_about_machine(machine, bounds), *_about_disks(machine, bounds)]
    return tuple(sorted(found, key=lambda finding: _REACH.index(finding.severity)))


def _about_machine(machine: Machine, bounds: Bounds) -> Iterator[Finding]:
    for rule in RULES:
        if message := rule.wrong(machine, bounds):
            yield Finding(rule.id, rule.severity, machine.name, message, rule.remedy)


def _about_disks(machine: Machine, bounds: Bounds) -> Iterator[Finding]:
    for rule in DISK_RULES:
        for disk in machine.disks:
            if message := rule.wrong(disk, bounds):
                yield Finding(rule.id, rule.severity, f"{machine.name} {disk.label}", message, rule.remedy)


def obstacles(findings: Iterable[Finding], power: PowerState) -> tuple[Finding, ...]:
    """The findings that forbid the migration of a machine in that power state."""
    grave = {BLOCK} if power is PowerState.OFF else {BLOCK, WARM}
    return tuple(finding for finding in findings if finding.severity in grave)


def disk_set_changes(
    subject: str, before: Sequence[MachineDisk], now: Sequence[MachineDisk]
) -> tuple[Finding, ...]:
    """D20: disks that were added, removed, resized, replaced or moved since `before`; those need a resync."""
    old = {disk.key: disk for disk in before}
    new = {disk.key: disk for disk in now}
    told = [(new[key].label, "the disk was added") for key in new.keys() - old.keys()]
    told += [(old[key].label, "the disk was removed") for key in old.keys() - new.keys()]
    told += [
        (new[key].label, why) for key in old.keys() & new.keys() for why in _differences(old[key], new[key])
    ]
    remedy = "this disk is read again and compared by hash"
    return tuple(Finding("D20", WARN, f"{subject} {label}", why, remedy) for label, why in sorted(told))


def _differences(old: MachineDisk, new: MachineDisk) -> Iterator[str]:
    if old.capacity != new.capacity:
        yield f"the disk was resized from {old.capacity} to {new.capacity} bytes"
    if old.uuid and old.uuid != new.uuid:
        yield "another disk is in its place"
    elif root_file(old.path) != root_file(new.path):
        yield f"the disk moved from {root_file(old.path)} to {root_file(new.path)}"
