"""Virtual disks as vSphere's device list shows them: device key for today, backing uuid for identity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connector.model import MachineDisk
from connector.vcenter.vmomi import kind_of, vim

_CONTROLLERS = (  # class, word in names and in extraConfig keys, order in which a BIOS counts them
    (vim.vm.device.VirtualIDEController, "ide", 0),
    (vim.vm.device.VirtualSCSIController, "scsi", 1),
    (vim.vm.device.VirtualSATAController, "sata", 2),
    (vim.vm.device.VirtualNVMEController, "nvme", 3),
)


def disks(devices: Iterable[Any]) -> tuple[MachineDisk, ...]:
    """Every virtual disk, sorted by controller kind, bus and unit; anything unknown sorts last."""
    listed = list(devices or ())
    controllers = {
        device.key: device for device in listed if isinstance(device, vim.vm.device.VirtualController)
    }
    found = [(device, controllers.get(device.controllerKey)) for device in listed if _is_disk(device)]
    found.sort(key=lambda pair: (_rank(pair[1]), _bus(pair[1]), pair[0].unitNumber or 0, pair[0].key))
    return tuple(_disk(device, controller) for device, controller in found)


def _is_disk(device: Any) -> bool:
    return isinstance(device, vim.vm.device.VirtualDisk)


def _rank(controller: Any) -> int:
    return next((rank for kind, _, rank in _CONTROLLERS if isinstance(controller, kind)), len(_CONTROLLERS))


def _bus(controller: Any) -> int:
    return int(getattr(controller, "busNumber", 0) or 0)


def _word(controller: Any) -> str:
    return next((word for kind, word, _ in _CONTROLLERS if isinstance(controller, kind)), "")


def _disk(device: Any, controller: Any) -> MachineDisk:
    backing = device.backing
    path = str(getattr(backing, "fileName", "") or "")
    word = _word(controller)
    return MachineDisk(
        key=device.key,
        label=_label(device),
        capacity=_capacity(device),
        path=path,
        datastore=datastore(path),
        backing=_backing(backing),
        mode=str(getattr(backing, "diskMode", "") or ""),
        uuid=getattr(backing, "uuid", None) or None,
        sharing=str(getattr(backing, "sharing", "") or "sharingNone"),
        change_id=getattr(backing, "changeId", None) or None,
        controller=f"{word}{_bus(controller)}" if word else "",
        bus=_bus(controller),
        unit=device.unitNumber or 0,
        bus_sharing=str(getattr(controller, "sharedBus", "") or "noSharing"),
        compatibility=str(getattr(backing, "compatibilityMode", "") or ""),
    )


def datastore(path: str) -> str:
    """The datastore's name in "[name] folder/file.vmdk"; empty when the path names none."""
    name, separator, _ = path.partition("] ")
    return name[1:] if separator and name.startswith("[") else ""


def _label(device: Any) -> str:
    described = device.deviceInfo
    return str(described.label) if described is not None and described.label else f"disk {device.key}"


def _capacity(device: Any) -> int:
    """Bytes; the KB field is only believed where the byte field is missing, because it is rounded."""
    return int(device.capacityInBytes or (device.capacityInKB or 0) * 1024)


def _backing(backing: Any) -> str:
    """ "FlatVer2", "SeSparse", "RawDiskMappingVer1", "LocalPMem"; the bare class name of anything else."""
    return kind_of(backing).removesuffix("BackingInfo").removeprefix("VirtualDisk")
