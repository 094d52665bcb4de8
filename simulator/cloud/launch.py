"""RunInstances: everything is checked before anything is made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from simulator.cloud import disks, images, instances
from simulator.cloud.codes import Refused, invalid
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.resources import Group, Image, Instance, VSwitch
from simulator.cloud.snapshots import ready
from simulator.cloud.stock import SIZES, Type

Answer = dict[str, Any]
_DEVICE: Final = re.compile(r"/dev/xvd[b-z]")


@dataclass(frozen=True, slots=True)
class _Disk:
    """One disk to make."""

    category: str
    level: str
    size: int
    snapshot: str = ""
    device: str = ""
    name: str = ""
    keep: bool = False


@dataclass(frozen=True, slots=True)
class _Order:
    """A call that can be carried out."""

    kind: Type
    image: Image
    vswitch: VSwitch
    groups: tuple[Group, ...]
    system: _Disk
    data: tuple[_Disk, ...]
    user_data: bytes
    bandwidth: int


def run_instances(region: Region, parameters: Parameters) -> Answer:
    amount = parameters.whole("Amount", 1, 1, 100)
    order = _checked(region, parameters)
    if parameters.flag("DryRun"):
        raise Refused("DryRunOperation", "Request validation has been passed with DryRun flag set.")
    instance_ids = [_launch(region, parameters, order).id for _ in range(amount)]
    return {"InstanceIdSets": {"InstanceIdSet": instance_ids}, "OrderId": "", "TradePrice": 0.0}


def _checked(region: Region, parameters: Parameters) -> _Order:
    kind = region.stock.type(parameters.need("InstanceType"))
    image = images.available(region, parameters.need("ImageId"))
    vswitch = region.vswitches.get(parameters.need("VSwitchId"))
    zone = parameters.text("ZoneId", vswitch.zone)
    if zone != vswitch.zone:
        raise invalid("ZoneId", "the zone of the vSwitch")
    groups = tuple(map(region.groups.get, _group_ids(parameters)))
    if any(group.vpc != vswitch.vpc for group in groups):
        raise Refused("InvalidSecurityGroupId.VPCMismatch")
    if image.architecture != kind.architecture:
        raise Refused("ImageNotSupportInstanceType")
    region.stock.check_type(kind, zone)
    system = _system(parameters, image)
    region.stock.check_disk(
        system.category, zone, system.size, "InvalidSystemDiskSize.ValueNotSupported", kind
    )
    data = tuple(_data(region, parameters, image))
    for disk in data:
        region.stock.check_disk(disk.category, zone, disk.size, "InvalidDataDiskSize.ValueNotSupported", kind)
    if len(data) > region.quotas.data_disks:
        raise Refused("InstanceDiskLimitExceeded")
    return _Order(
        kind,
        image,
        vswitch,
        groups,
        system,
        data,
        instances.user_data(parameters),
        parameters.whole("InternetMaxBandwidthOut", 0, 0, 100),
    )


def _group_ids(parameters: Parameters) -> list[str]:
    return parameters.texts("SecurityGroupIds") or [parameters.need("SecurityGroupId")]


def _system(parameters: Parameters, image: Image) -> _Disk:
    least = max((disk.size for disk in image.disks if disk.system), default=20)
    size = parameters.whole("SystemDisk.Size", max(40, least))
    if size < least:
        raise Refused("InvalidSystemDiskSize.ValueNotSupported", f"The image needs {least} GiB.")
    return _Disk(
        parameters.text("SystemDisk.Category", "cloud_efficiency"),
        parameters.text("SystemDisk.PerformanceLevel"),
        size,
        next((disk.snapshot for disk in image.disks if disk.system), ""),
        name=parameters.text("SystemDisk.DiskName"),
    )


def _data(region: Region, parameters: Parameters, image: Image) -> list[_Disk]:
    items = parameters.items("DataDisk")
    if not items:
        category = parameters.text("SystemDisk.Category", "cloud_efficiency")
        least, _ = SIZES.get(category, (0, 0))
        return [
            _Disk(category, "", max(disk.size, least), disk.snapshot, disk.device)
            for disk in image.disks
            if not disk.system
        ]
    disks = []
    for item in items:
        snapshot, device = item.text("SnapshotId"), item.text("Device")
        if device and not _DEVICE.fullmatch(device):
            raise Refused("InvalidDevice.Malformed")
        least = ready(region, snapshot).size if snapshot else 0
        disks.append(
            _Disk(
                item.text("Category", "cloud_efficiency"),
                item.text("PerformanceLevel"),
                item.whole("Size", least),
                snapshot,
                device,
                item.text("DiskName"),
                not item.flag("DeleteWithInstance", True),
            )
        )
    return disks


def _launch(region: Region, parameters: Parameters, order: _Order) -> Instance:
    tags = parameters.tags()
    instance = Instance(
        id=region.instances.new_id(),
        created=region.clock(),
        name=parameters.text("InstanceName"),
        description=parameters.text("Description"),
        tags=tags,
        type=order.kind.name,
        zone=order.vswitch.zone,
        image=order.image.id,
        vpc=order.vswitch.vpc,
        vswitch=order.vswitch.id,
        groups=[group.id for group in order.groups],
        user_data=order.user_data,
        role=parameters.text("RamRoleName"),
        nic=region.network.new_address(),
        private=region.network.new_address(),
        public=region.network.new_address() if order.bandwidth else "",
        bandwidth=order.bandwidth,
        protected=parameters.flag("DeletionProtection"),
        guest=order.image.owner == "self",
    )
    for requested in (order.system, *order.data):
        disk = disks.make(
            region,
            zone=instance.zone,
            category=requested.category,
            size=requested.size,
            system=requested is order.system,
            snapshot=requested.snapshot,
            level=requested.level,
        )
        disk.name, disk.tags, disk.delete_with_instance = requested.name, dict(tags), not requested.keep
        disks.join(region, disk, instance, "/dev/xvda" if disk.system else requested.device)
    region.instances.add(instance)
    instances.power_on(region, instance)
    return instance
