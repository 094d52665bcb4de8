"""`connector machine plan` and `convert` on a small guest, through libguestfs: the base stays as it is, whatever happens."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from connector.cli.main import main
from tests.conversion.test_initramfs_append import ROOT, VERSION, first
from tests.conversion.test_linux import FSTAB, TOOLS
from tests.integration.witness import digest
from tests.processes import command_line
from tests.waiting import eventually

MIB = 1 << 20
UUID = "11111111-2222-3333-4444-555555555555"
IMAGE = f"/boot/initrd.img-{VERSION}"
pytestmark = [pytest.mark.boot, pytest.mark.xdist_group("boot")]


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    missing = [
        tool
        for tool in ("qemu-system-x86_64", "qemu-img", "mkfs.ext4", "sfdisk", "guestfish")
        if not shutil.which(tool)
    ]
    has_module = not subprocess.run(
        ["/usr/bin/python3", "-I", "-c", "import guestfs"], capture_output=True, check=False
    ).returncode
    if missing or not has_module:
        pytest.skip(
            "needs libguestfs (Debian: python3-guestfs, libguestfs-tools, qemu-system-x86, e2fsprogs, fdisk, a kernel)"
        )


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk with one partition, whose Linux has what a plan looks at."""
    root = tmp_path / "root"
    files = {
        **ROOT.content,
        IMAGE: first(*TOOLS),
        "/etc/fstab": FSTAB.replace("/dev/sda5", "UUID=x").encode(),
    }
    files |= {
        "/etc/debian_version": b"12.1\n",
        "/etc/initramfs-tools/modules": b"",
        "/bin/sh": b"",
        "/usr/x": b"",
    }
    files["/usr/share/noise"] = random.Random(1).randbytes(8 * MIB)
    for path, data in files.items():
        file = root / path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    part, disk = tmp_path / "part", tmp_path / "images" / "disk.raw"
    disk.parent.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-U", UUID, "-d", root, part, "48M"], check=True)
    disk.write_bytes(bytes(MIB) + part.read_bytes())
    os.truncate(disk, 64 * MIB)
    subprocess.run(["sfdisk", "-q", disk], input=b"start=2048,size=98304,type=83\n", check=True)
    return disk


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_a_conversion_changes_a_copy_and_says_what(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, target = digest(disk.read_bytes()), tmp_path / "converted"
    assert run("machine", "convert", disk, "--to", target, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    paths = [row["path"] for row in document["changes"]]
    assert paths == ["/etc/initramfs-tools/modules", "/etc/fstab", IMAGE]
    report = json.loads((target / "conversion.json").read_text())
    (written,) = report.pop("disks")
    assert report == document
    assert written["file"] == "disk.qcow2" and written["extents"]
    assert digest(disk.read_bytes()) == before
    assert sorted(path.name for path in target.iterdir()) == [
        "conversion.json",
        "disk.qcow2",
        "machine.json",
        "machine.xml",
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    assert {path.stat().st_mode & 0o077 for path in target.iterdir()} == {0}
    assert run("machine", "plan", target) == 0
    assert "nothing has to change" in capsys.readouterr().out
    assert run("machine", "convert", target, "--to", tmp_path / "again") == 0
    assert "nothing was written" in capsys.readouterr().out
    assert not (tmp_path / "again").exists()
    assert run("machine", "convert", disk, "--to", target) == 11
    assert "is already there" in capsys.readouterr().err


def machines(directory: Path) -> list[psutil.Process]:
    """The virtual machines that have a disk below this directory."""
    return [process for process in psutil.process_iter() if f"{directory}/" in command_line(process)]


def test_files_that_are_removed_from_a_copy_give_their_blocks_back(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "rsync_excludes_linux.txt").write_text("/usr/share/noise\n")
    whole, smaller = tmp_path / "whole", tmp_path / "smaller"
    assert run("machine", "convert", disk, "--to", whole) == 0
    assert run("machine", "convert", disk, "--to", smaller, "--remove", tmp_path) == 0
    (row,) = json.loads((smaller / "conversion.json").read_text())["removed"]
    assert row["path"] == "/usr/share/noise"
    assert row["bytes"] >= 8 * MIB
    sizes = [(directory / "disk.qcow2").stat().st_size for directory in (whole, smaller)]
    assert sizes[0] - sizes[1] > 7 * MIB


KILLED = """
import os, signal, sys
from connector.cli.main import main
from connector.conversion import boot_check, conversion, virtual_machine
from connector.conversion.guest_disks import GuestDisks
count, limit = 0, int(sys.argv.pop(1))
def counted(real):
    def call(*words, **named):
        global count
        count += 1
        if count == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **named)
    return call
GuestDisks._exchange = counted(GuestDisks._exchange)
conversion.qemu_img = counted(conversion.qemu_img)
conversion.files.move = counted(conversion.files.move)
virtual_machine.qemu_img = counted(virtual_machine.qemu_img)
boot_check.scratch_directory = counted(boot_check.scratch_directory)
boot_check.started = counted(boot_check.started)
sys.exit(main())
"""
#: Calls to libguestfs, qemu-img, rename and QEMU: a process is killed before each of these, by its number.
MOMENTS = (1, 2, 3, 5, 8, 12, 17, 23, 30, 38, 47, 57, 68, 76, 82, 86, 88, 90, 91, 92, 93, 94, 95, 96)


def killed_before(moment: int, command: list[str], scratch: Path) -> bool:
    """Whether the command was killed; False when it ended before that moment."""
    words = [sys.executable, "-c", KILLED, str(moment), *command]
    done = subprocess.run(words, capture_output=True, check=False, env=os.environ | {"TMPDIR": str(scratch)})
    assert done.returncode in (0, 13, -signal.SIGKILL), done.stderr
    eventually(lambda: not machines(scratch), "the virtual machines are gone")
    return done.returncode == -signal.SIGKILL


def hidden(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith((".connector", "connector-"))]


def test_a_killed_conversion_leaves_the_base_and_can_be_repeated(disk: Path, tmp_path: Path) -> None:
    before, target = digest(disk.read_bytes()), tmp_path / "converted"
    command = ["machine", "convert", str(disk), "--to", str(target)]
    count = 0
    for moment in MOMENTS:
        if not killed_before(moment, command, tmp_path):
            break
        count += 1
        assert digest(disk.read_bytes()) == before
        assert not target.exists()
    assert count >= 15, "so many moments were tried"
    if not target.exists():
        assert run(*command) == 0
    assert hidden(tmp_path) == []
    assert digest(disk.read_bytes()) == before
    assert run("machine", "plan", target) == 0


def test_a_killed_drill_leaves_nothing(disk: Path, tmp_path: Path) -> None:
    """The guest has no kernel, so the drill that is not killed ends with a machine that does not boot."""
    before = digest(disk.read_bytes())
    command = ["machine", "drill", str(disk), "--timeout", "10"]
    for moment in MOMENTS[3::4]:
        killed_before(moment, command, tmp_path)
        assert digest(disk.read_bytes()) == before
    assert not killed_before(10_000, command, tmp_path)
    assert hidden(tmp_path) == []
    assert digest(disk.read_bytes()) == before
