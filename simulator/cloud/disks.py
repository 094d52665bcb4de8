"""Operations on disks: create, attach, detach, resize, delete, list."""

from __future__ import annotations

import os
import shutil
from typing import Any, Final

from simulator.cloud import storage
from simulator.cloud.codes import Refused
from simulator.cloud.networks import tagged, utc
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.resources import GIB, Disk, Instance
from simulator.cloud.snapshots import in_progress, ready

Answer = dict[str, Any]
LETTERS: Final = "bcdefghijklmnopqrstuvwxyz"


def status(region: Region, disk: Disk) -> str:
    if disk.instance:
        return "Attaching" if region.age(disk.attached) < region.timing.disk else "In_use"
    return "Creating" if region.age(disk.created) < region.timing.disk else "Available"


def make(
    region: Region,
    *,
    zone: str,
    category: str,
    size: int,
    system: bool = False,
    snapshot: str = "",
    level: str = "",
) -> Disk:
    """A new disk with the content of a snapshot, or empty. The caller has checked everything."""
    disk_id = region.disks.new_id()
    path = region.new_path(disk_id)
    if snapshot:
        storage.copy(ready(region, snapshot).path, path, size * GIB)
    else:
        storage.create(path, size * GIB)
    root = None
    if system:
        root = path.with_suffix(".root")
        root.mkdir()
    return region.disks.add(
        Disk(
            id=disk_id,
            created=region.clock(),
            zone=zone,
            category=category,
            level=level or ("PL1" if category == "cloud_essd" else ""),
            size=size,
            path=path,
            system=system,
            root=root,
            snapshot=snapshot,
        )
    )


def destroy(region: Region, disk: Disk) -> None:
    """Remove the disk and its content."""
    region.disks.drop(disk.id)
    storage.remove(disk.path)
    if disk.root is not None:
        shutil.rmtree(disk.root, ignore_errors=True)


def of_instance(region: Region, instance: Instance) -> list[Disk]:
    """The instance's disks, the system disk first."""
    return sorted(
        (disk for disk in region.disks if disk.instance == instance.id), key=lambda disk: disk.device
    )


def join(region: Region, disk: Disk, instance: Instance, device: str = "") -> None:
    """Attach the disk to the instance, as `device` or as the first free device."""
    used_devices = {other.device for other in of_instance(region, instance)}
    if device in used_devices:
        raise Refused("InvalidDevice.InUse")
    free = next(
        (candidate for letter in LETTERS if (candidate := f"/dev/xvd{letter}") not in used_devices), ""
    )
    if not (device or free) or len(used_devices) > region.quotas.data_disks:
        raise Refused("InstanceDiskLimitExceeded")
    disk.instance, disk.device, disk.attached, disk.ever_attached = (
        instance.id,
        device or free,
        region.clock(),
        True,
    )


def create_disk(region: Region, parameters: Parameters) -> Answer:
    zone, category = parameters.need("ZoneId"), parameters.text("DiskCategory", "cloud_efficiency")
    if zone not in region.stock.zones:
        raise Refused("InvalidZoneId.NotFound")
    snapshot = parameters.text("SnapshotId")
    least = ready(region, snapshot).size if snapshot else 0
    size = parameters.whole("Size", least)
    region.stock.check_disk(category, zone, size, "InvalidDiskSize.NotSupported")
    if size < least:
        raise Refused("InvalidDiskSize.NotSupported", "The disk is smaller than its snapshot.")
    disk = make(
        region,
        zone=zone,
        category=category,
        size=size,
        snapshot=snapshot,
        level=parameters.text("PerformanceLevel"),
    )
    disk.name, disk.description, disk.tags = (
        parameters.text("DiskName"),
        parameters.text("Description"),
        parameters.tags(),
    )
    return {"DiskId": disk.id}


def attach_disk(region: Region, parameters: Parameters) -> Answer:
    disk = region.disks.get(parameters.need("DiskId"))
    instance = region.instances.get(parameters.need("InstanceId"))
    if status(region, disk) != "Available" or in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus")
    if disk.zone != instance.zone:
        raise Refused("InvalidParameter", "The disk and the instance are in different zones.")
    join(region, disk, instance, parameters.text("Device"))
    disk.delete_with_instance = parameters.flag("DeleteWithInstance")
    region.boot.plug(instance, disk)
    return {}


def detach_disk(region: Region, parameters: Parameters) -> Answer:
    disk = region.disks.get(parameters.need("DiskId"))
    instance = region.instances.get(parameters.need("InstanceId"))
    if disk.instance != instance.id or disk.system or status(region, disk) != "In_use":
        raise Refused("IncorrectDiskStatus")
    if in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    region.boot.unplug(instance, disk)
    disk.instance = disk.device = ""
    return {}


def resize_disk(region: Region, parameters: Parameters) -> Answer:
    """Larger only; a running guest sees it at once with the type "online"."""
    disk = region.disks.get(parameters.need("DiskId"))
    size = parameters.whole("NewSize")
    if size < disk.size:
        raise Refused("InvalidDiskSize.NotSupported", "A disk never shrinks.")
    region.stock.check_disk(disk.category, disk.zone, size, "InvalidDiskSize.NotSupported")
    if in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    disk.size = size
    os.truncate(disk.path, size * GIB)
    return {}


def delete_disk(region: Region, parameters: Parameters) -> Answer:
    disk = region.disks.get(parameters.need("DiskId"))
    if status(region, disk) != "Available":
        raise Refused("IncorrectDiskStatus")
    if in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    destroy(region, disk)
    return {}


def describe_disks(region: Region, parameters: Parameters) -> Answer:
    wanted = parameters.listed("DiskIds")
    kind = parameters.text("DiskType", "all")
    disks = [
        disk
        for disk in tagged(region.disks.seen(), parameters.tags())
        if (wanted is None or disk.id in wanted)
        and parameters.text("InstanceId") in ("", disk.instance)
        and parameters.text("ZoneId") in ("", disk.zone)
        and parameters.text("DiskName") in ("", disk.name)
        and parameters.text("Status", "All") in ("All", status(region, disk))
        and kind in ("all", "system" if disk.system else "data")
    ]
    page = parameters.page()
    on_page, token = page.of(disks)
    return page.heading(len(disks), token) | {"Disks": {"Disk": [_row(region, disk) for disk in on_page]}}


def _row(region: Region, disk: Disk) -> Answer:
    return {
        "DiskId": disk.id,
        "DiskName": disk.name,
        "Description": disk.description,
        "SerialNumber": disk.serial,
        "RegionId": region.name,
        "ZoneId": disk.zone,
        "Category": disk.category,
        "PerformanceLevel": disk.level,
        "Size": disk.size,
        "Type": "system" if disk.system else "data",
        "Status": status(region, disk),
        "InstanceId": disk.instance,
        "Device": disk.device,
        "DeleteWithInstance": disk.delete_with_instance,
        "DiskChargeType": "PostPaid",
        "Portable": not disk.system,
        "SourceSnapshotId": disk.snapshot,
        "CreationTime": utc(disk.created),
        "Tags": {"Tag": [{"TagKey": key, "TagValue": value} for key, value in disk.tags.items()]},
    }
