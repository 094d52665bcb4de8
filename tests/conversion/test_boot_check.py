"""Real starts in QEMU, of guests that are one sector long."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from connector.cloud.console import BootOutcome
from connector.cloud.machine_files import MachineDescription
from connector.conversion import boot_check as checks
from connector.conversion import virtual_machine
from connector.conversion.boot_check import BootReport, boot_check
from connector.conversion.virtual_machine import BootDisk, Hardware, VirtualMachine, hardware_for
from connector.errors import BootFailed, Interrupted, TargetFailed
from tests import processes
from tests.conversion.boot_sectors import FOREVER, POWER_OFF, saying
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("qemu")
LOGIN = b"Linux version 6.1.0-test\r\n\r\nweb-01 login: "


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are made, for this test alone."""
    home = tmp_path / ("scratch, a long way down " * 6)  # a comma separates QEMU's options
    home.mkdir()
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return home


def start(path: Path, firmware: str = "bios", patience: float = PATIENCE, **more: object) -> BootReport:
    hardware = Hardware((BootDisk(path, "raw"),), firmware, memory=128 << 20)
    return boot_check(hardware, patience=patience, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (LOGIN, BootOutcome.LOGIN),
        (b"error: no such device: 1.\r\ngrub rescue> ", BootOutcome.BOOT_LOADER),
        (b"Kernel panic - not syncing: VFS: Unable to mount root fs\r\n", BootOutcome.PANIC),
    ],
)
def test_the_console_decides(tmp_path: Path, scratch: Path, text: bytes, outcome: BootOutcome) -> None:
    disk = saying(tmp_path / "disk", text)
    before = hashlib.sha256(disk.read_bytes()).digest()
    report = start(disk)
    assert report.outcome is outcome
    assert report.boots is (outcome is BootOutcome.LOGIN)
    assert hashlib.sha256(disk.read_bytes()).digest() == before
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        (
            b"Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug.\r\n",
            3,
        ),
        (b"Kernel panic - not syncing: VFS: Unable to mount root fs\r\n", 1),
    ],
    ids=["starved", "own"],
)
def test_a_timer_that_stood_still_is_the_emulators_fault_and_tried_again(
    tmp_path: Path, text: bytes, starts: int
) -> None:
    """Linux panics when a busy computer gives the emulator no processor while it tries its timer."""
    said: list[str] = []
    disk = saying(tmp_path / "disk", text)
    report = start(disk, keep=tmp_path / "kept", say=said.append)
    assert report.outcome is BootOutcome.PANIC and "Kernel panic" in report.reason
    assert len([line for line in said if "it is started again" in line]) == starts - 1


@pytest.mark.parametrize("firmware", ["bios", "efi"])
def test_a_disk_without_a_system(tmp_path: Path, firmware: str) -> None:
    disk = tmp_path / "empty"
    disk.write_bytes(bytes(1 << 20))
    assert start(disk, firmware).outcome is BootOutcome.NOT_BOOTABLE


def test_a_machine_with_secure_boot_gets_a_firmware_that_checks(tmp_path: Path) -> None:
    disk = tmp_path / "empty"
    disk.write_bytes(bytes(1 << 20))
    described = MachineDescription("m", (), "efi", secure_boot=True, memory=512 << 20)
    hardware = hardware_for(described, (BootDisk(disk, "raw"),))
    report = boot_check(hardware, patience=PATIENCE)
    assert (report.outcome, report.secure_boot) == (BootOutcome.NOT_BOOTABLE, True)
    assert report.to_json()["secure_boot"] is True
    bios = hardware_for(replace(described, firmware="bios"), (BootDisk(disk, "raw"),))
    assert not bios.secure_boot  # without EFI there is none, whatever was noted


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    assert start(saying(tmp_path / "disk", b"hello"), patience=3).outcome is BootOutcome.SILENT


def test_a_long_start_says_what_it_waits_for(tmp_path: Path) -> None:
    lines: list[str] = []
    start(saying(tmp_path / "disk", b"hello"), patience=3, say=lines.append, every=0.5)
    assert len(lines) >= 3
    assert re.fullmatch(
        r"\d of at most 3 s: waiting for a login prompt on the serial console \((emulated|with).*", lines[0]
    )


def test_a_machine_that_switches_itself_off(tmp_path: Path) -> None:
    assert start(saying(tmp_path / "disk", b"bye", POWER_OFF)).outcome is BootOutcome.OFF


def test_a_machine_that_writes_without_end_is_stopped(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is not started again without KVM: this tells nothing about KVM."""
    starts = []

    @contextmanager
    def slowly(hardware: Hardware, directory: Path, accel: str) -> Iterator[VirtualMachine]:
        starts.append(accel)
        with virtual_machine.started(hardware, directory, "tcg") as machine:
            yield machine

    monkeypatch.setattr(checks, "_MOST_OUTPUT", 1 << 16)
    monkeypatch.setattr(checks, "accelerator", lambda: "kvm")
    monkeypatch.setattr(checks, "started", slowly)
    with pytest.raises(BootFailed, match=r"more than 65536 bytes to console\.log"):
        start(saying(tmp_path / "disk", b"hello", FOREVER))
    assert starts == ["kvm"]
    assert not list(scratch.iterdir())


def test_a_marker(tmp_path: Path) -> None:
    disk = saying(tmp_path / "disk", b"web login: \r\nREADY 7\r\n")
    assert start(disk, marker=re.compile(r"READY \d")).outcome is BootOutcome.MARKER


@contextmanager
def asking(hardware: Hardware, directory: Path, accel: str) -> Iterator[VirtualMachine]:
    """A machine whose card seems to ask for an address at once: the packet is added to QEMU's trace."""
    packet = b"\xff" * 6 + bytes.fromhex(hardware.macs[0].replace(":", "")) + b"\x86\xdd" + bytes(40)
    with virtual_machine.started(hardware, directory, accel) as machine:
        eventually(lambda: machine.files.trace.exists() and machine.files.trace.stat().st_size, "a trace")
        with machine.files.trace.open("ab") as trace:
            trace.write(struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet)
        yield machine


@pytest.mark.parametrize(
    ("marker", "outcome"), [(None, BootOutcome.NETWORK), (re.compile("READY"), BootOutcome.SILENT)]
)
def test_a_packet_shortens_the_wait_for_a_login_prompt_and_not_for_a_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: re.Pattern[str] | None, outcome: BootOutcome
) -> None:
    monkeypatch.setattr(checks, "PROMPT", 0.0)
    monkeypatch.setattr(checks, "started", asking)
    report = start(saying(tmp_path / "disk", b"hello"), patience=5, marker=marker)
    assert report.outcome is outcome
    assert (report.seconds >= 5) is (marker is not None)


def test_the_report_is_kept_for_its_owner(tmp_path: Path) -> None:
    keep = tmp_path / "report"
    report = start(saying(tmp_path / "disk", LOGIN), keep=keep)
    assert (keep / "console.log").read_bytes().endswith(LOGIN)
    assert (keep / "screen.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((keep / "report.json").read_text()) == report.to_json()
    assert {path.stat().st_mode & 0o777 for path in keep.iterdir()} == {0o600}
    assert (report.host, report.kernel) == ("web-01", "6.1.0-test")


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"QFI\xfb" + bytes(100))
    with pytest.raises(TargetFailed, match="no copy could be made"):
        boot_check(Hardware((BootDisk(disk, "qcow2"),)))


def test_a_stop(tmp_path: Path, scratch: Path) -> None:
    halt = threading.Event()
    halt.set()
    with pytest.raises(Interrupted):
        start(saying(tmp_path / "disk", b"hello"), halt=halt)
    assert not list(scratch.iterdir())


def test_a_check_that_is_killed_takes_its_machine_along_and_the_next_one_clears_up(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = saying(tmp_path / "disk", b"hello")
    order = [sys.executable, "-m", "connector.cli.main", "machine", "check", str(disk)]
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_SECRET", "not for guests")
    with subprocess.Popen(order, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        machine = eventually(lambda: _machine_of(command.pid), "the machine runs")
        assert "CONNECTOR_ACCESS_KEY_SECRET" not in machine.environ()
        command.send_signal(signal.SIGKILL)
    eventually(lambda: not processes.lives(machine), "the machine is gone")
    assert list(scratch.glob("connector-boot-*"))
    assert start(saying(tmp_path / "other", LOGIN)).boots
    assert not list(scratch.iterdir())


def _machine_of(pid: int) -> psutil.Process | None:
    with_console = [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if "console.log" in processes.command_line(child)
    ]
    return with_console[0] if with_console else None


def test_what_others_made_is_not_removed(tmp_path: Path, scratch: Path) -> None:
    """A link in a directory that everybody may write to leads nowhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (scratch / "connector-boot-link").symlink_to(elsewhere)
    with checks.scratch_directory():
        assert (elsewhere / "file").exists()


def test_many_starts_at_once_do_not_take_each_others_directory_away(scratch: Path) -> None:
    def one(_: int) -> bool:
        with checks.scratch_directory() as directory:
            (directory / "file").touch()
            return directory.exists()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(one, range(400)))
    assert not list(scratch.iterdir())


def test_copies_of_checks_that_still_run_stay(scratch: Path) -> None:
    with checks.scratch_directory() as other, checks.scratch_directory() as own:
        assert other.exists() and own.exists()
    assert not list(scratch.iterdir())
