"""A machine's virtual hardware as the API's device list: fixed controllers, SCSI/SATA/NVMe/IDE, disks with
chains, NICs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from simulator.estate.inventory import (
    Controller,
    Inventory,
    Network,
    Nic,
    Snapshot,
    VirtualDisk,
    VirtualMachine,
)
from simulator.vcenter.api import make, vim

_D = vim.vm.device
_CONTROLLERS: dict[str, tuple[Any, str, int]] = {
    "lsilogic": (_D.VirtualLsiLogicController, "LSI Logic", 1000),
    "buslogic": (_D.VirtualBusLogicController, "BusLogic", 1000),
    "pvscsi": (_D.ParaVirtualSCSIController, "VMware paravirtual SCSI", 1000),
    "lsisas": (_D.VirtualLsiLogicSASController, "LSI Logic SAS", 1000),
    "sata": (_D.VirtualAHCIController, "AHCI", 15000),
    "nvme": (_D.VirtualNVMEController, "NVME", 31000),
}
_NICS: dict[str, Any] = {
    "vmxnet3": _D.VirtualVmxnet3,
    "e1000e": _D.VirtualE1000e,
    "e1000": _D.VirtualE1000,
}
_PCI, _FIRST_IDE = 100, 200


def chain(vm: VirtualMachine, key: int, snapshot: str | None) -> list[str]:
    """File names of a disk's chain, topmost first: of a snapshot's view, or (None) of the live disk.

    Files that no snapshot needs are in it until they are consolidated.
    """
    disks = vm.disks if snapshot is None else vm.snapshot(snapshot).disks
    return [name for disk in disks if disk.key == key for name in (disk.path, *disk.parents)]


def hardware(vm: VirtualMachine, inventory: Inventory, snapshot: Snapshot | None = None) -> Any:
    """VirtualHardware now, or as a snapshot saw it."""
    return make(
        vim.vm.VirtualHardware,
        numCPU=vm.cpus,
        numCoresPerSocket=1,
        autoCoresPerSocket=True,
        memoryMB=vm.memory >> 20,
        virtualICH7MPresent=False,
        virtualSMCPresent=False,
        device=list(_devices(vm, inventory, snapshot)),
        motherboardLayout="i440bxHostBridge",
        simultaneousThreads=1,
    )


def _devices(vm: VirtualMachine, inventory: Inventory, snapshot: Snapshot | None) -> Iterator[Any]:
    disks = vm.disks if snapshot is None else snapshot.disks
    children: dict[int, list[int]] = {}
    for disk in disks:
        children.setdefault(disk.controller, []).append(disk.key)
    yield from _fixed(vm, children)
    for controller in vm.controllers:
        if controller.kind != "ide":
            yield _controller(controller, children.get(controller.key, []))
    for disk in disks:
        yield _disk(disk, chain(vm, disk.key, None if snapshot is None else snapshot.moref))
    for nic in vm.nics:
        yield _nic(nic, inventory)


def _fixed(vm: VirtualMachine, children: dict[int, list[int]]) -> Iterator[Any]:
    present = {controller.key for controller in vm.controllers}
    others = [controller.key for controller in vm.controllers if controller.kind != "ide"]
    for number in (0, 1):
        key = _FIRST_IDE + number
        yield _device(
            _D.VirtualIDEController, key, f"IDE {number}", busNumber=number, device=children.get(key, [])
        )
    yield _device(_D.VirtualPS2Controller, 300, "PS2 controller 0", busNumber=0, device=[600, 700])
    yield _device(
        _D.VirtualPCIController,
        _PCI,
        "PCI controller 0",
        busNumber=0,
        device=[500, 12000, *(key for key in others if key in present), *(nic.key for nic in vm.nics)],
    )
    yield _device(_D.VirtualSIOController, 400, "SIO controller 0", busNumber=0)
    yield _device(_D.VirtualKeyboard, 600, "Keyboard", controllerKey=300, unitNumber=0)
    yield _device(
        _D.VirtualPointingDevice,
        700,
        "Pointing device",
        controllerKey=300,
        unitNumber=1,
        backing=make(
            _D.VirtualPointingDevice.DeviceBackingInfo, deviceName="", hostPointingDevice="autodetect"
        ),
    )
    yield _device(
        _D.VirtualVideoCard, 500, "Video card ", controllerKey=_PCI, unitNumber=0, videoRamSizeInKB=4096
    )
    yield _device(
        _D.VirtualVMCIDevice,
        12000,
        "VMCI device",
        controllerKey=_PCI,
        unitNumber=17,
        id=-1,
        filterEnable=True,
    )


def _device(kind: Any, key: int, label: str, summary: str = "", **fields: Any) -> Any:
    info = make(vim.Description, label=label, summary=summary or label)
    return make(kind, key=key, deviceInfo=info, **fields)


def _controller(controller: Controller, disks: list[int]) -> Any:
    kind, title, _ = _CONTROLLERS[controller.kind]
    fields: dict[str, Any] = {"busNumber": controller.bus, "controllerKey": _PCI, "device": disks}
    label = {"sata": "SATA controller", "nvme": "NVME controller"}.get(controller.kind, "SCSI controller")
    if label == "SCSI controller":
        fields |= {"sharedBus": controller.sharing, "hotAddRemove": True, "scsiCtlrUnitNumber": 7}
    fields["unitNumber"] = {"sata": 24, "nvme": 30}.get(controller.kind, 3) + controller.bus
    return _device(kind, controller.key, f"{label} {controller.bus}", title, **fields)


def _disk(disk: VirtualDisk, names: Iterable[str]) -> Any:
    files = list(names) or [disk.path]
    return _device(
        _D.VirtualDisk,
        disk.key,
        disk.label,
        f"{disk.capacity >> 10:,} KB",
        backing=_backing(disk, files),
        controllerKey=disk.controller,
        unitNumber=disk.unit,
        capacityInKB=disk.capacity >> 10,
        capacityInBytes=disk.capacity,
        shares=make(vim.SharesInfo, shares=1000, level="normal"),
        storageIOAllocation=make(
            vim.StorageResourceManager.IOAllocationInfo,
            limit=-1,
            shares=make(vim.SharesInfo, shares=1000, level="normal"),
            reservation=0,
        ),
        diskObjectId=f"{abs(hash_of(disk.storage)) % 10000}-{disk.key}",
        nativeUnmanagedLinkedClone=False,
    )


def hash_of(text: str) -> int:
    """A hash that is the same in every process."""
    return sum((position + 1) * byte for position, byte in enumerate(text.encode()))


def _backing(disk: VirtualDisk, files: list[str]) -> Any:
    build = _BACKINGS.get(disk.backing, _flat)
    backing = None
    for index, name in reversed(list(enumerate(files))):
        change_id = disk.change_id if index == 0 else None
        backing = build(disk, name, change_id, backing)
    return backing


def _flat(disk: VirtualDisk, name: str, change_id: str | None, parent: Any) -> Any:
    return make(
        _D.VirtualDisk.FlatVer2BackingInfo,
        **_common(disk, name, change_id, parent),
        split=False,
        writeThrough=False,
        thinProvisioned=disk.thin,
        eagerlyScrub=None if disk.thin else False,
        digestEnabled=False,
        deltaDiskFormat=None if parent is None else "seSparseFormat",
        sharing=disk.sharing,
    )


def _sesparse(disk: VirtualDisk, name: str, change_id: str | None, parent: Any) -> Any:
    fields = _common(disk, name, change_id, parent)
    return make(_D.VirtualDisk.SeSparseBackingInfo, **fields, writeThrough=False, digestEnabled=False)


def _raw(disk: VirtualDisk, name: str, change_id: str | None, parent: Any) -> Any:
    return make(
        _D.VirtualDisk.RawDiskMappingVer1BackingInfo,
        **_common(disk, name, change_id, parent),
        lunUuid=disk.uuid.replace("-", ""),
        deviceName=f"vml.{disk.uuid.replace('-', '')}",
        compatibilityMode="physicalMode" if disk.backing == "rdm-physical" else "virtualMode",
        sharing=disk.sharing,
    )


def _common(disk: VirtualDisk, name: str, change_id: str | None, parent: Any) -> dict[str, Any]:
    return {
        "fileName": name,
        "datastore": vim.Datastore(disk.datastore),
        "backingObjectId": "",
        "diskMode": disk.mode,
        "uuid": disk.uuid,
        "contentId": disk.uuid.replace("-", ""),
        "changeId": change_id,
        "parent": parent,
    }


_BACKINGS = {"flat": _flat, "sesparse": _sesparse, "rdm-virtual": _raw, "rdm-physical": _raw}


def _nic(nic: Nic, inventory: Inventory) -> Any:
    network = inventory.networks.get(nic.network)
    return _device(
        _NICS.get(nic.kind, _D.VirtualVmxnet3),
        nic.key,
        nic.label,
        nic.network if network is None else network.name,
        backing=_nic_backing(nic.network, network),
        connectable=make(
            _D.VirtualDevice.ConnectInfo,
            startConnected=nic.connected,
            allowGuestControl=True,
            connected=nic.connected,
            status="ok",
            migrateConnect="unset",
        ),
        controllerKey=_PCI,
        unitNumber=7 + nic.key % 10,
        addressType="assigned",
        macAddress=nic.mac,
        wakeOnLanEnabled=True,
    )


def _nic_backing(moref: str, network: Network | None) -> Any:
    if network is not None and network.type == "DistributedVirtualPortgroup":
        port = make(vim.dvs.PortConnection, switchUuid=_SWITCH, portgroupKey=moref, portKey="0")
        return make(_D.VirtualEthernetCard.DistributedVirtualPortBackingInfo, port=port)
    return make(
        _D.VirtualEthernetCard.NetworkBackingInfo,
        deviceName=moref if network is None else network.name,
        network=vim.Network(moref),
        useAutoDetect=False,
    )


_SWITCH = "50 1e 00 00 00 00 00 01-00 00 00 00 00 00 00 01"
