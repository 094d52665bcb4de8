"""Hives of Windows' registry, made from nothing. Layout: the libyal documentation of the regf format."""

from __future__ import annotations

import struct
from typing import Final

_NOWHERE: Final = 0xFFFFFFFF
_BIN: Final = 4096


def empty_hive(*, is_saved: bool = True) -> bytes:
    """A hive with a root key that has nothing. Unsaved: the second of its two sequence numbers is behind the first."""
    security = _cell(b"sk\0\0" + struct.pack("<IIII", 0, 0, 1, 20) + _descriptor())
    root_at = 32
    security_at = root_at + len(_cell(_root(0)))
    security = security[:8] + struct.pack("<II", security_at, security_at) + security[16:]
    cells = _cell(_root(security_at)) + security
    free = _BIN - 32 - len(cells)
    cells += struct.pack("<i", free) + bytes(free - 4)
    head = b"hbin" + struct.pack("<II8xQI", 0, _BIN, 0, 0)
    return _base(root_at, is_saved) + head + cells


def _base(root_at: int, is_saved: bool) -> bytes:
    head = b"regf" + struct.pack("<IIQIIIIII", 2, 2 if is_saved else 1, 0, 1, 3, 0, 1, root_at, _BIN)
    head = (head + struct.pack("<I", 1)).ljust(508, b"\0")
    total = 0
    for (word,) in struct.iter_unpack("<I", head):
        total ^= word
    return (head + struct.pack("<I", total)).ljust(4096, b"\0")


def _root(security_at: int) -> bytes:
    name = b"$$$PROTO.HIV"
    head = b"nk" + struct.pack("<HQII", 0x2C, 0, 0, 0)
    lists = struct.pack("<IIIIIIII", 0, 0, _NOWHERE, _NOWHERE, 0, _NOWHERE, security_at, _NOWHERE)
    return head + lists + struct.pack("<IIIIIHH", 0, 0, 0, 0, 0, len(name), 0) + name


def _descriptor() -> bytes:
    """A security descriptor that names nobody."""
    return struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)


def _cell(data: bytes) -> bytes:
    size = -(-(len(data) + 4) // 8) * 8
    return struct.pack("<i", -size) + data.ljust(size - 4, b"\0")
