"""Partition tables, written and read: MBR, and GPT with its backup at the true end of the disk. Offsets are
bytes.

GPT after UEFI 2.10 section 5.3; the MBR's after its section 5.2.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

SECTOR = 512
ALIGNMENT = 1 << 20
LINUX, SCRATCH, PROTECTIVE = 0x83, 0xDA, 0xEE
EFI_SYSTEM = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_DATA = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
SCRATCH_DATA = UUID("5c7a7c40-51d2-4b5c-9c53-96c1a5d7a001")  # ours: a guest may overwrite it freely
_ENTRIES, _ENTRY = 128, 128
_TABLE_SECTORS = _ENTRIES * _ENTRY // SECTOR
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_MBR_ENTRY = struct.Struct("<B3sB3sII")


@dataclass(frozen=True)
class Partition:
    """[start, start + length) with a type: a number in an MBR, a UUID in a GPT."""

    start: int
    length: int
    type: int | UUID
    name: str = ""
    uuid: UUID | None = None

    @property
    def stop(self) -> int:
        return self.start + self.length


def mbr(partitions: list[Partition], signature: int) -> bytes:
    """The first sector of a disk with up to four primary partitions."""
    entries = b"".join(_mbr_entry(part, active=index == 0) for index, part in enumerate(partitions))
    return bytes(440) + struct.pack("<IH", signature, 0) + entries.ljust(64, b"\0") + b"\x55\xaa"


def _mbr_entry(part: Partition, *, active: bool) -> bytes:
    if not isinstance(part.type, int):
        raise TypeError(f"an MBR names types by numbers, not by {part.type}")
    flag = 0x80 if active and part.type != PROTECTIVE else 0
    sectors = min(part.length // SECTOR, 0xFFFFFFFF)
    return _MBR_ENTRY.pack(flag, b"\xfe\xff\xff", part.type, b"\xfe\xff\xff", part.start // SECTOR, sectors)


def gpt(partitions: list[Partition], disk: UUID, capacity: int) -> list[tuple[int, bytes]]:
    """The bytes of a GPT and their offsets: protective MBR and primary table at the start, backup and its header at the end."""
    table = b"".join(_gpt_entry(part) for part in partitions).ljust(_ENTRIES * _ENTRY, b"\0")
    last = capacity // SECTOR - 1
    protective = mbr([Partition(SECTOR, capacity // SECTOR * SECTOR - SECTOR, PROTECTIVE)], 0)
    primary = _gpt_header(1, last, 2, disk, table, last)
    backup = _gpt_header(last, 1, last - _TABLE_SECTORS, disk, table, last)
    return [
        (0, protective),
        (SECTOR, primary),
        (2 * SECTOR, table),
        ((last - _TABLE_SECTORS) * SECTOR, table),
        (last * SECTOR, backup),
    ]


def _gpt_entry(part: Partition) -> bytes:
    if not isinstance(part.type, UUID) or part.uuid is None:
        raise TypeError(f"a GPT names types and partitions by UUIDs, not by {part.type} and {part.uuid}")
    place = struct.pack("<QQQ", part.start // SECTOR, part.stop // SECTOR - 1, 0)
    return part.type.bytes_le + part.uuid.bytes_le + place + part.name.encode("utf-16-le").ljust(72, b"\0")


def _gpt_header(at: int, other: int, table_at: int, disk: UUID, table: bytes, last: int) -> bytes:
    def pack(crc: int) -> bytes:
        usable = (2 + _TABLE_SECTORS, last - _TABLE_SECTORS - 1)
        fixed = (b"EFI PART", 0x10000, _HEADER.size, crc, 0, at, other, *usable, disk.bytes_le)
        return _HEADER.pack(*fixed, table_at, _ENTRIES, _ENTRY, zlib.crc32(table))

    return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")


def read(image: Path) -> list[Partition]:
    """The partitions of an image, by start; empty when there is no valid table. Logical ones count as their
    container.
    """
    with open(image, "rb") as file:
        first = file.read(SECTOR)
        if len(first) < SECTOR or first[510:] != b"\x55\xaa":
            return []
        entries = [_MBR_ENTRY.unpack_from(first, 446 + 16 * n) for n in range(4)]
        if all(entry[2] != PROTECTIVE for entry in entries):
            parts = [
                Partition(e[4] * SECTOR, e[5] * SECTOR, e[2]) for e in entries if e[2] and e[0] in (0, 0x80)
            ]
            return sorted(parts, key=lambda part: part.start)
        header = file.read(SECTOR)
        if header[:8] != b"EFI PART":
            return []
        table_at, count, size, crc = struct.unpack_from("<QIII", header, 72)
        file.seek(table_at * SECTOR)
        table = file.read(min(count * size, 1 << 20))
    if size < _ENTRY or zlib.crc32(table) != crc:
        return []
    entries_at = range(0, len(table) - _ENTRY + 1, size)
    return sorted(
        (_parsed(table[at : at + _ENTRY]) for at in entries_at if any(table[at : at + 16])), key=_start
    )


def _parsed(entry: bytes) -> Partition:
    first, last = struct.unpack_from("<QQ", entry, 32)
    name = entry[56:128].decode("utf-16-le", "replace").rstrip("\0")
    kind, uuid = UUID(bytes_le=entry[:16]), UUID(bytes_le=entry[16:32])
    return Partition(first * SECTOR, (last - first + 1) * SECTOR, kind, name, uuid)


def _start(part: Partition) -> int:
    return part.start


def free_region(image: Path, capacity: int) -> tuple[int, int] | None:
    """(start, length) that a guest may overwrite without hurting a file system: a scratch partition, else
    the largest gap of at least 1 MiB behind or between partitions. None when there is none, or no partition
    table to trust.
    """
    parts = read(image)
    if not parts:
        return None
    for part in parts:
        if part.type in (SCRATCH, SCRATCH_DATA):
            return part.start, part.length
    at, gaps = ALIGNMENT, []
    end = (capacity - ALIGNMENT) // ALIGNMENT * ALIGNMENT  # the end may hold a GPT's backup
    for part in [*parts, Partition(end, 0, 0)]:
        gaps.append((part.start // ALIGNMENT * ALIGNMENT - at, at))
        at = max(at, -(-part.stop // ALIGNMENT) * ALIGNMENT)
    length, start = max(gaps)
    return (start, length) if length >= ALIGNMENT else None
