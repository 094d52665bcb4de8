"""From vCenter to a machine that starts: a guest with VMware's drivers only is migrated, converted, and boots."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.cli.main import main
from tests.boot import guests
from tests.boot.guests import Guest
from tests.boot.test_boot import PATIENCE, VMWARE, root
from tests.conversion.conftest import qemu
from tests.conversion.test_conversion import tools
from tests.integration.command import Command
from tests.integration.conftest import make_house, start
from tests.integration.house import MIB, House, Shape
from tests.integration.witness import digest

__all__ = ["make_house", "qemu", "root", "start", "tools"]
pytestmark = [pytest.mark.boot, pytest.mark.usefixtures("qemu"), pytest.mark.xdist_group("boot")]


def install(house: House, disk: Path) -> None:
    """Write the bytes of a disk image into the machine's disk, as its guest would."""
    vm = house.machine()
    with open(disk, "rb") as file:
        place = 0
        while data := file.read(MIB):
            if any(data):
                house.estate.power.write(vm.moref, vm.disks[0].key, place, data)
            place += len(data)


def test_a_migrated_and_converted_guest_comes_up(
    root: Path, make_house: Callable[..., House], start: Callable[..., Command], tmp_path: Path
) -> None:
    disk = guests.build(root, Guest(modules=VMWARE), tmp_path / "disk.raw")
    house = make_house(Shape("web-01", disks=((disk.stat().st_size, 0),)))
    install(house, disk)
    command = start(house.migration("web-01", "--cutover", "--convert", "dhcp", "--boot-check"))
    done = command.wait(PATIENCE)
    assert done.code == 0, done.stderr
    image = house.out / "images" / "web-01"
    assert house.image("web-01") == house.digests()
    assert main(["verify", str(image / "evidence.json")]) == 0
    assert main(["verify", str(image / "evidence.json"), str(image / "converted")]) == 0
    report = json.loads((image / "boot-check" / "report.json").read_text())
    assert report["outcome"] == "login prompt", report
    assert (image / "converted" / "conversion.json").exists()
    assert digest(next(image.glob("*.raw")).read_bytes()) == house.digests()[house.machine().disks[0].key]
    assert "a copy boots" in done.stdout
