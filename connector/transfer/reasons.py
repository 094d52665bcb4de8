"""Every byte of a disk has exactly one reason: pieces that tile `[0, capacity)`, without gap and without overlap. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from connector.model import Extent
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK, CELL

SEGMENTS: Final = 2048  # the largest number of segments of a disk; a change of the reason cuts too


class Reason(StrEnum):
    """Why the target holds the bytes of a range. Packed manifests use the letters."""

    DATA = "data"  # read from the source, and sent
    CHANGED = "changed"  # changed as CBT says: read and sent
    ZERO = "zero"  # read, and all zeros
    UNALLOCATED = "unallocated"  # not read: the source has nothing there, it reads as zeros
    EQUAL = "equal"  # read, and equal to what the target held
    UNCHANGED = "unchanged"  # not read: unchanged since the base, as CBT says
    REPAIRED = "repaired"  # known to be wrong, or not trusted any more: delivered again, in any range state

    @property
    def letter(self) -> str:
        return _LETTERS[self]


_LETTERS: Final = {
    Reason.DATA: "d",
    Reason.CHANGED: "c",
    Reason.ZERO: "z",
    Reason.UNALLOCATED: "n",
    Reason.EQUAL: "e",
    Reason.UNCHANGED: "u",
    Reason.REPAIRED: "r",
}
BY_LETTER: Final = {letter: reason for reason, letter in _LETTERS.items()}


class Piece(NamedTuple):
    """A byte range and its reason."""

    start: int
    length: int
    reason: Reason

    @property
    def end(self) -> int:
        return self.start + self.length


Claim = tuple[Reason, Sequence[Extent]]


def tile(capacity: int, claims: Iterable[Claim], rest: Reason) -> list[Piece]:
    """The pieces of a disk by several claims. Where claims overlap, the earlier counts; `rest` is the reason of unclaimed bytes.

    Neighbours have different reasons.
    """
    claimed: list[Extent] = []
    pieces: list[Piece] = []
    for reason, extents in claims:
        own = ranges.subtract(ranges.clip(extents, capacity), claimed)
        pieces += [Piece(start, length, reason) for start, length in own]
        claimed = ranges.union(claimed, own)
    free = ranges.subtract(ranges.whole(capacity), claimed)
    pieces += [Piece(start, length, rest) for start, length in free]
    return list(_merged(sorted(pieces)))


def _merged(pieces: Iterable[Piece]) -> Iterator[Piece]:
    last: Piece | None = None
    for piece in pieces:
        if last is not None and piece.reason is last.reason:
            last = Piece(last.start, last.length + piece.length, last.reason)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def segment(capacity: int) -> int:
    """The size of the segments that a disk is cut into: a power of two, at least one block."""
    size = BLOCK
    while -(-capacity // size) > SEGMENTS:
        size *= 2
    return size


def cut(pieces: Iterable[Piece], size: int) -> Iterator[Piece]:
    """The same pieces, cut at every multiple of `size`."""
    for start, length, reason in pieces:
        for at, part in ranges.blocks([Extent(start, length)], size):
            yield Piece(at, part, reason)


def tiles(pieces: Iterable[tuple[int, int]], capacity: int) -> bool:
    """Whether ranges `(start, length)` cover `[0, capacity)` in order, without gap, in whole cells."""
    at = 0
    for start, length in pieces:
        if start != at or length <= 0 or start % CELL:
            return False
        at += length
    return at == capacity
