"""Reads partition tables: MBR with its chain of logical partitions, GPT with its backup (UEFI 2.10, chapter 5)."""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from connector.offline.volumes import fat_sector, recognise
from connector.offline.window import Bytes, DiskSlice, UnreadableStructure

SECTOR: Final = 512
#: Bytes of a sector that tables may use: nearly every disk has 512, a native 4K disk has 4096.
_SECTORS: Final = (512, 4096, 2048, 1024)
_MOST: Final = 256  # entries of a GPT, logical partitions of a chain
_LARGEST_ENTRY: Final = 4096
_EXTENDED: Final = (0x05, 0x0F, 0x85)
PROTECTIVE: Final = 0xEE
LDM_MBR: Final = 0x42
_ENTRY: Final = struct.Struct("<B3sB3sII")  # boot flag, CHS, type, CHS, first sector, sectors
_GPT: Final = struct.Struct("<8sIIIIQQQQ16sQIII")

ESP: Final = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LDM: Final = ("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "af9b60a0-1431-4f62-bc68-3311714a69ad")
BIOS_BOOT: Final = "21686148-6449-6e6f-744e-656564454649"


@dataclass(frozen=True, slots=True)
class Partition:
    """`kind` is the type: two hex digits of an MBR, a GUID of a GPT."""

    number: int
    start: int  # bytes
    length: int
    kind: str
    name: str = ""
    active: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A disk's partition table. `scheme` is "mbr", "gpt" or ""; `damage` says what is wrong, and is "" otherwise."""

    scheme: str = ""
    partitions: tuple[Partition, ...] = ()
    damage: str = ""
    code: bool = False  # the first sector has boot code
    sector: int = SECTOR  # bytes of the table's sectors


def read(disk: Bytes) -> Table:
    """The disk's partition table. A disk without a table, or with a damaged one, gives a result too."""
    if disk.size < SECTOR:
        return Table()
    first = disk.read(0, SECTOR)
    entries = [_Line(*_ENTRY.unpack_from(first, 446 + 16 * n)) for n in range(4)]
    signed, code = first[510:512] == b"\x55\xaa", any(first[:440])
    protected = signed and any(entry.kind == PROTECTIVE for entry in entries)
    if protected or any(_header(disk, 1, sector) for sector in _SECTORS):
        return _read_gpt(disk, code)
    if not signed or _is_boot_sector(first) or any(entry.flag not in (0, 0x80) for entry in entries):
        return Table()
    sector = _counted_in(disk, entries)
    try:
        return Table("mbr", tuple(_mbr(disk, entries, sector)), code=code, sector=sector)
    except UnreadableStructure as wrong:
        return Table("mbr", tuple(_primary(entries, sector)), str(wrong), code, sector)


class _Line(NamedTuple):
    """A line of an MBR."""

    flag: int
    first_place: bytes
    kind: int
    last_place: bytes
    start: int
    sectors: int


def _is_boot_sector(first: bytes) -> bool:
    """Whether a file system begins at the first byte of the disk, without partitions."""
    return first[3:11] in (b"NTFS    ", b"-FVE-FS-", b"EXFAT   ") or bool(fat_sector(first))


def _counted_in(disk: Bytes, entries: Sequence[_Line]) -> int:
    """Bytes of an MBR's sectors. The MBR does not say it: the right size leads to a volume of a known kind."""
    for sector in _SECTORS[:2]:
        for part in _primary(entries, sector):
            if part.start < disk.size and recognise(DiskSlice(disk, part.start, part.length)).kind:
                return sector
    return SECTOR


def _primary(entries: Sequence[_Line], sector: int) -> list[Partition]:
    return [
        Partition(
            n, entry.start * sector, entry.sectors * sector, f"{entry.kind:02x}", active=entry.flag == 0x80
        )
        for n, entry in enumerate(entries, 1)
        if entry.kind and entry.sectors
    ]


def _mbr(disk: Bytes, entries: Sequence[_Line], sector: int) -> list[Partition]:
    partitions = _primary(entries, sector)
    for entry in entries:
        if entry.kind in _EXTENDED:
            partitions += _logical(disk, entry.start, sector)
    return partitions


def _logical(disk: Bytes, base: int, sector: int) -> list[Partition]:
    partitions: list[Partition] = []
    at = base
    for number in range(5, 5 + _MOST):
        raw = disk.read(at * sector, SECTOR)
        if raw[510:512] != b"\x55\xaa":
            raise UnreadableStructure("the chain of logical partitions is broken")
        entry, following = (_Line(*_ENTRY.unpack_from(raw, place)) for place in (446, 462))
        if entry.kind and entry.sectors:
            start, length = (at + entry.start) * sector, entry.sectors * sector
            partitions.append(
                Partition(number, start, length, f"{entry.kind:02x}", active=entry.flag == 0x80)
            )
        if following.kind not in _EXTENDED or not following.start:
            return partitions
        at = base + following.start
    raise UnreadableStructure("the chain of logical partitions has no end")


def _header(disk: Bytes, place: int, sector: int) -> tuple[int, ...] | None:
    """The fields of a GPT header with a right checksum: first entry's sector, count, size, checksum of the entries."""
    if place < 1 or (place + 1) * sector > disk.size:
        return None
    raw = disk.read(place * sector, SECTOR)
    magic, _, size, checksum, _, own, _, _, _, _, entries, count, each, total = _GPT.unpack_from(raw)
    if magic != b"EFI PART" or not _GPT.size <= size <= SECTOR or own != place:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:size]) != checksum:
        return None
    if not 0 < count <= _MOST or not 128 <= each <= _LARGEST_ENTRY:
        return None
    return entries, count, each, total


def _read_gpt(disk: Bytes, code: bool) -> Table:
    """Read the table with each sector size; the one with the least damage counts, 512 bytes first."""
    tables = [_gpt(disk, code, sector) for sector in _SECTORS]
    readable = [table for table in tables if table.partitions]
    return min(readable or tables, key=lambda table: len(table.damage))


def _gpt(disk: Bytes, code: bool, sector: int) -> Table:
    last = disk.size // sector - 1
    damage = []
    partitions: list[Partition] | None = None
    for place, name in ((1, "the GPT header"), (last, "the backup GPT at the end of the disk")):
        try:
            header = _header(disk, place, sector)
            if header is None:
                raise UnreadableStructure(f"{name} is not there, or damaged")
            entries = _entries(disk, header, name, sector)
            partitions = entries if partitions is None else partitions
        except UnreadableStructure as wrong:
            damage.append(str(wrong))
    return Table("gpt", tuple(partitions or ()), "; ".join(damage), code, sector)


def _entries(disk: Bytes, header: tuple[int, ...], table_name: str, sector: int) -> list[Partition]:
    place, count, each, checksum = header
    raw = disk.read(place * sector, count * each)
    if zlib.crc32(raw) != checksum:
        raise UnreadableStructure(f"{table_name} has damaged entries")
    partitions = []
    for number in range(count):
        entry = raw[number * each : number * each + 128]
        if any(entry[:16]):
            start, end = struct.unpack_from("<QQ", entry, 32)
            name = entry[56:128].decode("utf-16-le", "replace").partition("\0")[0]
            kind = str(uuid.UUID(bytes_le=entry[:16]))
            if end >= start:
                partitions.append(
                    Partition(number + 1, start * sector, (end - start + 1) * sector, kind, name)
                )
    return partitions
