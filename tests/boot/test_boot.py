"""Real guests, started as `connector machine check` does."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.cloud.console import BootOutcome
from connector.conversion.boot_check import BootReport, boot_check
from connector.conversion.virtual_machine import BootDisk, Hardware
from tests.boot import guests
from tests.boot.guests import Guest
from tests.conversion.conftest import qemu

__all__ = ["qemu"]
pytestmark = [pytest.mark.boot, pytest.mark.usefixtures("qemu"), pytest.mark.xdist_group("boot")]
UP = re.compile(r"^GUEST-UP kernel=\S+ root=/dev/vda3 failed=0 eth0=\S+$")
VMWARE = ("vmw_pvscsi", "mptspi", "ata_piix", "ahci")
PATIENCE = 1800.0  # a machine that is emulated on a busy computer; nothing is measured with it
Start = Callable[..., BootReport]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked Debian. BOOT_CACHE: a directory in which it is kept."""
    for tool in ("mmdebstrap", "sfdisk", "mkfs.ext4", "mkfs.vfat", "mcopy"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (Debian: mmdebstrap, fdisk, e2fsprogs, dosfstools, mtools)")
    if os.geteuid():
        pytest.skip("needs root: mmdebstrap and chroot")
    kept = os.environ.get("BOOT_CACHE")
    directory = Path(kept) if kept else tmp_path_factory.mktemp("debian")
    directory.mkdir(exist_ok=True)
    return guests.base(directory)


@pytest.fixture
def start(root: Path, tmp_path: Path) -> Start:
    def run(guest: Guest, marker: re.Pattern[str] | None = None, patience: float = PATIENCE) -> BootReport:
        disk = guests.build(root, guest, tmp_path / "disk.raw")
        hardware = Hardware((BootDisk(disk, "raw"),), guest.firmware)
        return boot_check(hardware, keep=tmp_path / "report", marker=marker, patience=patience)

    return run


@pytest.mark.parametrize("firmware", ["bios", "efi"])
def test_a_guest_comes_up_whole_and_reaches_nobody(start: Start, firmware: str) -> None:
    """Before it says that it is up, it has tried to reach this computer, at the address that it has in QEMU's network."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        report = start(Guest(firmware, knock=listener.getsockname()[1]), UP)
        assert report.outcome is BootOutcome.MARKER, report
        assert report.failed == ()
        assert report.address == "10.0.2.15"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_guest_that_knows_only_vmwares_controllers(start: Start) -> None:
    report = start(Guest(modules=VMWARE))
    assert report.outcome in (BootOutcome.NO_ROOT, BootOutcome.EMERGENCY), report
    assert guests.ROOT_ID in report.reason


def test_a_root_by_the_name_of_another_controller(start: Start) -> None:
    report = start(Guest(root="/dev/sda3"))
    assert report.outcome in (BootOutcome.NO_ROOT, BootOutcome.EMERGENCY), report
    assert "/dev/sda3" in report.reason


def test_a_line_of_fstab_for_a_disk_that_is_not_there(start: Start) -> None:
    report = start(Guest(fstab="/dev/sdb1 /data ext4 defaults 0 2\n"))
    assert report.outcome is BootOutcome.EMERGENCY, report
    assert "sdb1" in report.reason, report
    assert any("/data" in unit for unit in report.failed), report


def test_a_guest_without_a_serial_console_is_seen_by_its_network(start: Start) -> None:
    report = start(Guest(console=False))
    assert report.outcome is BootOutcome.NETWORK, report
    assert report.screen is not None


def test_secure_boot_starts_what_is_signed_and_nothing_else(root: Path, tmp_path: Path) -> None:
    """The guest itself says that its firmware checks."""
    disk = guests.build(root, Guest("efi", is_signed=True), tmp_path / "signed.raw")
    hardware = Hardware((BootDisk(disk, "raw"),), "efi", secure_boot=True)
    report = boot_check(hardware, marker=re.compile("^SECURE-BOOT 1$"), patience=PATIENCE)
    assert (report.outcome, report.secure_boot) == (BootOutcome.MARKER, True), report
    disk.unlink()
    disk = guests.build(root, Guest("efi"), tmp_path / "unsigned.raw")
    report = boot_check(Hardware((BootDisk(disk, "raw"),), "efi", secure_boot=True), patience=PATIENCE)
    assert report.outcome is BootOutcome.NOT_BOOTABLE, report
    assert "Access Denied" in report.reason


def test_the_other_firmware_finds_nothing(root: Path, tmp_path: Path) -> None:
    disk = guests.build(root, Guest("bios"), tmp_path / "disk.raw")
    report = boot_check(Hardware((BootDisk(disk, "raw"),), "efi"), patience=PATIENCE)
    assert report.outcome is BootOutcome.NOT_BOOTABLE, report
