"""Reads files of a FAT12, FAT16 or FAT32 at rest, long names too. Layout: Microsoft's FAT specification of 2000.

Every count is bounded, so a circular chain of clusters ends too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from connector.offline.volumes import fat_sector
from connector.offline.window import Bytes, Missing, UnreadableStructure

_DIRECTORY, _LABEL, _LONG = 0x10, 0x08, 0x0F
_DELETED: Final = 0xE5
_MOST_DIRECTORY: Final = 2 << 20  # bytes: 65536 entries, as many as a directory can have
_MOST_CLUSTERS: Final = 1 << 16  # of one file
_SMALL, _MIDDLE = 4085, 65525  # clusters: fewer are FAT12, fewer are FAT16


class _Entry(NamedTuple):
    name: str
    short: str
    directory: bool
    cluster: int
    size: int


class Fat:
    """One file system. Every method raises UnreadableStructure; letter case of names does not matter."""

    def __init__(self, volume: Bytes) -> None:
        self._volume = volume
        boot = volume.read(0, 512)
        sector = fat_sector(boot)
        if not sector:
            raise UnreadableStructure("there is no FAT boot sector")
        per_cluster, reserved, copies, entries, small = struct.unpack_from("<BHBHH", boot, 13)
        large, wide = struct.unpack_from("<II", boot, 32)
        table = struct.unpack_from("<H", boot, 22)[0] or wide
        self._table, self._cluster = reserved * sector, per_cluster * sector
        self._fixed = self._table + copies * table * sector  # the root directory of FAT12 and FAT16
        self._entries = entries
        self._data = self._fixed + -(-entries * 32 // sector) * sector
        self._count = ((small or large) * sector - self._data) // self._cluster
        if self._count < 1:
            raise UnreadableStructure("the FAT boot sector makes no sense")
        self._bits = 12 if self._count < _SMALL else 16 if self._count < _MIDDLE else 32
        self._root = struct.unpack_from("<I", boot, 44)[0] if self._bits == 32 else 0

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        """The first `most` bytes of a file."""
        entry = self._find(path)
        if entry.directory:
            raise UnreadableStructure(f"{path} is no file")
        return self._content(entry.cluster, min(entry.size, most)) if entry.size else b""

    def names(self, path: str) -> list[str]:
        """The names in a directory."""
        entry = self._find(path)
        if not entry.directory:
            raise Missing(f"there is no directory {path}")
        return [entry.name for entry in self._listed(entry) if entry.name not in (".", "..")]

    def _find(self, path: str) -> _Entry:
        entry = _Entry("", "", True, self._root, 0)
        for word in path.split("/"):
            if not word:
                continue
            if not entry.directory:
                raise Missing(f"there is no {path}")
            folded = word.casefold()
            entry = next(
                (
                    listed
                    for listed in self._listed(entry)
                    if folded in (listed.name.casefold(), listed.short.casefold())
                ),
                _NONE,
            )
            if entry is _NONE:
                raise Missing(f"there is no {path}")
        return entry

    def _listed(self, directory: _Entry) -> Iterator[_Entry]:
        """Entries with their long names. The pieces of a long name come before the short name, the last piece first."""
        pieces: list[bytes] = []
        for raw in self._raw(directory):
            if raw[0] == _DELETED:
                pieces = []
            elif raw[11] & 0x3F == _LONG:
                pieces = [*([] if raw[0] & 0x40 else pieces), raw[1:11] + raw[14:26] + raw[28:32]]
            else:
                short = _short(raw)
                if not raw[11] & _LABEL:
                    high, low, size = (
                        *struct.unpack_from("<H4xH", raw, 20),
                        *struct.unpack_from("<I", raw, 28),
                    )
                    cluster = low | (high << 16 if self._bits == 32 else 0)
                    yield _Entry(_long(pieces) or short, short, bool(raw[11] & _DIRECTORY), cluster, size)
                pieces = []

    def _raw(self, directory: _Entry) -> Iterator[bytes]:
        if directory.cluster:
            data = self._content(directory.cluster, _MOST_DIRECTORY)
        elif self._bits == 32:  # ".." of a folder in the root
            data = self._content(self._root, _MOST_DIRECTORY)
        else:
            data = self._volume.read(self._fixed, self._entries * 32)
        for at in range(0, len(data) - 31, 32):
            if not data[at]:
                return
            yield data[at : at + 32]

    def _content(self, first: int, most: int) -> bytes:
        content = bytearray()
        for cluster in self._chain(first):
            content += self._volume.read(self._data + (cluster - 2) * self._cluster, self._cluster)
            if len(content) >= most:
                break
        return bytes(content[:most])

    def _chain(self, cluster: int) -> Iterator[int]:
        last = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[self._bits]
        for _ in range(min(self._count, _MOST_CLUSTERS)):
            if not 2 <= cluster < self._count + 2:
                raise UnreadableStructure("a FAT has a damaged chain of clusters")
            yield cluster
            cluster = self._next(cluster)
            if cluster >= last:
                return
        raise UnreadableStructure("a FAT has a chain of clusters without end")

    def _next(self, cluster: int) -> int:
        if self._bits == 12:
            (pair,) = struct.unpack("<H", self._volume.read(self._table + cluster * 3 // 2, 2))
            return int(pair >> 4 if cluster & 1 else pair & 0xFFF)
        size, layout = (2, "<H") if self._bits == 16 else (4, "<I")
        (value,) = struct.unpack(layout, self._volume.read(self._table + cluster * size, size))
        return int(value & 0x0FFFFFFF)


_NONE: Final = _Entry("", "", False, 0, 0)


def _short(raw: bytes) -> str:
    stem, suffix = (raw[low:high].decode("cp437").rstrip() for low, high in ((0, 8), (8, 11)))
    stem = stem.lower() if raw[12] & 0x08 else stem
    suffix = suffix.lower() if raw[12] & 0x10 else suffix
    return f"{stem}.{suffix}" if suffix else stem


def _long(pieces: list[bytes]) -> str:
    text = b"".join(reversed(pieces)).decode("utf-16-le", "replace")
    return text.partition("\0")[0]
