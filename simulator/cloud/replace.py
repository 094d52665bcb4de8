"""The system disk of an instance is replaced from an image. The old one is released, and with it everything on it."""

from __future__ import annotations

from typing import Any

from simulator.cloud import disks
from simulator.cloud.codes import Refused
from simulator.cloud.images import available
from simulator.cloud.instances import status
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.snapshots import in_progress

Answer = dict[str, Any]


def replace_system_disk(region: Region, parameters: Parameters) -> Answer:
    """The size is never less than that of the old disk; category and billing stay."""
    instance = region.instances.get(parameters.need("InstanceId"))
    image = available(region, parameters.need("ImageId"))
    if status(region, instance) != "Stopped":
        raise Refused("IncorrectInstanceStatus")
    old = disks.of_instance(region, instance)[0]
    if in_progress(region, old.id):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    kind = region.stock.types.get(instance.type)
    if kind is not None and image.architecture != kind.architecture:
        raise Refused("ImageNotSupportInstanceType")
    source = next(disk for disk in image.disks if disk.system)
    size = parameters.whole("SystemDisk.Size", max(old.size, source.size))
    if size < max(old.size, source.size):
        raise Refused("InvalidSystemDiskSize.ValueNotSupported")
    new = disks.make(
        region,
        zone=old.zone,
        category=old.category,
        size=size,
        system=True,
        snapshot=source.snapshot,
        level=old.level,
    )
    new.name, new.delete_with_instance = old.name, old.delete_with_instance
    region.boot.unplug(instance, old)
    disks.destroy(region, old)
    disks.join(region, new, instance, "/dev/xvda")
    instance.image = image.id
    return {"DiskId": new.id}
