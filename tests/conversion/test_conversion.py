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
    assert json.loads((target / "conversion.json").read_text()) == document
    assert digest(disk.read_bytes()) == before
    assert sorted(path.name for path in target.iterdir()) == [
        "conversion.json",
        "disk.qcow2",
        "machine.json",
        "machine.xml",
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
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


KILLED = """
import os, signal, sys
from connector.cli.main import main
from connector.conversion import conversion
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
main()
"""


@pytest.mark.parametrize("moment", [1, 60, 75, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_conversion_leaves_the_base_and_can_be_repeated(
    disk: Path, tmp_path: Path, moment: int
) -> None:
    """`moment`: the call to libguestfs, qemu-img or rename before which it is killed. 0: each in turn, until it ends."""
    before, target = digest(disk.read_bytes()), tmp_path / "converted"
    command = ["machine", "convert", disk, "--to", target]
    for limit in [moment] if moment else range(1, 200):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(limit), *map(str, command)], capture_output=True, check=False
        )
        assert digest(disk.read_bytes()) == before
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not target.exists()
        eventually(lambda: not machines(tmp_path), "libguestfs's machine is gone")
    if not target.exists():
        assert run(*command) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert run("machine", "plan", target) == 0
