"""A cell's digest is 32 bytes of BLAKE3 over 64 KiB; a cell is zero when its digest is that of zeros."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from blake3 import blake3

from connector.kinds import RangeState
from connector.transfer.extents import CELL

SIZE = 32
#: Replaces the digest of zeros in tables and messages: it compresses well, and a hole needs no space.
MARK = bytes(SIZE)


def cells(data: memoryview) -> bytes:
    """The digests of consecutive cells of `data`; only the last cell may be short. Releases the GIL."""
    if len(data) <= CELL:
        return bytes(blake3(data).digest()) if len(data) else b""
    return b"".join([blake3(data[at : at + CELL]).digest() for at in range(0, len(data), CELL)])


def count(length: int) -> int:
    """How many cells `length` bytes that start at a cell boundary have."""
    return -(-length // CELL)


def count_of(digests: bytes) -> int:
    """The number of cells whose digests these are."""
    return len(digests) // SIZE


@lru_cache(maxsize=64)
def zeros(length: int) -> bytes:
    """The digest of a cell of `length` zero bytes."""
    return bytes(blake3(bytes(length)).digest())


def marked(length: int, digests: bytes) -> bytes:
    """The digests of cells of `length` bytes in all, with a mark in place of each digest of zeros."""
    if digests == _all_zeros(length):
        return bytes(len(digests))
    if zeros(CELL) not in digests and (length % CELL == 0 or digests[-SIZE:] != zeros(length % CELL)):
        return digests
    sizes = (min(CELL, length - at * CELL) for at in range(count(length)))
    return b"".join(
        MARK if entry == zeros(size) else entry for entry, size in zip(each(digests), sizes, strict=True)
    )


def unmarked(length: int, entries: bytes) -> bytes:
    """The reverse of `marked`."""
    if MARK not in entries:
        return entries
    if entries == bytes(len(entries)):
        return _all_zeros(length)
    sizes = (min(CELL, length - at * CELL) for at in range(count(length)))
    return b"".join(
        zeros(size) if entry == MARK else entry for entry, size in zip(each(entries), sizes, strict=True)
    )


def _all_zeros(length: int) -> bytes:
    """The digests of zero cells of `length` bytes in all."""
    full, rest = divmod(length, CELL)
    return zeros(CELL) * full + (zeros(rest) if rest else b"")


def each(digests: bytes) -> Iterator[bytes]:
    """The digests, one by one."""
    return (digests[at : at + SIZE] for at in range(0, len(digests), SIZE))


def root(digests: bytes) -> bytes:
    """One digest for a run of cells: BLAKE3 over the digests of its cells, in order."""
    return bytes(blake3(digests).digest())


def runs(length: int, digests: bytes, target: bytes = b"") -> Iterator[tuple[int, int, RangeState]]:
    """Cut `[0, length)` into runs `(start, end, state)` of one range state, by the digests of the cells.

    `target`: the digests of the target's cells there; without them no run is `same`.
    """
    start, state = 0, None
    for index in range(count(length)):
        at = index * CELL
        cell_state = _state(digests, target, index, min(CELL, length - at))
        if state is None:
            state = cell_state
        elif cell_state != state:
            yield start, at, state
            start, state = at, cell_state
    if state is not None:
        yield start, length, state


def _state(digests: bytes, target: bytes, index: int, size: int) -> RangeState:
    own = digests[index * SIZE : (index + 1) * SIZE]
    if target and own == target[index * SIZE : (index + 1) * SIZE]:
        return RangeState.SAME
    return RangeState.ZERO if own == zeros(size) else RangeState.DATA
