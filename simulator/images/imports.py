"""Imports disks: raw, qcow2 or VMDK files become sparse raw images of whole sectors.

The first bytes decide the format, never the name; only raw files need no qemu-img.
"""

import os
import subprocess
from pathlib import Path

from simulator.images.disks import MadeDisk
from simulator.images.ext4 import program
from simulator.images.tables import SECTOR, free_region

_MAGICS = ((b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"# Disk Descriptor", "vmdk"), (b"vhdxfile", "vhdx"))
_BLOCK = 1 << 20
_GRAIN = 4096
_ROOMY = 8 << 20  # bytes of a gap between partitions that are enough for a guest
_HOLE = 64 << 20  # bytes of a hole from which its middle half can be taken


def import_image(source: Path, target: Path) -> MadeDisk:
    """Make `target` from `source`; the capacity is rounded up to whole sectors, runs of zeros become holes.

    Raises ProgramMissing (qemu-utils), RuntimeError when the conversion fails, OSError.
    """
    kind = sniff(source)
    if kind == "raw":
        _copy_sparse(source, target)
    else:
        _convert(source, kind, target)
    capacity = -(-target.stat().st_size // SECTOR) * SECTOR
    if capacity == 0:
        raise ValueError(f"{source}: is empty")
    os.truncate(target, capacity)
    return MadeDisk(target, capacity, _scratch(target, capacity))


def _scratch(image: Path, capacity: int) -> tuple[int, int] | None:
    """Where a guest may write: a free region of the partition table, or the middle of the widest hole.

    A wide run of blocks that were never written belongs to no file; what a file system keeps at the edges of its
    groups (bitmaps, inode tables) stays out of the middle half of a hole of this width.
    """
    region = free_region(image, capacity)
    if region is not None and region[1] >= _ROOMY:
        return region
    with open(image, "rb") as file:
        data = _data(file.fileno(), capacity)
    edges = zip([0, *(stop for _, stop in data)], [*(start for start, _ in data), capacity], strict=True)
    start, stop = max(edges, key=lambda hole: hole[1] - hole[0])
    if stop - start < _HOLE:
        return region
    quarter = (stop - start) // 4 // _BLOCK * _BLOCK
    return -(-start // _BLOCK) * _BLOCK + quarter, 2 * quarter


def sniff(source: Path) -> str:
    """The format as qemu-img names it; "raw" when nothing else fits."""
    with open(source, "rb") as file:
        head = file.read(64)
    return next((name for magic, name in _MAGICS if head.startswith(magic)), "raw")


def _convert(source: Path, kind: str, target: Path) -> None:
    command = [program("qemu-img", "qemu-utils"), "convert", "-f", kind, "-O", "raw", "-S", "4k"]
    done = subprocess.run(
        [*command, "--", str(source), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{source}: qemu-img cannot convert it: {done.stderr.strip()}")


def _copy_sparse(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = reader.seek(0, os.SEEK_END)
        for start, stop in _data(reader.fileno(), size):
            for at in range(start, stop, _BLOCK):
                block = os.pread(reader.fileno(), min(_BLOCK, stop - at), at)
                _put_nonzero(writer.fileno(), block, at)
        writer.truncate(size)


def _put_nonzero(fd: int, block: bytes, at: int) -> None:
    if block.count(0) < _GRAIN:
        os.pwrite(fd, block, at)
        return
    for index in range(0, len(block), _GRAIN):
        grain = block[index : index + _GRAIN]
        if grain.count(0) != len(grain):
            os.pwrite(fd, grain, at + index)


def _data(fd: int, size: int) -> list[tuple[int, int]]:
    areas, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break  # nothing but a hole up to the end
        at = os.lseek(fd, start, os.SEEK_HOLE)
        areas.append((start, at))
    return areas
