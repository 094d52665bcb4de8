"""Whole disks, sparse and the same for the same seed: BIOS system disk, EFI system disk, data disk.

A system disk keeps a scratch partition behind its file system: a workload may write there and the files stay
whole.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import UUID

from simulator.images import tables
from simulator.images.ext4 import write_ext4
from simulator.images.fat import Fat32
from simulator.images.tables import ALIGNMENT, Partition

_ESP = 40 << 20
_LEAST_ROOT = 16 << 20


@dataclass(frozen=True)
class MadeDisk:
    """A raw image. `scratch` is the (start, length) that may be overwritten without hurting a file system."""

    path: Path
    capacity: int
    scratch: tuple[int, int] | None


def make_bios_disk(
    path: Path, capacity: int, seed: int, content: int | None = None, host: str = "host"
) -> MadeDisk:
    """An MBR with an ext4 root and a scratch partition of an eighth of the disk.

    `content`: bytes of files, by default an eighth of the capacity. At least 32 MiB. Raises ProgramMissing,
    ValueError.
    """
    root, scratch = _divide(ALIGNMENT, capacity)
    _blank(path, capacity)
    parts = [Partition(*root, tables.LINUX), Partition(*scratch, tables.SCRATCH)]
    signature = int.from_bytes(_random(seed, "mbr").randbytes(4))
    _write(path, 0, [(0, tables.mbr(parts, signature))])
    write_ext4(path, *root, capacity // 8 if content is None else content, seed, host)
    return MadeDisk(path, capacity, scratch)


def make_efi_disk(
    path: Path, capacity: int, seed: int, content: int | None = None, host: str = "host"
) -> MadeDisk:
    """A GPT with an EFI system partition (FAT32), an ext4 root and a scratch partition.

    `content` as for BIOS. At least 72 MiB. Raises ProgramMissing, ValueError.
    """
    random = _random(seed, "gpt")
    root, scratch = _divide(ALIGNMENT + _ESP, capacity)
    _blank(path, capacity)
    kinds = ((tables.EFI_SYSTEM, "ESP"), (tables.LINUX_DATA, "root"), (tables.SCRATCH_DATA, "scratch"))
    places = ((ALIGNMENT, _ESP), root, scratch)
    parts = [
        Partition(*place, kind, name, _uuid(random))
        for place, (kind, name) in zip(places, kinds, strict=True)
    ]
    _write(path, 0, tables.gpt(parts, _uuid(random), capacity))
    loader = b"MZ" + random.randbytes(200_000)
    files = {"EFI/BOOT/BOOTX64.EFI": loader, "EFI/DEBIAN/GRUB.CFG": b"search --label root --set\n"}
    _write(path, ALIGNMENT, Fat32(_ESP, random.getrandbits(32)).blocks(files))
    write_ext4(path, *root, capacity // 8 if content is None else content, seed, host)
    return MadeDisk(path, capacity, scratch)


def make_data_disk(path: Path, capacity: int, seed: int, content: int | None = None) -> MadeDisk:
    """A disk without a file system: random runs, runs of zeros that were really written, and holes between
    them.
    """
    random = _random(seed, "data")
    _blank(path, capacity)
    left = min(capacity // 8 if content is None else content, capacity)
    with open(path, "r+b") as file:
        while left > 0:
            length = min(left, random.choice((4096, 65536, 1 << 20, 3 << 20)), capacity)
            file.seek(random.randrange(0, capacity - length + 1) // 4096 * 4096)
            file.write(bytes(length) if random.random() < 0.25 else random.randbytes(length))
            left -= length
    return MadeDisk(path, capacity, (0, capacity))


def _divide(start: int, capacity: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(start, length) of root and scratch partitions between `start` and 1 MiB before the end."""
    end = (capacity - ALIGNMENT) // ALIGNMENT * ALIGNMENT
    scratch = max(end // 8 // ALIGNMENT * ALIGNMENT, 4 * ALIGNMENT)
    root = end - scratch - start
    if capacity % tables.SECTOR or root < _LEAST_ROOT:
        raise ValueError(f"a system disk of {capacity} bytes is too small or no whole number of sectors")
    return (start, root), (start + root, scratch)


def _random(seed: int, what: str) -> Random:
    return Random(f"{what} {seed}")  # noqa: S311 - contents, not secrets


def _uuid(random: Random) -> UUID:
    return UUID(bytes=random.randbytes(16), version=4)


def _blank(path: Path, capacity: int) -> None:
    path.unlink(missing_ok=True)
    path.touch()
    os.truncate(path, capacity)


def _write(path: Path, origin: int, blocks: Iterable[tuple[int, bytes]]) -> None:
    with open(path, "r+b") as file:
        for offset, data in blocks:
            file.seek(origin + offset)
            file.write(data)
