"""Every byte of a disk has exactly one reason: pieces that tile `[0, capacity)`, without gap and without overlap. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from connector.model import Extent
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK, CELL

SEGMENTS: Final = 2048  # pieces that a disk is cut into at most, besides where the reason changes


class Reason(StrEnum):
    """Why the target holds what it holds there. The letters stand in packed manifests."""

    DATA = "data"  # read from the source, and sent
    CHANGED = "changed"  # CBT said that it changed: read and sent
    ZERO = "zero"  # read, and it was zeros
    UNALLOCATED = "unallocated"  # not read: the source has nothing there, it reads as zeros
    EQUAL = "equal"  # read, and equal to what the target held
    UNCHANGED = "unchanged"  # not read: CBT said that it did not change since the base
    REPAIRED = "repaired"  # the proof found it wrong: read and sent again

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
    """What several claims say together: of two that overlap the earlier counts, and `rest` is what nobody claims.

    Neighbours have different reasons.
    """
    taken: list[Extent] = []
    pieces: list[Piece] = []
    for reason, extents in claims:
        mine = ranges.subtract(ranges.clip(extents, capacity), taken)
        pieces += [Piece(start, length, reason) for start, length in mine]
        taken = ranges.union(taken, mine)
    free = ranges.subtract(ranges.whole(capacity), taken)
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
    """The same, cut where a multiple of `size` is crossed."""
    for start, length, reason in pieces:
        for at, part in ranges.blocks([Extent(start, length)], size):
            yield Piece(at, part, reason)


def tiles(pieces: Iterable[tuple[int, int]], capacity: int) -> bool:
    """Whether ranges `(start, length)` cover `[0, capacity)` one after the other, in whole cells."""
    at = 0
    for start, length in pieces:
        if start != at or length <= 0 or start % CELL:
            return False
        at += length
    return at == capacity
