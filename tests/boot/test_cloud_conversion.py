"""A guest that would not start on virtio hardware goes through ECS: passes, an image, a conversion on another instance, a start.

The cloud is simulated; its instances run our real program, libguestfs reads the real guest, and QEMU starts what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.cloud.console import BootOutcome
from connector.cloud.provider import TargetDisk
from connector.conversion.boot_check import boot_check
from connector.conversion.virtual_machine import BootDisk, Hardware
from connector.transfer.certificates import CertificateRole
from connector.transfer.disk_pass import copy_disk
from connector.transfer.source import FileSource
from simulator.cloud.resources import Image
from tests.boot import guests
from tests.boot.guests import Guest
from tests.boot.test_boot import PATIENCE, VMWARE, root
from tests.cloud.alibaba import Cloud
from tests.cloud.conftest import AUTHORITY, image_for, make_cloud, request_for
from tests.conversion.conftest import qemu
from tests.conversion.test_conversion import tools
from tests.instance.test_pass import order

__all__ = ["make_cloud", "qemu", "root", "tools"]
pytestmark = [pytest.mark.boot, pytest.mark.usefixtures("qemu", "tools"), pytest.mark.xdist_group("boot")]
TOKEN = "instance-j-1"


def system_disk(cloud: Cloud, image: Image) -> Path:
    return cloud.region.snapshots.get(next(disk for disk in image.disks if disk.system).snapshot).path


def test_a_guest_of_vmware_boots_from_its_converted_image(
    root: Path, tmp_path: Path, make_cloud: Callable[..., Cloud]
) -> None:
    disk = guests.build(root, Guest(modules=VMWARE), tmp_path / "disk.raw")
    size = disk.stat().st_size
    disks = (TargetDisk(2000, "Hard disk 1", size),)
    cloud = make_cloud()
    provider = cloud.provider(conversion=True)
    instance = provider.create_instance(request_for(TOKEN, disks))
    appliance = InstanceEndpoint(instance.address, AUTHORITY.issue(CertificateRole.APPLIANCE))
    copy_disk(FileSource(disk), appliance, order(disk), prove=True)
    request = image_for(TOKEN, "guest", disks=disks, conversion="dhcp", guest_id="debian12_64Guest")
    image = provider.make_image(replace(request, converter=AUTHORITY.issue(CertificateRole.INSTANCE)))
    provider.release(TOKEN, keep_disks=False)
    assert image.details["converted"] == image.id, image.details["note"]
    base, converted = (
        system_disk(cloud, cloud.region.images.get(name)) for name in (image.location, image.id)
    )
    with disk.open("rb") as source, base.open("rb") as copy:
        while block := source.read(1 << 20):
            assert copy.read(len(block)) == block
    assert cloud.census()["instances"] == cloud.census()["disks"] == 0
    hardware = Hardware((BootDisk(converted, "raw"),), "bios")
    report = boot_check(hardware, marker=re.compile(r"^GUEST-UP .*"), patience=PATIENCE)
    assert report.outcome is BootOutcome.MARKER, report
