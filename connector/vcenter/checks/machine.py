"""Checks of a machine's state, snapshots and configuration (S6, V1-V18, V30)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from connector.amounts import plural
from connector.model import Host, Machine, PowerState, SnapshotNode, UnclearData
from connector.vcenter.checks.rule import BLOCK, BLOCK_RUNNING, INFO, WARN, CheckContext, Rule, when
from connector.vcenter.naming import Ticket, is_backup
from connector.vcenter.partial import obscured

DEEP, TOO_DEEP = 2, 28  # levels of a snapshot chain: slow, and close to vSphere's limit of 32
OLD = 30 * 86400.0  # seconds
_SNAPSHOT_CALLS = ("CreateSnapshot_Task", "CreateSnapshotEx_Task", "RemoveSnapshot_Task")


def hardware_level(version: str) -> int:
    """19 for "vmx-19"; 0 when it is not known."""
    digits = version.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def foreign(machine: Machine) -> tuple[SnapshotNode, ...]:
    """The snapshots that no connector made."""
    return tuple(node for node in machine.snapshots if Ticket.of(node.description) is None)


def _of_connectors(machine: Machine) -> int:
    return len(machine.snapshots) - len(foreign(machine))


def _depth(machine: Machine) -> int:
    return max((node.depth + 1 for node in foreign(machine)), default=0)


def _days(machine: Machine, around: CheckContext) -> int:
    """Age of the oldest foreign snapshot; 0 without one, or without a clock."""
    created = [node.created for node in foreign(machine) if node.created]
    age = around.now - min(created, default=around.now)
    return int(age / 86400) if age >= OLD else 0


def _backups(machine: Machine) -> str:
    return ", ".join(node.name for node in foreign(machine) if is_backup(node))


def _locked(machine: Machine) -> str:
    calls = [name for name in _SNAPSHOT_CALLS if name in machine.traits.disabled_methods]
    return when(calls, f"vCenter has switched off {', '.join(calls)} for it")


def _hidden(machine: Machine) -> str:
    part = obscured(machine)
    return when(part, f"vCenter does not show its {part} now: the last known state is kept")


def _host(machine: Machine, around: CheckContext) -> str:
    host = around.hosts.get(machine.host)
    return when(
        host and host.connection != "connected", f"its host {host.name} is {host.connection}" if host else ""
    )


def _in_maintenance(machine: Machine, around: CheckContext) -> str:
    host = around.hosts.get(machine.host)
    return when(host and host.maintenance, f"its host {host.name} is in maintenance mode" if host else "")


def _quarantined(machine: Machine, around: CheckContext) -> str:
    host = around.hosts.get(machine.host)
    return when(host and host.quarantine, f"its host {host.name} is quarantined" if host else "")


_TRACKED_AT_ONCE = 128 << 30  # bytes; growing past a multiple of it broke CBT of ESXi 4 and 5
_EXTENDED = (
    "a disk that was extended past 128 GB reports wrong changes, and its CBT must be reset then (KB 2090639)"
)
_GROWN = "a disk that is extended while the machine runs reports no changes of its new part (KB 95965)"


class _Fault(NamedTuple):
    """Versions of ESXi whose CBT misses writes, from the build `first` to the one before `mended`."""

    version: str  # its beginning
    first: int
    mended: int  # the first build without it; 0: none is known
    what: str


_CONSOLIDATED = _Fault(
    "6.0.", 0, 3247720, "writes during the consolidation of a snapshot are not tracked (KB 2136854)"
)  # ESXi600-201511001
_FAULTS = (
    _Fault("4.", 0, 0, _EXTENDED),
    _Fault("5.", 0, 0, _EXTENDED),
    _Fault("8.0.2.", 22380479, 23305546, _GROWN),  # 8.0 Update 2, up to Update 2b
)


def _has(host: Host | None, fault: _Fault) -> bool:
    """Whether a host is known to have the fault. A host of unknown build has it only if no build is known to mend it."""
    if host is None or not f"{host.version}.".startswith(fault.version):
        return False
    if not fault.mended:
        return True
    return host.build.isdecimal() and fault.first <= int(host.build) < fault.mended


def _misses_writes(machine: Machine, around: CheckContext) -> str:
    host = around.hosts.get(machine.host)
    return _faulty(host, _CONSOLIDATED.what) if _has(host, _CONSOLIDATED) else ""


def _misses_growth(machine: Machine, around: CheckContext) -> str:
    host = around.hosts.get(machine.host)
    large = any(disk.capacity > _TRACKED_AT_ONCE for disk in machine.disks)
    faults = [fault.what for fault in _FAULTS if _has(host, fault) and (large or fault.mended)]
    return _faulty(host, faults[0]) if faults else ""


def _faulty(host: Host | None, what: str) -> str:
    return f"its host {host.name} has ESXi {host.version} build {host.build}: {what}" if host else ""


#: Properties without which the image could be wrong, when their value was left out or is not understood.
_NEEDED = ("", "config.hardware.device", "runtime.powerState", "snapshot")


def _lost(machine: Machine) -> str:
    """The doubts that block a migration: disks, snapshots or power state are not understood. `lost` is set by sound.py."""
    grave = [doubt for doubt in machine.traits.doubts if doubt.path in _NEEDED and doubt.lost]
    grave += [
        doubt for doubt in machine.traits.doubts if doubt.path == "runtime.powerState" and not doubt.lost
    ]
    return _doubted(grave)


def _strange(machine: Machine) -> str:
    return _doubted(machine.traits.doubts) if not _lost(machine) else ""


def _doubted(doubts: Sequence[UnclearData]) -> str:
    messages = [f"{doubt.path} {doubt.what}".strip() for doubt in doubts]
    more = f"; and {len(messages) - 3} more" if len(messages) > 3 else ""
    return "; ".join(messages[:3]) + more


STATE: tuple[Rule[Machine], ...] = (
    Rule(
        "S6",
        "host connected",
        BLOCK,
        "host.runtime.connectionState",
        _host,
        "reconnect the host, or move the machine",
    ),
    Rule(
        "S6",
        "host in service",
        BLOCK,
        "host.runtime.inMaintenanceMode",
        _in_maintenance,
        "end the maintenance mode, or move the machine",
    ),
    Rule(
        "S6",
        "host healthy",
        WARN,
        "host.runtime.inQuarantineMode",
        _quarantined,
        "see why proactive HA avoids the host, or move the machine",
    ),
    Rule(
        "V1",
        "reachable",
        BLOCK,
        "runtime.connectionState",
        lambda m, _: when(m.connection != "connected", f"the machine is {m.connection}"),
        "make its host and datastore reachable, or register it again",
    ),
    Rule(
        "V1",
        "configuration shown",
        BLOCK,
        "config, config.hardware, runtime.powerState",
        lambda m, _: _hidden(m),
        "wait until its host is connected; if it stays, look at the machine in vCenter, or at the user's rights",
    ),
    Rule(
        "V2",
        "no template",
        BLOCK,
        "config.template",
        lambda m, _: when(m.template, "it is a template"),
        "convert it to a virtual machine, or migrate a clone",
    ),
    Rule(
        "V3",
        "not owned by an extension",
        BLOCK,
        "config.managedBy.extensionKey",
        lambda m, _: when(m.traits.managed_by, f"{m.traits.managed_by} manages it"),
        "migrate it with the product that manages it, or release it there",
    ),
    Rule(
        "V4",
        "not suspended",
        BLOCK,
        "runtime.powerState",
        lambda m, _: when(
            m.power is PowerState.SUSPENDED, "it is suspended: its memory holds unwritten data"
        ),
        "resume it or shut it down",
    ),
    Rule(
        "V5",
        "no question",
        BLOCK,
        "runtime.question",
        lambda m, _: when(m.traits.question, f"it waits for an answer: {m.traits.question[:200]}"),
        "answer the question in vCenter",
    ),
    Rule(
        "V6",
        "snapshot calls allowed",
        BLOCK,
        "disabledMethod",
        lambda m, _: _locked(m),
        "a backup may hold it: wait; if none runs, release the lock in vCenter",
    ),
    Rule(
        "V6",
        "snapshots not switched off",
        BLOCK,
        "config.flags.snapshotDisabled, config.flags.snapshotLocked",
        lambda m, _: when(m.traits.snapshots_disabled, "snapshots are disabled or locked in its options"),
        "allow snapshots in its options",
    ),
    Rule(
        "V6",
        "snapshots supported",
        BLOCK,
        "capability.snapshotOperationsSupported",
        lambda m, _: when(not m.traits.snapshots_supported, "its host supports no snapshot of it"),
        "move it to a host that supports snapshots",
    ),
    Rule(
        "V7",
        "hardware version",
        BLOCK_RUNNING,
        "config.version",
        lambda m, _: when(
            hardware_level(m.hardware) < 7, f"hardware version {m.hardware or 'unknown'} has no CBT"
        ),
        "upgrade the virtual hardware to vmx-07 or later, or migrate it powered off",
    ),
    Rule(
        "V8",
        "CBT supported",
        BLOCK_RUNNING,
        "capability.changeTrackingSupported",
        lambda m, _: when(not m.cbt_supported, "its host does not support CBT for it"),
        "migrate it powered off",
    ),
    Rule(
        "V8",
        "CBT tells every write",
        BLOCK_RUNNING,
        "host.config.product.version, host.config.product.build",
        _misses_writes,
        "patch the host (ESXi600-201511001), reset CBT and start anew; or migrate it powered off",
    ),
    Rule(
        "V8",
        "CBT survives growing disks",
        WARN,
        "host.config.product.version, host.config.product.build",
        _misses_growth,
        "patch the host, or do not extend its disks until it has moved; after an extension reset CBT",
    ),
    Rule(
        "V9",
        "CBT on",
        INFO,
        "config.changeTrackingEnabled",
        lambda m, _: when(not m.cbt_enabled, "CBT is off"),
        "it is turned on before the first pass, which stuns a running machine for a moment",
        fixable=True,
    ),
    Rule(
        "V12",
        "consolidated",
        WARN,
        "runtime.consolidationNeeded",
        lambda m, _: when(m.consolidation_needed, "its disks need consolidation"),
        "consolidate the disks in vCenter",
        fixable=True,
    ),
    Rule(
        "V13",
        "no snapshot in the background",
        WARN,
        "runtime.snapshotInBackground",
        lambda m, _: when(m.traits.snapshot_in_background, "a snapshot is being written in the background"),
        "wait until it is done",
    ),
    Rule(
        "V13",
        "no Tools installation",
        WARN,
        "runtime.toolsInstallerMounted",
        lambda m, _: when(m.traits.tools_installer_mounted, "the installer of VMware Tools is mounted"),
        "finish or cancel the installation",
    ),
    Rule(
        "V30",
        "disks, snapshots and power state understood",
        BLOCK,
        "config.hardware.device, snapshot, runtime.powerState",
        lambda m, _: _lost(m),
        "see in vCenter what the value is, and report it; a newer connector may know it",
    ),
    Rule(
        "V30",
        "answer understood",
        WARN,
        "every property that is read",
        lambda m, _: _strange(m),
        "see in vCenter whether the value is right; if it is, report this",
    ),
)

SNAPSHOTS: tuple[Rule[Machine], ...] = (
    Rule(
        "V10",
        "no snapshots while CBT is off",
        BLOCK_RUNNING,
        "snapshot.rootSnapshotList, config.changeTrackingEnabled",
        lambda m, _: when(
            not m.cbt_enabled and bool(foreign(m)),
            f"CBT cannot be turned on while it has {plural(len(foreign(m)), 'snapshot')}",
        ),
        "delete its snapshots first, or migrate it powered off",
    ),
    Rule(
        "V10",
        "short snapshot chain",
        WARN,
        "snapshot.rootSnapshotList",
        lambda m, _: when(DEEP < _depth(m) < TOO_DEEP, f"its snapshot chain is {_depth(m)} deep"),
        "reads and consolidation are slow; delete old snapshots",
    ),
    Rule(
        "V10",
        "room in the snapshot chain",
        BLOCK,
        "snapshot.rootSnapshotList",
        lambda m, _: when(_depth(m) >= TOO_DEEP, f"its snapshot chain is {_depth(m)} deep, the limit is 32"),
        "delete old snapshots",
    ),
    Rule(
        "V10",
        "no old snapshot",
        WARN,
        "snapshot.rootSnapshotList[].createTime",
        lambda m, around: when(_days(m, around), f"its oldest snapshot is {_days(m, around)} days old"),
        "old snapshots grow and slow the machine down; delete what nobody needs",
    ),
    Rule(
        "V11",
        "no snapshot of a connector",
        WARN,
        "snapshot.rootSnapshotList[].description",
        lambda m, _: when(
            _of_connectors(m) > 0, f"{plural(_of_connectors(m), 'snapshot')} of a connector on it"
        ),
        "a running pass uses it, or the connector that made it removes it with its next clean-up",
        fixable=True,
    ),
    Rule(
        "V11",
        "no snapshot of a backup",
        WARN,
        "snapshot.rootSnapshotList[].name",
        lambda m, _: when(_backups(m), f"snapshots look like a backup's: {_backups(m)}"),
        "wait for the backup, or remove what it left behind",
    ),
)

FEATURES: tuple[Rule[Machine], ...] = (
    Rule(
        "V14",
        "no Fault Tolerance",
        BLOCK_RUNNING,
        "runtime.faultToleranceState",
        lambda m, _: when(
            m.traits.fault_tolerance != "notConfigured", f"Fault Tolerance is {m.traits.fault_tolerance}"
        ),
        "turn Fault Tolerance off, or migrate it powered off",
    ),
    Rule(
        "V15",
        "not replicated",
        WARN,
        "config.repConfig",
        lambda m, _: when(m.traits.replicated, "vSphere Replication is configured for it"),
        "its snapshots and ours may block each other; pause the replication until the machine has moved",
    ),
    Rule(
        "V16",
        "not encrypted",
        BLOCK_RUNNING,
        "config.keyId",
        lambda m, _: when(m.traits.encrypted, "the machine is encrypted"),
        "decrypt it, or power it off: then VDDK reads it (nbdssl, hotadd), if the user has Cryptographer.Access",
    ),
    Rule(
        "V17",
        "no virtual TPM",
        WARN,
        "config.hardware.device (VirtualTPM)",
        lambda m, _: when(any(d.kind == "VirtualTPM" for d in m.traits.devices), "it has a virtual TPM"),
        "keys sealed to it stay behind: keep the BitLocker recovery key at hand",
    ),
    Rule(
        "V17",
        "no virtualization-based security",
        WARN,
        "config.flags.vbsEnabled",
        lambda m, _: when(m.traits.vbs, "virtualization-based security is on"),
        "make sure that the target offers it, or turn it off inside the guest",
    ),
    Rule(
        "V17",
        "no enclaves",
        WARN,
        "config.sgxInfo, config.sevEnabled",
        lambda m, _: when(
            m.traits.sgx or m.traits.sev,
            f"it uses {'SGX' if m.traits.sgx else 'SEV'}, bound to its processor",
        ),
        "the target gives no such memory; see what the guest uses it for",
    ),
    Rule(
        "V18",
        "secure boot fits the target",
        WARN,
        "config.bootOptions.efiSecureBootEnabled",
        lambda m, around: when(
            m.traits.secure_boot and not around.limits.secure_boot, "it boots with secure boot"
        ),
        "choose a target with secure boot, or expect the machine to boot without",
    ),
)

RULES = STATE + SNAPSHOTS + FEATURES
