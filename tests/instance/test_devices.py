"""Disks that are devices: known by serial number, larger than the source, never created, settled before a snapshot."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.errors import Conflict, TargetFailed
from connector.instance.device import DeviceTarget
from connector.instance.devices import Devices
from connector.model import Extent
from connector.transfer.disk_pass import copy_disk
from connector.transfer.source import FileSource
from tests.instance.test_pass import order
from tests.transfer.conftest import CELL, MIB, Instance

SERIAL = "bp1d6tsvznfghy7yyyyy"
WORDS = ("--credential-stdin", "--devices")
Start = Callable[..., Instance]


def plug(root: Path, serial: str, size: int, name: str = "") -> Path:
    """A file that stands for a device, under the name that udev would give it."""
    folder = root / "disk" / "by-id"
    folder.mkdir(parents=True, exist_ok=True)
    made = root / f"content-{serial}"
    made.touch()
    os.truncate(made, size)
    (folder / (name or f"virtio-{serial[:20]}")).symlink_to(made)
    return made


def test_r50_a_pass_fills_the_device_and_leaves_what_is_behind_the_disk_alone(
    start: Start, disk: Path, tmp_path: Path
) -> None:
    device = plug(tmp_path / "dev", SERIAL, 32 * MIB)
    instance = start(words=(*WORDS, str(tmp_path / "dev")))
    instance.endpoint.assign_devices({"2000": SERIAL})
    instance.endpoint.assign_devices({"2000": SERIAL})
    copy_disk(FileSource(disk), instance.endpoint, order(disk), prove=True)
    size = disk.stat().st_size
    assert device.read_bytes()[:size] == disk.read_bytes()
    assert not any(device.read_bytes()[size:])
    assert instance.endpoint.settle() == ["2000"]
    assert not (tmp_path / "instance" / "disks" / "2000" / "disk.raw").exists()


def test_after_a_restart_the_disks_lie_where_they_lay(start: Start, disk: Path, tmp_path: Path) -> None:
    plug(tmp_path / "dev", SERIAL, 32 * MIB)
    words = (*WORDS, str(tmp_path / "dev"))
    first = start(words=words)
    first.endpoint.assign_devices({"2000": SERIAL})
    copy_disk(FileSource(disk), first.endpoint, order(disk), prove=True)
    first.kill()
    second = start(words=words)
    assert second.endpoint.settle() == ["2000"]
    with pytest.raises(Conflict, match=r"is on device bp1d6tsvznfghy7yyyyy, not on another-one"):
        second.endpoint.assign_devices({"2000": "another-one"})
    with pytest.raises(Conflict, match="two disks cannot be on one device"):
        second.endpoint.assign_devices({"2001": SERIAL})


def test_a_disk_without_a_device_or_with_a_small_one_is_refused(start: Start, tmp_path: Path) -> None:
    plug(tmp_path / "dev", "small-serial", MIB)
    endpoint = start(words=(*WORDS, str(tmp_path / "dev"))).endpoint
    with pytest.raises(Conflict, match="no device was assigned"):
        endpoint.put_disk("2000", MIB)
    endpoint.assign_devices({"2000": "small-serial", "2001": "not-plugged"})
    with pytest.raises(TargetFailed, match=r"has 1048576 bytes, fewer than 2097152"):
        endpoint.put_disk("2000", 2 * MIB)
    with pytest.raises(TargetFailed, match="not there") as missing:
        endpoint.put_disk("2001", MIB)
    assert missing.value.retryable
    plug(tmp_path / "dev", "not-plugged", MIB)
    endpoint.put_disk("2001", MIB)


def test_an_instance_of_files_takes_no_devices(instance: Instance) -> None:
    with pytest.raises(Conflict, match="are files"):
        instance.endpoint.assign_devices({"2000": SERIAL})


def test_invariant_10_nothing_settles_in_the_middle_of_a_pass(start: Start, tmp_path: Path) -> None:
    plug(tmp_path / "dev", SERIAL, 32 * MIB)
    endpoint = start(words=(*WORDS, str(tmp_path / "dev"))).endpoint
    endpoint.assign_devices({"2000": SERIAL})
    endpoint.put_disk("2000", MIB)
    with pytest.raises(Conflict, match="last pass is not finished"):
        endpoint.settle()


def test_an_empty_disk_has_been_written_when_it_is_settled(tmp_path: Path) -> None:
    """Of a disk that was never written the cloud makes no snapshot."""
    device = plug(tmp_path, SERIAL, MIB)
    target = DeviceTarget(device, 512)
    assert target.reads_as_zero(Extent(0, 512))
    target.settle()
    assert device.stat().st_blocks > 0
    target.zero(0, 512)
    target.close()
    assert not any(device.read_bytes())


def test_nvme_devices_are_found_by_the_end_of_their_name(tmp_path: Path) -> None:
    name = f"nvme-Alibaba_Cloud_Elastic_Block_Storage_{SERIAL}"
    plug(tmp_path, SERIAL, MIB, name)
    plug(tmp_path, SERIAL + "-part1", MIB, f"{name}-part1")
    devices = Devices(tmp_path, tmp_path / "record")
    devices.assign({"2000": SERIAL})
    assert devices.path("2000").name == name
    assert json.loads((tmp_path / "record").read_text()) == {"2000": SERIAL}


CAPACITY = 4 * MIB + 512


def attach(file: Path) -> str:
    """The block device that shows a file, or a skip where there are none."""
    made = subprocess.run(
        ["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"needs root and losetup, of the Debian package mount ({made.stderr.strip()})")
    return made.stdout.strip()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A block device a little larger than CAPACITY, full of noise, as a cloud may hand it out."""
    backing = tmp_path / "backing"
    backing.write_bytes(os.urandom(5 * MIB))
    name = attach(backing)
    link = tmp_path / "disk.raw"
    link.symlink_to(name)
    yield link
    subprocess.run(["losetup", "--detach", name], check=True)


def test_a_device_never_claims_to_be_blank_and_is_zeroed(device: Path) -> None:
    target = DeviceTarget(device, CAPACITY)
    assert not target.blank and not target.reads_as_zero(Extent(0, CELL))
    target.zero(CELL, CAPACITY - CELL)
    target.write(2 * CELL, memoryview(b"hello"))
    target.flush()
    content = bytearray(CAPACITY)
    target.read_into(0, memoryview(content))
    assert any(content[:CELL])
    assert content[CELL:] == bytes(CELL) + b"hello" + bytes(CAPACITY - 2 * CELL - 5)
    target.close()
    with pytest.raises(TargetFailed, match="fewer than"):
        DeviceTarget(device, 6 * MIB)
