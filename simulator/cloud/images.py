"""Operations on images: made from snapshots or from an instance; lists show available images unless asked otherwise."""

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
POINT: Final = "image.make"  # consulted as an image is made; `object` is its name


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


def create_image(region: Region, parameters: Parameters) -> Answer:
    name = parameters.text("ImageName")
    if not _NAME.fullmatch(name) or name.lower().startswith(("http://", "https://", "aliyun", "acs:")):
        raise Refused("InvalidImageName.Malformed")
    if any(image.name == name for image in region.images):
        raise Refused("InvalidImageName.Duplicated")
    if sum(image.owner == "self" for image in region.images) >= region.quotas.images:
        raise Refused("QuotaExceed.Image")
    architecture = _word(parameters, "Architecture", ("i386", "x86_64", "arm64"), "x86_64")
    boot = _word(parameters, "BootMode", ("BIOS", "UEFI", "UEFI-Preferred"), "BIOS")
    parts = _disks(region, parameters)
    rule = region.faults.consult(POINT, name)
    image = Image(
        id=region.images.new_id(),
        created=region.clock(),
        name=name,
        description=parameters.text("Description"),
        tags=parameters.tags(),
        owner="self",
        architecture=architecture,
        platform=parameters.text("Platform", "Others Linux"),
        boot_mode=boot,
        disks=tuple(sorted(parts, key=lambda part: part.device)),
        broken=rule is not None,
    )
    region.images.add(image)
    return {"ImageId": image.id}


def _disks(region: Region, parameters: Parameters) -> list[Mapping]:
    if parameters.text("InstanceId"):
        return _of_instance(region, parameters.text("InstanceId"))
    if parameters.text("SnapshotId"):
        snapshot = snapshots.ready(region, parameters.text("SnapshotId"))
        return [Mapping(SYSTEM, True, snapshot.size, snapshot.id)]
    items = parameters.items("DiskDeviceMapping")
    if not items:
        raise missing("DiskDeviceMapping")
    mappings = [_mapped(region, item) for item in items]
    devices = [disk.device for disk in mappings]
    if len(set(devices)) < len(devices):
        raise Refused("InvalidDevice.InUse")
    if [disk.device for disk in mappings if disk.system] != [SYSTEM]:
        raise Refused("InvalidDevice.Malformed", f"One disk is the system disk, and it is {SYSTEM}.")
    return mappings


def _mapped(region: Region, parameters: Parameters) -> Mapping:
    snapshot = snapshots.ready(region, parameters.need("SnapshotId"))
    device = parameters.text("Device", SYSTEM if snapshot.system else "/dev/xvdb")
    if not _DEVICE.fullmatch(device):
        raise Refused("InvalidDevice.Malformed")
    kind = _word(parameters, "DiskType", ("system", "data"), "system" if snapshot.system else "data")
    size = parameters.whole("Size", snapshot.size)
    if not snapshot.size <= size <= 65536:
        raise Refused("InvalidSize.ValueNotSupported")
    return Mapping(device, kind == "system", size, snapshot.id)


def _of_instance(region: Region, instance_id: str) -> list[Mapping]:
    mappings = []
    for disk in disks.of_instance(region, region.instances.get(instance_id)):
        snapshot = snapshots.take(region, disk)
        mappings.append(Mapping(disk.device, disk.system, disk.size, snapshot.id))
    return mappings


def describe_images(region: Region, parameters: Parameters) -> Answer:
    states = set(parameters.text("Status", "Available").split(","))
    ids = set(filter(None, parameters.text("ImageId").split(",")))
    images = [
        image
        for image in tagged(region.images.seen(), parameters.tags())
        if (not ids or image.id in ids)
        and parameters.text("ImageName") in image.name  # a part of the name is enough
        and parameters.text("ImageOwnerAlias") in ("", image.owner)
        and parameters.text("Architecture") in ("", image.architecture)
        and parameters.text("Usage") in ("", _usage(region, image))
        and status(region, image) in states
    ]
    page = parameters.page()
    on_page, token = page.of(images)
    rows = [_row(region, image) for image in on_page]
    return page.heading(len(images), token) | {"RegionId": region.name, "Images": {"Image": rows}}


def delete_image(region: Region, parameters: Parameters) -> Answer:
    image = region.images.get(parameters.need("ImageId"))
    if image.owner != "self":
        raise Refused("InvalidImageId.NotFound")
    if not parameters.flag("Force"):
        if in_use(region, image):
            raise Refused("ImageUsingByInstance")
        if status(region, image) == "Creating":
            raise Refused("ImageIsCreating")
    region.images.drop(image.id)
    return {}


def _word(parameters: Parameters, name: str, words: tuple[str, ...], default: str) -> str:
    word = parameters.text(name, default)
    if word not in words:
        raise invalid(name, f"one of {', '.join(words)}")
    return word


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
