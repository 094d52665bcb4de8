"""Cells are digested with BLAKE3: 32 bytes for each 64 KiB of plain bytes; the digest of a zero cell is the
zero test.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from blake3 import blake3

from connector.kinds import RangeState
from connector.transfer.extents import CELL

SIZE = 32
MARK = bytes(
    SIZE
)  # stands for the digest of zeros, in tables and on the way: it compresses, and a hole costs nothing


def cells(data: memoryview) -> bytes:
    """The digests of consecutive cells of `data`; only the last cell may be short. Releases the GIL."""
    if len(data) <= CELL:
        return bytes(blake3(data).digest()) if len(data) else b""
    return b"".join([blake3(data[at : at + CELL]).digest() for at in range(0, len(data), CELL)])


def count(length: int) -> int:
    """How many cells `length` bytes that start at a cell boundary have."""
    return -(-length // CELL)


def count_of(digests: bytes) -> int:
    """Of how many cells these are the digests."""
    return len(digests) // SIZE


@lru_cache(maxsize=64)
def zeros(length: int) -> bytes:
    """The digest of a cell of `length` zero bytes."""
    return bytes(blake3(bytes(length)).digest())


def marked(length: int, digests: bytes) -> bytes:
    """The digests of cells that have `length` bytes, with a mark in place of those of zeros."""
    if digests == _all_zeros(length):
        return bytes(len(digests))
    if zeros(CELL) not in digests and (length % CELL == 0 or digests[-SIZE:] != zeros(length % CELL)):
        return digests
    sizes = (min(CELL, length - at * CELL) for at in range(count(length)))
    return b"".join(
        MARK if one == zeros(size) else one for one, size in zip(each(digests), sizes, strict=True)
    )


def unmarked(length: int, entries: bytes) -> bytes:
    """The reverse of `marked`."""
    if MARK not in entries:
        return entries
    if entries == bytes(len(entries)):
        return _all_zeros(length)
    sizes = (min(CELL, length - at * CELL) for at in range(count(length)))
    return b"".join(
        zeros(size) if one == MARK else one for one, size in zip(each(entries), sizes, strict=True)
    )


def _all_zeros(length: int) -> bytes:
    """The digests of cells that have `length` bytes, all zero."""
    whole, rest = divmod(length, CELL)
    return zeros(CELL) * whole + (zeros(rest) if rest else b"")


def each(digests: bytes) -> Iterator[bytes]:
    """One after the other."""
    return (digests[at : at + SIZE] for at in range(0, len(digests), SIZE))


def root(digests: bytes) -> bytes:
    """One digest for a run of cells: BLAKE3 over the digests of its cells, in order."""
    return bytes(blake3(digests).digest())


def runs(length: int, digests: bytes, held: bytes = b"") -> Iterator[tuple[int, int, RangeState]]:
    """Cut `[0, length)` into `(start, end, kind)` runs of equal kind, by the digests of its cells.

    `held`: the digests of what the other side holds there; without them nothing is the same.
    """
    start, kind = 0, None
    for index in range(count(length)):
        at = index * CELL
        found = _kind(digests, held, index, min(CELL, length - at))
        if kind is None:
            kind = found
        elif found != kind:
            yield start, at, kind
            start, kind = at, found
    if kind is not None:
        yield start, length, kind


def _kind(digests: bytes, held: bytes, index: int, size: int) -> RangeState:
    own = digests[index * SIZE : (index + 1) * SIZE]
    if held and own == held[index * SIZE : (index + 1) * SIZE]:
        return RangeState.SAME
    return RangeState.ZERO if own == zeros(size) else RangeState.DATA
