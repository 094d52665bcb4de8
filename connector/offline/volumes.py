"""Recognises a volume by the signature in its first 68 KiB; nothing else of it is read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from connector.offline.window import Bytes

_HEAD: Final = 0x11000

#: (offset, bytes, kind). Offsets and signatures as libblkid documents them; BitLocker: the OEM name of its boot sector.
_SIGNATURES: Final = (
    (3, b"-FVE-FS-", "bitlocker"),
    (3, b"MSWIN4.1\0\0\0\0", "vfat"),
    (0, b"LUKS\xba\xbe", "luks"),
    (3, b"NTFS    ", "ntfs"),
    (3, b"EXFAT   ", "exfat"),
    (0x438, b"\x53\xef", "ext"),
    (0, b"XFSB", "xfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    # a physical volume's label is in any of the first four sectors, of 512 bytes on each disk
    *((512 * place + 0x18, b"LVM2 001", "lvm") for place in (1, 0, 2, 3)),
    (0xFF6, b"SWAPSPACE2", "swap"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "raid"),
    (0, b"\xfc\x4e\x2b\xa9", "raid"),
    (82, b"FAT32   ", "vfat"),
    (54, b"FAT16   ", "vfat"),
    (54, b"FAT12   ", "vfat"),
    (0, b"RVRZ", "vmfs"),
)

#: Volumes that cannot be read without a key.
ENCRYPTED: Final = {"bitlocker": "BitLocker", "luks": "LUKS"}


@dataclass(frozen=True, slots=True)
class Volume:
    """The kind of a volume; "" when it is unknown. `blank`: it begins with zeros only."""

    kind: str = ""
    detail: str = ""
    blank: bool = False


def recognise(volume: Bytes) -> Volume:
    """The kind of a volume by its first bytes."""
    head = volume.read(0, min(_HEAD, volume.size))
    for offset, signature, kind in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return Volume(kind, _detail(kind, head))
    return Volume("vfat") if fat_sector(head) else Volume(blank=not any(head))


def fat_sector(head: bytes) -> int:
    """The sector size of a FAT that begins here, by its boot sector; 0 when there is no FAT."""
    if len(head) < 512 or head[510:512] != b"\x55\xaa" or head[0] not in (0xEB, 0xE9):
        return 0
    sector, cluster, reserved, copies = struct.unpack_from("<HBHB", head, 11)
    media, per_table, wide = head[21], *struct.unpack_from("<H12xI", head, 22)
    sound = sector in (512, 1024, 2048, 4096) and cluster and not cluster & (cluster - 1)
    return sector if sound and reserved and copies in (1, 2) and media >= 0xF0 and (per_table or wide) else 0


def _detail(kind: str, head: bytes) -> str:
    if kind == "luks":
        return f"version {struct.unpack_from('>H', head, 6)[0]}"
    if kind == "xfs":
        return f"version {struct.unpack_from('>H', head, 100)[0] & 0xF}"
    return ""
