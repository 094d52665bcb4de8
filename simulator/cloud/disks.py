"""Disks: made, plugged, unplugged, deleted, listed."""

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
    """The disk and its content are gone."""
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
    """The disk belongs to the instance from now on, under `device` or the first free one."""
    taken = {other.device for other in of_instance(region, instance)}
    if device in taken:
        raise Refused("InvalidDevice.InUse")
    free = next((found for letter in LETTERS if (found := f"/dev/xvd{letter}") not in taken), "")
    if not (device or free) or len(taken) > region.quotas.data_disks:
        raise Refused("InstanceDiskLimitExceeded")
    disk.instance, disk.device, disk.attached, disk.ever_attached = (
        instance.id,
        device or free,
        region.clock(),
        True,
    )


def create_disk(region: Region, given: Parameters) -> Answer:
    zone, category = given.need("ZoneId"), given.text("DiskCategory", "cloud_efficiency")
    if zone not in region.stock.zones:
        raise Refused("InvalidZoneId.NotFound")
    snapshot = given.text("SnapshotId")
    least = ready(region, snapshot).size if snapshot else 0
    size = given.whole("Size", least)
    region.stock.check_disk(category, zone, size, "InvalidDiskSize.NotSupported")
    if size < least:
        raise Refused("InvalidDiskSize.NotSupported", "The disk is smaller than its snapshot.")
    disk = make(
        region,
        zone=zone,
        category=category,
        size=size,
        snapshot=snapshot,
        level=given.text("PerformanceLevel"),
    )
    disk.name, disk.description, disk.tags = given.text("DiskName"), given.text("Description"), given.tags()
    return {"DiskId": disk.id}


def attach_disk(region: Region, given: Parameters) -> Answer:
    disk = region.disks.get(given.need("DiskId"))
    instance = region.instances.get(given.need("InstanceId"))
    if status(region, disk) != "Available" or in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus")
    if disk.zone != instance.zone:
        raise Refused("InvalidParameter", "The disk and the instance are in different zones.")
    join(region, disk, instance, given.text("Device"))
    disk.delete_with_instance = given.flag("DeleteWithInstance")
    region.boot.plug(instance, disk)
    return {}


def detach_disk(region: Region, given: Parameters) -> Answer:
    disk = region.disks.get(given.need("DiskId"))
    instance = region.instances.get(given.need("InstanceId"))
    if disk.instance != instance.id or disk.system or status(region, disk) != "In_use":
        raise Refused("IncorrectDiskStatus")
    if in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    region.boot.unplug(instance, disk)
    disk.instance = disk.device = ""
    return {}


def resize_disk(region: Region, given: Parameters) -> Answer:
    """Larger only; a running guest sees it at once with the type "online"."""
    disk = region.disks.get(given.need("DiskId"))
    size = given.whole("NewSize")
    if size < disk.size:
        raise Refused("InvalidDiskSize.NotSupported", "A disk never shrinks.")
    region.stock.check_disk(disk.category, disk.zone, size, "InvalidDiskSize.NotSupported")
    if in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    disk.size = size
    os.truncate(disk.path, size * GIB)
    return {}


def delete_disk(region: Region, given: Parameters) -> Answer:
    disk = region.disks.get(given.need("DiskId"))
    if status(region, disk) != "Available":
        raise Refused("IncorrectDiskStatus")
    if in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    destroy(region, disk)
    return {}


def describe_disks(region: Region, given: Parameters) -> Answer:
    wanted = given.listed("DiskIds")
    kind = given.text("DiskType", "all")
    found = [
        disk
        for disk in tagged(region.disks.seen(), given.tags())
        if (wanted is None or disk.id in wanted)
        and given.text("InstanceId") in ("", disk.instance)
        and given.text("ZoneId") in ("", disk.zone)
        and given.text("DiskName") in ("", disk.name)
        and given.text("Status", "All") in ("All", status(region, disk))
        and kind in ("all", "system" if disk.system else "data")
    ]
    page = given.page()
    shown, token = page.of(found)
    return page.heading(len(found), token) | {"Disks": {"Disk": [_row(region, disk) for disk in shown]}}


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
