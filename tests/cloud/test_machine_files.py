"""The description of the machine beside an image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest

from connector.cloud import machine_files
from connector.cloud.machine_files import ImageDisk, MachineDescription, NetworkCard
from connector.errors import BadInput

MACHINE = MachineDescription(
    "web-01",
    tuple(ImageDisk(f"{2000 + n}.qcow2", "qcow2", (n + 1) << 30) for n in range(28)),
    firmware="efi",
    secure_boot=True,
    guest_id="debian12_64Guest",
    cpus=4,
    memory=8 << 30,
    cards=(NetworkCard("00:50:56:01:02:03", "VM Network"), NetworkCard("00:50:56:01:02:04")),
)


def write(directory: Path, machine: MachineDescription) -> None:
    for name, content in machine_files.files(machine, directory).items():
        (directory / name).write_bytes(content)


@pytest.mark.parametrize("machine", [MACHINE, replace(MACHINE, firmware="bios", secure_boot=False, cards=())])
def test_what_is_written_is_read(tmp_path: Path, machine: MachineDescription) -> None:
    write(tmp_path, machine)
    assert machine_files.read(tmp_path) == machine


def test_a_directory_without_one(tmp_path: Path) -> None:
    assert machine_files.read(tmp_path) is None


def test_libvirt_gets_disks_in_their_order_and_cards_with_their_addresses(tmp_path: Path) -> None:
    write(tmp_path, MACHINE)
    domain = xml.parse(tmp_path / "machine.xml").getroot()
    disks = domain.findall("devices/disk")
    assert [disk.find("source").get("file") for disk in disks] == [
        str(tmp_path / d.file) for d in MACHINE.disks
    ]  # type: ignore[union-attr]
    devices = [disk.find("target").get("dev") for disk in disks]  # type: ignore[union-attr]
    assert devices[:2] + devices[25:] == ["vda", "vdb", "vdz", "vdaa", "vdab"]
    assert [card.get("address") for card in domain.findall("devices/interface/mac")] == [
        "00:50:56:01:02:03",
        "00:50:56:01:02:04",
    ]
    assert domain.find("os").get("firmware") == "efi"  # type: ignore[union-attr]
    assert domain.findtext("memory") == str(8 << 20)


@pytest.mark.parametrize("name", ["a<b>&'\"", "Büro 東京", "x\x07y"])
def test_any_name_gives_valid_xml(tmp_path: Path, name: str) -> None:
    document = machine_files.libvirt(replace(MACHINE, name=name), tmp_path)
    assert xml.fromstring(document).findtext("name") == "".join(c for c in name if c.isprintable())


def _broken(**changes: Any) -> str:
    return json.dumps(MACHINE.to_json() | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        _broken(version=2),
        _broken(disks=[]),
        _broken(disks=[{"file": "../x", "format": "raw", "capacity": 1}]),
        _broken(disks=[{"file": "/etc/passwd", "format": "raw", "capacity": 1}]),
        _broken(disks=[{"file": "x"}]),
        _broken(disks="x"),
        _broken(firmware="uefi"),
        _broken(cpus="many"),
    ],
)
def test_a_damaged_one_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine.json").write_text(text)
    with pytest.raises(BadInput, match=r"machine\.json"):
        machine_files.read(tmp_path)
