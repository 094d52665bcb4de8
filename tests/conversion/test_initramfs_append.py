"""What is appended to an initramfs: a second reader finds it, whatever the first archive is packed with."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from connector.conversion import initramfs_append
from connector.conversion.initramfs_append import appended, archive, kernel_modules
from connector.offline import initramfs
from connector.offline.window import UnreadableStructure
from tests.conversion.guest_files import GuestFiles

VERSION = "6.1.0-1-amd64"
HOME = f"/lib/modules/{VERSION}"
BLOCK = "kernel/drivers/block/virtio_blk.ko"
RING = "kernel/drivers/virtio/virtio_ring.ko.xz"
ROOT = GuestFiles(
    {
        f"{HOME}/modules.dep": f"{BLOCK}: {RING}\n{RING}:\nkernel/drivers/scsi/vmw_pvscsi.ko:\n".encode(),
        f"{HOME}/modules.builtin": b"kernel/drivers/virtio/virtio-pci.ko\n",
        f"{HOME}/modules.alias": b"alias virtio:d00000002v* virtio_blk\n",
        f"{HOME}/modules.dep.bin": b"\xb0\x07\xf4\x57",
        f"{HOME}/{BLOCK}": b"block driver" * 1000,
        f"{HOME}/{RING}": b"ring driver",
    }
)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "zstd in two frames": lambda data: b"".join(
        map(zstandard.ZstdCompressor().compress, (data[:1000], data[1000:]))
    ),
    "gzip in two members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
}


def first(*names: str) -> bytes:
    """A plain archive with these files, some bytes of each."""
    files = {name: name.encode() * 100 for name in names}
    return archive(GuestFiles({}), [], kernel_modules(ROOT, VERSION), [], files)  # type: ignore[arg-type]


def addition(image: bytes) -> bytes:
    modules = kernel_modules(ROOT, VERSION)
    assert modules is not None
    names = list(initramfs.names(image))
    missing = initramfs_append.missing(names, modules)
    return appended(len(image), archive(ROOT, names, modules, missing, {"/etc/x.link": b"[Match]\n"}))


@pytest.mark.parametrize("packed", PACKERS)
def test_both_archives_are_read(packed: str) -> None:
    image = PACKERS[packed](first("init", "usr/lib/modules/x"))
    names = list(initramfs.names(image + addition(image)))
    assert names[0] == "init"
    assert f"usr/lib/modules/{VERSION}/{BLOCK}" in names
    assert f"usr/lib/modules/{VERSION}/{RING}" in names
    assert "etc/x.link" in names
    modules = kernel_modules(ROOT, VERSION)
    assert modules is not None
    assert initramfs_append.missing(names, modules) == []


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio")
def test_another_reader_unpacks_the_same_bytes(tmp_path: Path) -> None:
    image = first("init")
    data = addition(image).lstrip(b"\0")
    subprocess.run(["cpio", "-idm", "--quiet"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / f"lib/modules/{VERSION}" / BLOCK).read_bytes() == b"block driver" * 1000
    assert (tmp_path / "etc/x.link").read_text() == "[Match]\n"


def test_directories_that_are_there_are_not_made_again() -> None:
    """In an initramfs `lib` is often a link; an entry of that name would replace it."""
    image = first("usr/lib/modules/x", "etc/fstab")
    names = list(initramfs.names(image))
    new = list(initramfs.names(addition(image).lstrip(b"\0")))
    assert not set(new) & set(names)
    assert "lib" not in new


def test_builtin_drivers_are_present_and_unknown_ones_are_absent() -> None:
    modules = kernel_modules(ROOT, VERSION)
    assert modules is not None
    assert initramfs_append.missing(["init"], modules) == ["virtio_blk"]
    assert initramfs_append.absent(modules) == []
    assert kernel_modules(ROOT, "other") is None
    bare = GuestFiles({f"{HOME}/modules.dep": b"kernel/drivers/scsi/vmw_pvscsi.ko:\n"})
    modules = kernel_modules(bare, VERSION)
    assert modules is not None
    assert initramfs_append.absent(modules) == ["virtio_pci", "virtio_blk"]


@given(st.integers(0, 4096), st.binary(max_size=64))
def test_the_archive_begins_at_a_multiple_of_four(size: int, data: bytes) -> None:
    assert (size + len(appended(size, data)) - len(data)) % 4 == 0


@given(st.sampled_from(sorted(PACKERS)), st.integers(0), st.binary(min_size=1, max_size=4))
def test_damaged_images_are_refused_or_read(packed: str, place: int, damage: bytes) -> None:
    """A reader of hostile bytes ends with names, or with the one error that says so."""
    image = bytearray(PACKERS[packed](first("init", "etc/fstab")))
    place %= len(image)
    image[place : place + len(damage)] = damage
    with suppress(UnreadableStructure):
        assert len(list(initramfs.names(bytes(image)))) < 100
