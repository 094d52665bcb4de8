"""Compression of one fragment. Whatever would not shrink goes uncompressed, and so does FastLZ.

SkipZ: u32 plain length, u32 0, then runs (u32 place, u32 length, bytes) of what is not zero, in order.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

NONE, ZLIB, FASTLZ, SKIPZ = range(4)
_BLOCK = 512
_NOTHING = bytes(_BLOCK)


def packed(data: bytes, wanted: int) -> tuple[int, bytes]:
    """The compression used and the bytes for the wire."""
    if wanted == ZLIB:
        small = zlib.compress(data, 1)
    elif wanted == SKIPZ:
        small = skipz(data)
    else:
        return NONE, data
    return (wanted, small) if len(small) < len(data) else (NONE, data)


def skipz(data: bytes) -> bytes:
    """`data` without its zeros, in units of sectors."""
    out = bytearray(struct.pack("<II", len(data), 0))
    for start, stop in _runs(data):
        out += struct.pack("<II", start, stop - start)
        out += data[start:stop]
    return bytes(out)


def _runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Where `data` has sectors that are not all zero."""
    if not data.strip(b"\0"):
        return
    begun: int | None = None
    for at in range(0, len(data), _BLOCK):
        block = data[at : at + _BLOCK]
        empty = block == _NOTHING[: len(block)]
        if empty and begun is not None:
            yield begun, at
            begun = None
        elif not empty and begun is None:
            begun = at
    if begun is not None:
        yield begun, len(data)
