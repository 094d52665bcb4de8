"""A FAT32 file system, just large enough a writer for an EFI system partition: directories, 8.3 names, whole
files.

After Microsoft's FAT specification of 2000; clusters of one sector.
"""

import struct
from pathlib import PurePosixPath

SECTOR = 512
_RESERVED, _COPIES = 32, 2
_END = 0x0FFFFFFF
_LEAST_CLUSTERS = 65_525  # fewer would make it FAT16 to every reader
_DATE, _TIME = (46 << 9 | 1 << 5 | 1), 0  # 2026-01-01 00:00
_DIRECTORY, _ARCHIVE = 0x10, 0x20


class Fat32:
    """Collects files; then `blocks()` gives the bytes and their offsets in the partition."""

    def __init__(self, size: int, serial: int) -> None:
        """`size` in bytes, at least 34 MiB."""
        self._sectors = size // SECTOR
        self._fat_sectors = -(-(self._sectors - _RESERVED) // (SECTOR // 4 + _COPIES))
        self._data_at = _RESERVED + _COPIES * self._fat_sectors
        if self._sectors - self._data_at < _LEAST_CLUSTERS:
            raise ValueError(f"FAT32 needs at least {_LEAST_CLUSTERS} clusters; {size} bytes are too few")
        self._serial = serial
        self._fat = [0x0FFFFFF8, _END]
        self._data: list[tuple[int, bytes]] = []

    def blocks(self, files: dict[str, bytes]) -> list[tuple[int, bytes]]:
        """(offset, bytes) of a file system with these files, by path such as "EFI/BOOT/BOOTX64.EFI"."""
        tree: dict[str, object] = {}
        for path, body in files.items():
            place = tree
            *folders, name = PurePosixPath(path).parts
            for folder in folders:
                place = place.setdefault(folder, {})  # type: ignore[assignment]
            place[name] = body
        self._directory(tree, None)
        table = b"".join(struct.pack("<I", entry) for entry in self._fat)
        table = table.ljust(self._fat_sectors * SECTOR, b"\0")
        copies = [((_RESERVED + n * self._fat_sectors) * SECTOR, table) for n in range(_COPIES)]
        boot, info = self._boot(), self._info()
        return [(0, boot), (SECTOR, info), (6 * SECTOR, boot), (7 * SECTOR, info), *copies, *self._data]

    def _directory(self, tree: dict[str, object], parent: int | None) -> int:
        """Write a directory and all below it; its first cluster."""
        dots = 0 if parent is None else 2
        size = (len(tree) + dots) * 32
        mine = self._allocate(max(size, 1))
        entries = b"" if parent is None else _entry(b".".ljust(11), _DIRECTORY, mine, 0)
        if parent is not None:
            entries += _entry(b"..".ljust(11), _DIRECTORY, 0 if parent == 2 else parent, 0)
        for name, body in tree.items():
            if isinstance(body, dict):
                entries += _entry(_short(name), _DIRECTORY, self._directory(body, mine), 0)
                continue
            if not isinstance(body, bytes):
                raise TypeError(f"{name} is neither a directory nor bytes")
            first = self._allocate(len(body)) if body else 0
            entries += _entry(_short(name), _ARCHIVE, first, len(body))
            self._store(first, body)
        self._store(mine, entries)
        return mine

    def _allocate(self, size: int) -> int:
        """A run of clusters for `size` bytes, chained; its first."""
        first, count = len(self._fat), -(-size // SECTOR)
        if self._data_at + first + count > self._sectors:
            raise ValueError("the files do not fit into the FAT file system")
        self._fat += [*range(first + 1, first + count), _END]
        return first

    def _store(self, first: int, body: bytes) -> None:
        if body:
            padded = body.ljust(-(-len(body) // SECTOR) * SECTOR, b"\0")
            self._data.append(((self._data_at + first - 2) * SECTOR, padded))

    def _boot(self) -> bytes:
        geometry = struct.pack(
            "<HBHBHHBHHHII", SECTOR, 1, _RESERVED, _COPIES, 0, 0, 0xF8, 0, 63, 255, 0, self._sectors
        )
        extended = struct.pack(
            "<IHHIHH12xBBBI", self._fat_sectors, 0, 0, 2, 1, 6, 0x80, 0, 0x29, self._serial
        )
        head = b"\xeb\x58\x90MSWIN4.1" + geometry + extended + b"NO NAME    FAT32   "
        return head.ljust(510, b"\0") + b"\x55\xaa"

    def _info(self) -> bytes:
        free = self._sectors - self._data_at - (len(self._fat) - 2)
        tail = struct.pack("<4sII12xI", b"rrAa", free, len(self._fat), 0xAA550000)
        return b"RRaA" + bytes(480) + tail


def _short(name: str) -> bytes:
    stem, _, suffix = name.upper().partition(".")
    if not stem or len(stem) > 8 or len(suffix) > 3:
        raise ValueError(f"{name!r} is no 8.3 name")
    return stem.encode("ascii").ljust(8) + suffix.encode("ascii").ljust(3)


def _entry(name: bytes, attributes: int, cluster: int, size: int) -> bytes:
    times = (_TIME, _DATE, _DATE)
    low, high = cluster & 0xFFFF, cluster >> 16
    return struct.pack("<11sBBBHHHHHHHI", name, attributes, 0, 0, *times, high, _TIME, _DATE, low, size)
