"""`config`, `capability` and `layoutEx` of a machine, now or as one of its snapshots saw it."""

from __future__ import annotations

import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from simulator.estate.inventory import Inventory, PowerState, Snapshot, VirtualMachine
from simulator.vcenter import devices
from simulator.vcenter.api import make, vim
from simulator.vcenter.naming import escaped

GUEST_NAMES = {
    "debian12_64Guest": "Debian GNU/Linux 12 (64-bit)",
    "ubuntu64Guest": "Ubuntu Linux (64-bit)",
    "centos64Guest": "CentOS 4/5/6/7 (64-bit)",
    "rhel9_64Guest": "Red Hat Enterprise Linux 9 (64-bit)",
    "windows2019srvNext_64Guest": "Microsoft Windows Server 2022 (64-bit)",
    "windows2019srv_64Guest": "Microsoft Windows Server 2019 (64-bit)",
    "otherGuest64": "Other (64-bit)",
}


def moment(text: str) -> datetime:
    """The estate's ISO 8601 text as a time."""
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def guest_name(vm: VirtualMachine) -> str:
    """The full name of the configured guest system."""
    return GUEST_NAMES.get(vm.guest_id, vm.guest.full_name or "Other (64-bit)")


def vmx_path(vm: VirtualMachine, inventory: Inventory) -> str:
    """`[datastore] directory/directory.vmx`; a rename does not move it."""
    home = inventory.datastores.get(vm.datastore)
    return f"[{home.name if home is not None else vm.datastore}] {vm.directory}/{vm.directory}.vmx"


def change_version(vm: VirtualMachine) -> str:
    """A text that changes with the configuration, and not with what the running machine does."""
    disks = [replace(disk, change_id=None, scratch=None) for disk in vm.disks]
    hardware = (vm.version, vm.cpus, vm.memory, vm.firmware, vm.secure_boot, vm.controllers, disks, vm.nics)
    words = (
        vm.name,
        vm.boot_order,
        vm.guest_id,
        vm.annotation,
        vm.template,
        vm.change_tracking,
        sorted(vm.extra.items()),
    )
    return f"{vm.created.rstrip('Z')}.{zlib.crc32(repr((hardware, words)).encode()):010d}Z"


def config(vm: VirtualMachine, inventory: Inventory, snapshot: Snapshot | None = None) -> Any:
    """VirtualMachineConfigInfo."""
    home = vmx_path(vm, inventory).rpartition("/")[0] + "/"
    tracking = vm.change_tracking if snapshot is None else snapshot.change_tracking
    return make(
        vim.vm.ConfigInfo,
        changeVersion=change_version(vm),
        modified=moment(vm.created),
        name=escaped(vm.name),
        guestFullName=guest_name(vm),
        version=vm.version,
        uuid=vm.uuid,
        createDate=moment(vm.created),
        instanceUuid=vm.instance_uuid,
        template=vm.template,
        guestId=vm.guest_id,
        alternateGuestName="",
        annotation=vm.annotation,
        files=make(
            vim.vm.FileInfo,
            vmPathName=vmx_path(vm, inventory),
            snapshotDirectory=home,
            suspendDirectory=home,
            logDirectory=home,
        ),
        tools=_tools(),
        flags=_flags(vm),
        consolePreferences=None,
        defaultPowerOps=_power_operations(),
        hardware=devices.hardware(vm, inventory, snapshot),
        cpuAllocation=_allocation(1000 * vm.cpus),
        memoryAllocation=_allocation(10 * (vm.memory >> 20)),
        latencySensitivity=make(vim.LatencySensitivity, level="normal"),
        memoryHotAddEnabled=False,
        cpuHotAddEnabled=False,
        cpuHotRemoveEnabled=False,
        extraConfig=[
            make(vim.option.OptionValue, key=key, value=value) for key, value in sorted(vm.extra.items())
        ],
        swapPlacement="inherit",
        bootOptions=_boot_options(vm),
        vAssertsEnabled=False,
        changeTrackingEnabled=tracking,
        firmware=vm.firmware,
        maxMksConnections=40,
        guestAutoLockEnabled=True,
        memoryReservationLockedToMax=False,
        nestedHVEnabled=False,
        vPMCEnabled=False,
        messageBusTunnelEnabled=False,
        migrateEncryption="opportunistic",
        ftEncryptionMode="ftEncryptionOpportunistic",
        sevEnabled=False,
        pmemFailoverEnabled=False,
    )


def _tools() -> Any:
    return make(
        vim.vm.ToolsConfigInfo,
        toolsVersion=12389,
        toolsInstallType="guestToolsTypeOpenVMTools",
        afterPowerOn=True,
        afterResume=True,
        beforeGuestStandby=True,
        beforeGuestShutdown=True,
        toolsUpgradePolicy="manual",
        syncTimeWithHostAllowed=True,
        syncTimeWithHost=False,
    )


def _flags(vm: VirtualMachine) -> Any:
    lowered = {key.lower(): value.lower() for key, value in vm.extra.items()}
    return make(
        vim.vm.FlagInfo,
        disableAcceleration=False,
        enableLogging=True,
        useToe=False,
        runWithDebugInfo=False,
        monitorType="release",
        htSharing="any",
        snapshotDisabled=False,
        snapshotLocked=False,
        diskUuidEnabled=lowered.get("disk.enableuuid") == "true",
        virtualMmuUsage="automatic",
        virtualExecUsage="hvAuto",
        snapshotPowerOffBehavior="powerOff",
        recordReplayEnabled=False,
        faultToleranceType="unset",
        cbrcCacheEnabled=False,
        vvtdEnabled=False,
        vbsEnabled=False,
    )


def _power_operations() -> Any:
    return make(
        vim.vm.DefaultPowerOpInfo,
        powerOffType="soft",
        suspendType="hard",
        resetType="soft",
        defaultPowerOffType="soft",
        defaultSuspendType="hard",
        defaultResetType="soft",
        standbyAction="checkpoint",
    )


def _allocation(shares: int) -> Any:
    return make(
        vim.ResourceAllocationInfo,
        reservation=0,
        expandableReservation=False,
        limit=-1,
        shares=make(vim.SharesInfo, shares=shares, level="normal"),
    )


def _boot_options(vm: VirtualMachine) -> Any:
    return make(
        vim.vm.BootOptions,
        bootDelay=0,
        enterBIOSSetup=False,
        efiSecureBootEnabled=vm.secure_boot,
        bootRetryEnabled=False,
        bootRetryDelay=10000,
        bootOrder=[_bootable(word) for word in vm.boot_order],
        networkBootProtocol="ipv4",
    )


def _bootable(word: str) -> Any:
    """ "disk:2000", "net:4000", "cdrom" or "floppy" as the API writes it."""
    kind, _, key = word.partition(":")
    options = vim.vm.BootOptions
    if kind == "disk":
        return make(options.BootableDiskDevice, deviceKey=int(key))
    if kind == "net":
        return make(options.BootableEthernetDevice, deviceKey=int(key))
    return make(options.BootableFloppyDevice if kind == "floppy" else options.BootableCdromDevice)


def boot_order(options: Any) -> tuple[str, ...]:
    """The boot order in words, from the API's boot options."""
    words = []
    for device in options.bootOrder or ():
        name = (
            type(device).__name__.rpartition(".")[2].removeprefix("Bootable").removesuffix("Device").lower()
        )
        key = getattr(device, "deviceKey", None)
        words.append({"ethernet": "net"}.get(name, name) + ("" if key is None else f":{key}"))
    return tuple(words)


def resource_config(vm: VirtualMachine) -> Any:
    """ResourceConfigSpec."""
    return make(
        vim.ResourceConfigSpec,
        entity=vim.VirtualMachine(vm.moref),
        cpuAllocation=_allocation(1000 * vm.cpus),
        memoryAllocation=_allocation(10 * (vm.memory >> 20)),
    )


def capability(vm: VirtualMachine) -> Any:
    """VirtualMachineCapability: the operations that this machine supports."""
    yes = (
        "snapshotOperationsSupported multipleSnapshotsSupported snapshotConfigSupported"
        " poweredOffSnapshotsSupported memorySnapshotsSupported revertToSnapshotSupported"
        " quiescedSnapshotsSupported settingVideoRamSizeSupported bootOptionsSupported"
        " virtualMmuUsageSupported perVmEvcSupported secureBootSupported"
    )
    fields = dict.fromkeys(yes.split(), True)
    fields["changeTrackingSupported"] = vm.change_tracking_supported
    fields["disableSnapshotsSupported"] = False
    return make(vim.vm.Capability, **fields)


def layout(vm: VirtualMachine, inventory: Inventory, sizes: dict[str, int]) -> Any:
    """VirtualMachineFileLayoutEx; `sizes` gives the bytes of a vmdk by its datastore path."""
    files = _FileTable(sizes)
    files.add(vmx_path(vm, inventory), "config", 4096)
    home = vmx_path(vm, inventory).rpartition("/")[0]
    live = [_disk_layout(files, vm, disk.key, None) for disk in vm.disks]
    snapshots = []
    for snapshot in vm.snapshots:
        data = files.add(f"{home}/{vm.name}-Snapshot{snapshot.id}.vmsn", "snapshotData", 32768)
        disks = [_disk_layout(files, vm, disk.key, snapshot.moref) for disk in snapshot.disks]
        snapshots.append(
            make(
                vim.vm.FileLayoutEx.SnapshotLayout,
                key=vim.vm.Snapshot(snapshot.moref),
                dataKey=data,
                memoryKey=-1,
                disk=disks,
            )
        )
    if vm.power_state == PowerState.ON:
        files.add(f"{home}/{vm.name}.vswp", "swap", vm.memory)
    now = moment(vm.created)
    return make(vim.vm.FileLayoutEx, file=files.rows, disk=live, snapshot=snapshots, timestamp=now)


class _FileTable:
    """The `file` rows of a layout, each name once; keys count from 0."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.rows: list[Any] = []
        self._keys: dict[str, int] = {}
        self._sizes = sizes

    def add(self, name: str, kind: str, size: int) -> int:
        if name not in self._keys:
            self._keys[name] = len(self.rows)
            row = make(
                vim.vm.FileLayoutEx.FileInfo,
                key=len(self.rows),
                name=name,
                type=kind,
                size=size,
                uniqueSize=size,
                accessible=True,
            )
            self.rows.append(row)
        return self._keys[name]

    def disk(self, path: str) -> list[int]:
        """The descriptor and the extent of one vmdk."""
        extent = path.removesuffix(".vmdk") + "-flat.vmdk"
        return [
            self.add(path, "diskDescriptor", 1024),
            self.add(extent, "diskExtent", self._sizes.get(path, 0)),
        ]


def _disk_layout(files: _FileTable, vm: VirtualMachine, key: int, snapshot: str | None) -> Any:
    names = list(reversed(devices.chain(vm, key, snapshot)))
    units = [make(vim.vm.FileLayoutEx.DiskUnit, fileKey=files.disk(name)) for name in names]
    return make(vim.vm.FileLayoutEx.DiskLayout, key=key, chain=units)
