"""Cells are digested with BLAKE3: 32 bytes for each 64 KiB of plain bytes; the digest of a zero cell is the
zero test.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from blake3 import blake3

from connector.transfer.extents import CELL

SIZE = 32


def cells(data: memoryview) -> bytes:
    """The digests of consecutive cells of `data`; only the last cell may be short. Releases the GIL."""
    if len(data) <= CELL:
        return bytes(blake3(data).digest()) if len(data) else b""
    return b"".join([blake3(data[at : at + CELL]).digest() for at in range(0, len(data), CELL)])


def count(length: int) -> int:
    """How many cells `length` bytes that start at a cell boundary have."""
    return -(-length // CELL)


@lru_cache(maxsize=64)
def zeros(length: int) -> bytes:
    """The digest of a cell of `length` zero bytes."""
    return bytes(blake3(bytes(length)).digest())


def runs(length: int, digests: bytes) -> Iterator[tuple[int, int, bool]]:
    """Cut `[0, length)` into `(start, end, is_zero)` runs of equal kind, by the digests of its cells."""
    start, kind = 0, None
    for index in range(count(length)):
        at = index * CELL
        size = min(CELL, length - at)
        zero = digests[index * SIZE : (index + 1) * SIZE] == zeros(size)
        if kind is None:
            kind = zero
        elif zero != kind:
            yield start, at, kind
            start, kind = at, zero
    if kind is not None:
        yield start, length, kind
