"""Virtual devices as vSphere lists them. The device key finds a disk today; the uuid of its backing identifies it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connector.model import Device, MachineDisk, Nic
from connector.vcenter.datastore_paths import datastore
from connector.vcenter.disk_order import in_order
from connector.vcenter.values import DataObject, each, kind_of, moref, number, text, true

CONTROLLERS: Mapping[str, tuple[str, int]] = {  # class: word in names and extraConfig keys, order of a BIOS
    "VirtualIDEController": ("ide", 0),
    "VirtualSCSIController": ("scsi", 1),
    "VirtualBusLogicController": ("scsi", 1),
    "VirtualLsiLogicController": ("scsi", 1),
    "VirtualLsiLogicSASController": ("scsi", 1),
    "ParaVirtualSCSIController": ("scsi", 1),
    "VirtualSATAController": ("sata", 2),
    "VirtualAHCIController": ("sata", 2),
    "VirtualNVMEController": ("nvme", 3),
}
NICS = frozenset(
    {
        "VirtualEthernetCard",
        "VirtualE1000",
        "VirtualE1000e",
        "VirtualPCNet32",
        "VirtualVmxnet",
        "VirtualVmxnet2",
        "VirtualVmxnet3",
        "VirtualVmxnet3Vrdma",
        "VirtualSriovEthernetCard",
    }
)
NOTABLE = frozenset(
    {
        "VirtualTPM",
        "VirtualPCIPassthrough",
        "VirtualNVDIMM",
        "VirtualSCSIPassthrough",
        "VirtualUSB",
        "VirtualSerialPort",
        "VirtualParallelPort",
        "VirtualFloppy",
        "VirtualCdrom",
    }
)
_NOBODY = DataObject("", {})


def disks(devices: Iterable[Any], stated: Sequence[int | str] = ()) -> tuple[MachineDisk, ...]:
    """Every virtual disk, in the order of `disk_order`; `stated` is what the boot options say. Unknown controllers come last."""
    listed = list(devices or ())
    controllers = {number(device.key): device for device in listed if kind_of(device) in CONTROLLERS}
    return in_order(
        (
            _disk(device, controllers.get(number(device.controllerKey), _NOBODY))
            for device in listed
            if kind_of(device) == "VirtualDisk"
        ),
        stated,
    )


def nics(devices: Iterable[Any]) -> tuple[Nic, ...]:
    """Every virtual network card, in vSphere's order."""
    return tuple(_nic(device) for device in devices or () if kind_of(device) in NICS)


def notable(devices: Iterable[Any]) -> tuple[Device, ...]:
    """The other devices that pre-flight checks know."""
    return tuple(
        Device(
            number(device.key),
            _label(device),
            kind_of(device),
            backing_kind(device.backing),
            _connected(device),
        )
        for device in devices or ()
        if kind_of(device) in NOTABLE or kind_of(device) == "VirtualSriovEthernetCard"
    )


def _connected(device: Any) -> bool:
    state = device.connectable
    return state is not None and (true(state.connected) or true(state.startConnected))


def _nic(device: Any) -> Nic:
    backing = device.backing
    state = device.connectable
    port = getattr(backing, "port", None)
    network = getattr(backing, "deviceName", None) or getattr(backing, "opaqueNetworkId", None)
    return Nic(
        key=number(device.key),
        label=_label(device),
        kind=kind_of(device),
        backing="" if backing is None else backing_kind(backing).removeprefix("VirtualEthernetCard"),
        network=text(port.portgroupKey if port is not None else network),
        mac=text(device.macAddress).lower(),
        start_connected=state is None or true(state.startConnected),
    )


def _bus(controller: Any) -> int:
    return number(getattr(controller, "busNumber", 0))


def _disk(device: Any, controller: Any) -> MachineDisk:
    backing = device.backing
    path = text(getattr(backing, "fileName", None))
    word = CONTROLLERS.get(kind_of(controller), ("", 4))[0]
    return MachineDisk(
        key=number(device.key),
        label=_label(device),
        capacity=_capacity(device),
        path=path,
        datastore=datastore(path),
        store=moref(getattr(backing, "datastore", None)),
        backing=backing_kind(backing),
        mode=text(getattr(backing, "diskMode", None)),
        uuid=text(getattr(backing, "uuid", None)) or None,
        sharing=text(getattr(backing, "sharing", None)) or "sharingNone",
        change_id=text(getattr(backing, "changeId", None)) or None,
        controller=f"{word}{_bus(controller)}" if word else "",
        bus=_bus(controller),
        unit=number(device.unitNumber),
        bus_sharing=text(getattr(controller, "sharedBus", None)) or "noSharing",
        compatibility=text(getattr(backing, "compatibilityMode", None)),
        encrypted=getattr(backing, "keyId", None) is not None,
        linked=true(getattr(device, "nativeUnmanagedLinkedClone", None)),
        parents=_parents(backing),
        native_4k=text(getattr(device, "virtualDiskFormat", None)) == "native_4k",
        first_class=getattr(device, "vDiskId", None) is not None,
        filters=tuple(text(entry) for entry in each(getattr(device, "iofilter", None))),
    )


def _parents(backing: Any) -> int:
    count = 0
    while (backing := getattr(backing, "parent", None)) is not None:
        count += 1
    return count


def _label(device: Any) -> str:
    described = device.deviceInfo
    return text(described.label) if described is not None and described.label else f"disk {device.key}"


def _capacity(device: Any) -> int:
    """Bytes. The field in KB is rounded, so it counts only where the field in bytes is missing."""
    return number(device.capacityInBytes) or number(device.capacityInKB) * 1024


def backing_kind(backing: Any) -> str:
    """ "FlatVer2", "SeSparse", "RawDiskMappingVer1", "LocalPMem"; the bare class name of anything else."""
    return kind_of(backing).removesuffix("BackingInfo").removeprefix("VirtualDisk")
