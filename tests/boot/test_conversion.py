"""Guests that would not start on virtio hardware, or not with their network, do so after a conversion; their base stays."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from connector.cli.main import main
from connector.cloud import machine_files
from connector.cloud.console import BootOutcome
from connector.cloud.drill_child import LocalDrills
from connector.cloud.machine_files import ImageDisk, MachineDescription, NetworkCard
from connector.cloud.provider import DrillRequest
from connector.conversion.boot_check import BootReport, boot_check
from connector.conversion.conversion import GuestImage, convert
from connector.conversion.linux import NetworkRequest
from connector.conversion.network.cards import Card
from connector.conversion.network.plan import NetworkMode
from connector.conversion.virtual_machine import BootDisk, Hardware
from tests.boot import guests
from tests.boot.guests import STATIC, VOLUME, Guest
from tests.boot.test_boot import PATIENCE, VMWARE, root
from tests.conversion.conftest import qemu
from tests.conversion.test_conversion import tools
from tests.integration.witness import digest

__all__ = ["qemu", "root", "tools"]
pytestmark = [pytest.mark.boot, pytest.mark.usefixtures("qemu"), pytest.mark.xdist_group("boot")]
MAC, OTHER_MAC = "00:50:56:aa:bb:01", "52:54:00:00:00:09"
Boot = Callable[..., BootReport]


@pytest.fixture
def boot(root: Path, tmp_path: Path) -> Boot:
    """Build, convert, start. `mode`: of the network; `has_new_mac`: the machine that is started has another MAC."""

    def run(
        guest: Guest, expected: str, mode: NetworkMode = NetworkMode.DHCP, has_new_mac: bool = False
    ) -> BootReport:
        disk = guests.build(root, guest, tmp_path / "disk.raw")
        before, target = digest(disk.read_bytes()), tmp_path / "converted"
        described = MachineDescription(
            "guest",
            (ImageDisk(disk.name, "raw", disk.stat().st_size),),
            guest.firmware,
            cards=(NetworkCard(MAC),),
        )
        network = NetworkRequest((Card(0, MAC),), mode, keeps_macs=not has_new_mac)
        convert(GuestImage("guest", (BootDisk(disk, "raw"),), guest.firmware, network), described, target)
        assert digest(disk.read_bytes()) == before
        disk.unlink()
        started = Hardware(
            (BootDisk(target / "disk.qcow2", "qcow2"),),
            guest.firmware,
            macs=(OTHER_MAC if has_new_mac else MAC,),
        )
        marker = re.compile(rf"^GUEST-UP kernel=\S+ root={expected}$")
        report = boot_check(started, keep=tmp_path / "report", marker=marker, patience=PATIENCE)
        assert report.outcome is BootOutcome.MARKER, report
        assert report.failed == ()
        return report

    return run


def test_a_drill_of_a_converted_guest_leaves_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = guests.build(root, Guest(modules=VMWARE), tmp_path / "disk.raw")
    before, scratch = digest(disk.read_bytes()), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    words = ["machine", "drill", str(disk), "--marker", "^GUEST-UP .*", "--timeout", "1800", "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["boot"]["outcome"] == "marker"
    assert document["conversion"]["changes"]
    assert digest(disk.read_bytes()) == before
    assert list(scratch.iterdir()) == []


def test_a_drill_of_the_provider_starts_the_real_program(root: Path, tmp_path: Path) -> None:
    image = tmp_path / "cloud" / "images" / "web"
    image.mkdir(parents=True)
    disk = guests.build(root, Guest(modules=VMWARE), image / "web.raw")
    described = MachineDescription("web", (ImageDisk(disk.name, "raw", disk.stat().st_size),))
    for name, content in machine_files.files(described, image).items():
        (image / name).write_bytes(content)
    before, said = digest(disk.read_bytes()), list[str]()
    drills = LocalDrills(tmp_path / "cloud", "connector.conversion")
    request = DrillRequest("d-1", str(image), "dhcp", timeout=1800.0, marker="^GUEST-UP .*")
    outcome = drills.run(request, Event(), said.append)
    assert outcome.report["boot"]["outcome"] == "marker"
    assert outcome.report["conversion"]["changes"]
    assert outcome.report["conversion_seconds"] > 0
    assert set(outcome.kept) == {"console.log", "screen.png"}
    assert b"GUEST-UP" in (drills.file(str(image), "console.log") or b"")
    assert said[0] == "converting a copy"
    assert digest(disk.read_bytes()) == before
    assert not (tmp_path / "cloud" / "drills").exists()


def test_a_script_runs_once_at_the_first_start(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = guests.build(root, Guest(modules=VMWARE), tmp_path / "disk.raw")
    (tmp_path / "script").write_text("#!/bin/sh -e\necho FIRST-START $(id -u) > /dev/ttyS0\n")
    words = ["machine", "drill", disk, "--first-boot", tmp_path / "script", "--timeout", "1800", "--json"]
    assert main([str(word) for word in [*words, "--marker", "^FIRST-START 0"]]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["boot"]["outcome"] == "marker"
    assert "/usr/local/lib/connector/first-boot" in [row["path"] for row in document["conversion"]["changes"]]


DHCP = r"/dev/vda3 failed=0 {card}=10\.0\.2\.15/24"
FIXED = rf"/dev/vda3 failed=0 ens192={re.escape(STATIC)}/24"


def test_a_converted_guest_with_vmwares_drivers_only(boot: Boot) -> None:
    boot(Guest(modules=VMWARE, card="ens192"), DHCP.format(card="ens192"))


def test_a_converted_guest_whose_boot_loader_a_new_firmware_does_not_find(boot: Boot) -> None:
    boot(Guest("efi", is_removable=False, modules=VMWARE), DHCP.format(card="eth0"))


@pytest.mark.parametrize("firmware", ["bios", "efi"])
@pytest.mark.parametrize(
    ("file_system", "device"), [("xfs", "/dev/vda3"), ("btrfs", "/dev/vda3"), ("lvm", VOLUME)]
)
def test_other_file_systems(boot: Boot, file_system: str, device: str, firmware: str) -> None:
    named = {"root": VOLUME} if file_system == "lvm" else {}
    boot(
        Guest(firmware, file_system=file_system, modules=VMWARE, **named),  # type: ignore[arg-type]
        rf"{device} failed=0 eth0=\S+",
    )


def test_disks_named_by_place(boot: Boot) -> None:
    fstab = "/dev/sdb1 /data ext4 defaults 0 2\n"
    boot(Guest(root="/dev/sda3", fstab=fstab), DHCP.format(card="eth0"))


@pytest.mark.parametrize("has_new_mac", [False, True])
@pytest.mark.parametrize("network", ["ifupdown", "netplan", "NetworkManager", "networkd"])
def test_a_fixed_address_stays_with_its_card(boot: Boot, network: str, has_new_mac: bool) -> None:
    boot(Guest(card="ens192", network=network, is_static=True), FIXED, NetworkMode.KEEP, has_new_mac)


@pytest.mark.parametrize("network", ["ifupdown", "netplan", "NetworkManager", "networkd"])
def test_a_fixed_address_gives_way_to_dhcp(boot: Boot, network: str) -> None:
    report = boot(Guest(card="ens192", network=network, is_static=True), DHCP.format(card="ens192"))
    assert report.address == "10.0.2.15"
