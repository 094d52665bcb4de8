"""The child that opens disks: an answer that does not come ends it, and nothing of it is left."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from connector.conversion import guest_disks
from connector.conversion.guest_disks import GuestSystem, opened
from connector.conversion.virtual_machine import BootDisk
from connector.errors import BadInput, TargetFailed
from tests.processes import children
from tests.waiting import eventually


@pytest.fixture
def disk(tmp_path: Path) -> BootDisk:
    try:
        guest_disks.require_guestfs()
    except BadInput as missing:
        pytest.skip(f"needs libguestfs (Debian package python3-guestfs): {missing}")
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(1 << 20))
    return BootDisk(path, "raw")


def gone() -> bool:
    return not [child for child in children() if child.status() != psutil.STATUS_ZOMBIE and _is_ours(child)]


def _is_ours(process: psutil.Process) -> bool:
    try:
        return guest_disks.guest_program.__file__ in process.cmdline()
    except psutil.Error:
        return False


def test_an_answer_that_does_not_come_is_not_waited_for(disk: BootDisk, tmp_path: Path) -> None:
    late = opened([disk], tmp_path, "tcg", writable=False, patience=0.1)
    with pytest.raises(TargetFailed, match=r"open: no answer within 0 s"), late:
        raise AssertionError("it cannot have started")
    eventually(gone, "the child has ended")


def test_a_disk_that_is_not_there_is_said(disk: BootDisk, tmp_path: Path) -> None:
    missing = BootDisk(disk.path.with_name("none"), "raw")
    refused = opened([missing], tmp_path, "tcg", writable=False)
    with pytest.raises(TargetFailed, match=r"libguestfs failed \(open: .*none"), refused:
        raise AssertionError("it cannot have started")
    eventually(gone, "the child has ended")


def test_the_child_gets_no_secret_and_keeps_libguestfss_own_system(
    disk: BootDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its temporary directory goes with it; what libguestfs builds once must not be in there."""
    monkeypatch.setenv("CONNECTOR_PASSWORD", "hunter2")
    monkeypatch.delenv("LIBGUESTFS_CACHEDIR", raising=False)
    with opened([disk], tmp_path, "tcg", writable=False):
        child, *_ = (child for child in children() if _is_ours(child))  # others are its forks
        variables = child.environ()
    assert "hunter2" not in "".join(variables.values())
    assert variables["TMPDIR"] == str(tmp_path)
    assert variables["LIBGUESTFS_CACHEDIR"] == "/var/tmp"
    assert not list(tmp_path.glob(".guestfs-*"))


@pytest.mark.slow
def test_what_is_new_in_a_guest_with_selinux_has_the_label_of_its_directory(tmp_path: Path) -> None:
    """New directories too; a file system without labels, such as that of EFI, is no error."""
    if missing := [tool for tool in ("mke2fs", "debugfs", "mkfs.vfat") if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)} (Debian packages e2fsprogs, dosfstools)")
    label, root, efi = "system_u:object_r:etc_t:s0", tmp_path / "root.raw", tmp_path / "efi.raw"
    tree = tmp_path / "tree"
    for name in ("etc", "usr", "boot"):
        (tree / name).mkdir(parents=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, root, "64M"], check=True)
    for name in ("etc", "usr"):
        subprocess.run(["debugfs", "-w", "-R", f"ea_set /{name} security.selinux {label}", root], check=True)
    efi.write_bytes(bytes(64 << 20))
    subprocess.run(["mkfs.vfat", efi], check=True, stdout=subprocess.DEVNULL)
    disks = [BootDisk(root, "raw"), BootDisk(efi, "raw")]
    with opened(disks, tmp_path, "tcg", writable=True) as guest:
        mounts = {"/": "/dev/sda", "/boot": "/dev/sdb"}
        system = GuestSystem("/dev/sda", "linux", "fedora", "a guest", "x86_64", mounts)
        assert guest.mount(system, writable=True).unmounted == {}
        guest.write("/usr/local/lib/connector/first-boot", b"x", 0o755)
        guest.write("/boot/EFI/BOOT/BOOTX64.EFI", b"x", 0o644)
        guest.finish()
    for path in ("/usr/local", "/usr/local/lib/connector", "/usr/local/lib/connector/first-boot"):
        shown = subprocess.run(
            ["debugfs", "-R", f"ea_get {path} security.selinux", root],
            check=True,
            capture_output=True,
            text=True,
        )
        assert label in shown.stdout, path
