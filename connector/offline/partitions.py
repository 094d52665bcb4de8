"""Partition tables: MBR with its chain of logical partitions, and GPT with its backup. UEFI specification 2.10, chapter 5."""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from typing import Final

from connector.offline.window import Bytes, Unreadable

SECTOR: Final = 512
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
    """What a disk says of itself. `scheme` is "mbr", "gpt" or ""; `damage` what is wrong with it, "" when nothing is."""

    scheme: str = ""
    partitions: tuple[Partition, ...] = ()
    damage: str = ""
    code: bool = False  # there is something to boot in the first sector


def read(disk: Bytes) -> Table:
    """The disk's partition table; one without any, or with nonsense in it, is an answer too."""
    if disk.size < SECTOR:
        return Table()
    first = disk.read(0, SECTOR)
    entries = [_ENTRY.unpack_from(first, 446 + 16 * n) for n in range(4)]
    signed, code = first[510:512] == b"\x55\xaa", any(first[:440])
    if (signed and any(entry[2] == PROTECTIVE for entry in entries)) or _header(disk, 1) is not None:
        return _read_gpt(disk, code)
    if not signed or _is_boot_sector(first) or any(entry[0] not in (0, 0x80) for entry in entries):
        return Table()
    try:
        return Table("mbr", tuple(_mbr(disk, entries)), code=code)
    except Unreadable as wrong:
        return Table("mbr", tuple(_primary(entries)), str(wrong), code)


def _is_boot_sector(first: bytes) -> bool:
    """A file system that begins at the first byte of the disk, without partitions."""
    return (
        first[3:11] in (b"NTFS    ", b"-FVE-FS-", b"EXFAT   ")
        or first[54:59] == b"FAT16"
        or first[82:87] == b"FAT32"
    )


def _primary(entries: list[tuple[int, bytes, int, bytes, int, int]]) -> list[Partition]:
    return [
        Partition(n, start * SECTOR, count * SECTOR, f"{kind:02x}", active=flag == 0x80)
        for n, (flag, _, kind, _, start, count) in enumerate(entries, 1)
        if kind and count
    ]


def _mbr(disk: Bytes, entries: list[tuple[int, bytes, int, bytes, int, int]]) -> list[Partition]:
    found = _primary(entries)
    for _, _, kind, _, start, _ in entries:
        if kind in _EXTENDED:
            found += _logical(disk, start)
    return found


def _logical(disk: Bytes, base: int) -> list[Partition]:
    found: list[Partition] = []
    at = base
    for number in range(5, 5 + _MOST):
        sector = disk.read(at * SECTOR, SECTOR)
        if sector[510:512] != b"\x55\xaa":
            raise Unreadable("the chain of logical partitions is broken")
        flag, _, kind, _, start, count = _ENTRY.unpack_from(sector, 446)
        if kind and count:
            found.append(
                Partition(number, (at + start) * SECTOR, count * SECTOR, f"{kind:02x}", active=flag == 0x80)
            )
        _, _, kind, _, start, _ = _ENTRY.unpack_from(sector, 462)
        if kind not in _EXTENDED or not start:
            return found
        at = base + start
    raise Unreadable("the chain of logical partitions has no end")


def _header(disk: Bytes, sector: int) -> tuple[int, ...] | None:
    """The numbers of a GPT header whose checksum is right: first entry's sector, count, size, checksum of the entries."""
    if (sector + 1) * SECTOR > disk.size:
        return None
    raw = disk.read(sector * SECTOR, SECTOR)
    magic, _, size, checksum, _, own, _, _, _, _, entries, count, each, total = _GPT.unpack_from(raw)
    if magic != b"EFI PART" or not _GPT.size <= size <= SECTOR or own != sector:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:size]) != checksum:
        return None
    if not 0 < count <= _MOST or not 128 <= each <= _LARGEST_ENTRY:
        return None
    return entries, count, each, total


def _read_gpt(disk: Bytes, code: bool) -> Table:
    last = disk.size // SECTOR - 1
    primary, backup = _header(disk, 1), _header(disk, last)
    damage = []
    found: list[Partition] | None = None
    for header, what in ((primary, "the GPT header"), (backup, "the backup GPT at the end of the disk")):
        try:
            if header is None:
                raise Unreadable(f"{what} is not there, or damaged")
            entries = _entries(disk, header, what)
            found = entries if found is None else found
        except Unreadable as wrong:
            damage.append(str(wrong))
    return Table("gpt", tuple(found or ()), "; ".join(damage), code)


def _entries(disk: Bytes, header: tuple[int, ...], what: str) -> list[Partition]:
    sector, count, each, checksum = header
    raw = disk.read(sector * SECTOR, count * each)
    if zlib.crc32(raw) != checksum:
        raise Unreadable(f"{what} has damaged entries")
    found = []
    for number in range(count):
        entry = raw[number * each : number * each + 128]
        if any(entry[:16]):
            start, end = struct.unpack_from("<QQ", entry, 32)
            name = entry[56:128].decode("utf-16-le", "replace").partition("\0")[0]
            kind = str(uuid.UUID(bytes_le=entry[:16]))
            if end >= start:
                found.append(Partition(number + 1, start * SECTOR, (end - start + 1) * SECTOR, kind, name))
    return found
