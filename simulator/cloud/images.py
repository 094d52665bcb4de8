"""Images: made from snapshots or from an instance; a list shows only what is available unless it is asked otherwise."""

from __future__ import annotations

import re
from typing import Any, Final

from simulator.cloud import disks, snapshots
from simulator.cloud.codes import Refused, invalid, missing
from simulator.cloud.networks import tagged, utc
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.resources import Image, Mapping

Answer = dict[str, Any]
_NAME: Final = re.compile(r"[A-Za-z\u4e00-\u9fff][\w:\-]{1,127}")
_DEVICE: Final = re.compile(r"/dev/xvd[a-z]")
SYSTEM: Final = "/dev/xvda"


def progress(region: Region, image: Image) -> int:
    """Percent."""
    duration = region.timing.image
    return 100 if duration <= 0 else min(100, int(100 * region.age(image.created) / duration))


def status(region: Region, image: Image) -> str:
    if progress(region, image) < 100:
        return "Creating"
    return "CreateFailed" if image.broken else "Available"


def available(region: Region, image_id: str) -> Image:
    """Raises Refused for an image that no instance can be made from."""
    image = region.images.get(image_id)
    if status(region, image) != "Available":
        raise Refused("InvalidImageId.NotFound", "The specified image is not available.")
    return image


def in_use(region: Region, image: Image) -> bool:
    return any(instance.image == image.id for instance in region.instances)


def create_image(region: Region, given: Parameters) -> Answer:
    name = given.text("ImageName")
    if not _NAME.fullmatch(name) or name.lower().startswith(("http://", "https://", "aliyun", "acs:")):
        raise Refused("InvalidImageName.Malformed")
    if any(image.name == name for image in region.images):
        raise Refused("InvalidImageName.Duplicated")
    if sum(image.owner == "self" for image in region.images) >= region.quotas.images:
        raise Refused("QuotaExceed.Image")
    architecture = _word(given, "Architecture", ("i386", "x86_64", "arm64"), "x86_64")
    boot = _word(given, "BootMode", ("BIOS", "UEFI", "UEFI-Preferred"), "BIOS")
    parts = _disks(region, given)
    rule = region.faults.consult("image.make", name)
    image = Image(
        id=region.images.new_id(),
        created=region.clock(),
        name=name,
        description=given.text("Description"),
        tags=given.tags(),
        owner="self",
        architecture=architecture,
        platform=given.text("Platform", "Others Linux"),
        boot_mode=boot,
        disks=tuple(sorted(parts, key=lambda part: part.device)),
        broken=rule is not None,
    )
    region.images.add(image)
    return {"ImageId": image.id}


def _disks(region: Region, given: Parameters) -> list[Mapping]:
    if given.text("InstanceId"):
        return _of_instance(region, given.text("InstanceId"))
    if given.text("SnapshotId"):
        snapshot = snapshots.ready(region, given.text("SnapshotId"))
        return [Mapping(SYSTEM, True, snapshot.size, snapshot.id)]
    items = given.items("DiskDeviceMapping")
    if not items:
        raise missing("DiskDeviceMapping")
    found = [_mapped(region, item) for item in items]
    devices = [disk.device for disk in found]
    if len(set(devices)) < len(devices):
        raise Refused("InvalidDevice.InUse")
    if [disk.device for disk in found if disk.system] != [SYSTEM]:
        raise Refused("InvalidDevice.Malformed", f"One disk is the system disk, and it is {SYSTEM}.")
    return found


def _mapped(region: Region, given: Parameters) -> Mapping:
    snapshot = snapshots.ready(region, given.need("SnapshotId"))
    device = given.text("Device", SYSTEM if snapshot.system else "/dev/xvdb")
    if not _DEVICE.fullmatch(device):
        raise Refused("InvalidDevice.Malformed")
    kind = _word(given, "DiskType", ("system", "data"), "system" if snapshot.system else "data")
    size = given.whole("Size", snapshot.size)
    if not snapshot.size <= size <= 65536:
        raise Refused("InvalidSize.ValueNotSupported")
    return Mapping(device, kind == "system", size, snapshot.id)


def _of_instance(region: Region, instance_id: str) -> list[Mapping]:
    found = []
    for disk in disks.of_instance(region, region.instances.get(instance_id)):
        snapshot = snapshots.take(region, disk)
        found.append(Mapping(disk.device, disk.system, disk.size, snapshot.id))
    return found


def describe_images(region: Region, given: Parameters) -> Answer:
    states = set(given.text("Status", "Available").split(","))
    ids = set(filter(None, given.text("ImageId").split(",")))
    found = [
        image
        for image in tagged(region.images.seen(), given.tags())
        if (not ids or image.id in ids)
        and given.text("ImageName") in ("", image.name)
        and given.text("ImageOwnerAlias") in ("", image.owner)
        and given.text("Architecture") in ("", image.architecture)
        and given.text("Usage") in ("", _usage(region, image))
        and status(region, image) in states
    ]
    page = given.page()
    shown, token = page.of(found)
    rows = [_row(region, image) for image in shown]
    return page.heading(len(found), token) | {"RegionId": region.name, "Images": {"Image": rows}}


def delete_image(region: Region, given: Parameters) -> Answer:
    image = region.images.get(given.need("ImageId"))
    if image.owner != "self":
        raise Refused("InvalidImageId.NotFound")
    if not given.flag("Force"):
        if in_use(region, image):
            raise Refused("ImageUsingByInstance")
        if status(region, image) == "Creating":
            raise Refused("ImageIsCreating")
    region.images.drop(image.id)
    return {}


def _word(given: Parameters, name: str, words: tuple[str, ...], default: str) -> str:
    found = given.text(name, default)
    if found not in words:
        raise invalid(name, f"one of {', '.join(words)}")
    return found


def _usage(region: Region, image: Image) -> str:
    return "instance" if in_use(region, image) else "none"


def _row(region: Region, image: Image) -> Answer:
    return {
        "ImageId": image.id,
        "ImageName": image.name,
        "Description": image.description,
        "ImageOwnerAlias": image.owner,
        "Status": status(region, image),
        "Progress": f"{progress(region, image)}%",
        "Architecture": image.architecture,
        "Platform": image.platform,
        "OSType": "windows" if image.platform.startswith("Windows") else "linux",
        "BootMode": image.boot_mode,
        "Size": max((disk.size for disk in image.disks if disk.system), default=0),
        "Usage": _usage(region, image),
        "CreationTime": utc(image.created),
        "DiskDeviceMappings": {
            "DiskDeviceMapping": [
                {
                    "Device": disk.device,
                    "Type": "system" if disk.system else "data",
                    "Size": str(disk.size),
                    "SnapshotId": disk.snapshot,
                }
                for disk in image.disks
            ]
        },
        "Tags": {"Tag": [{"TagKey": key, "TagValue": value} for key, value in image.tags.items()]},
    }
