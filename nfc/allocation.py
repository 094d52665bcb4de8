"""Which questions answer what is allocated, and how bitmaps become extents. Pure.

Start and length are whole chunks, else the host answers with an error [P]. What remains of a disk after its last whole chunk
cannot be asked for and counts as allocated. At most 524288 chunks per question, as with VDDK [?].
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from nfc.errors import OutOfRange
from nfc.spec import Extent

MOST_CHUNKS: Final = 524288
_ONES: Final = re.compile("1+")


class Window(NamedTuple):
    """Whole chunks to ask for, in bytes, and whether asking is possible at all."""

    start: int
    length: int
    answerable: bool


def bitmap_size(count: int) -> int:
    """Bytes of a bitmap of so many chunks: one bit each, padded to 4 bytes [P]."""
    return -(-count // 32) * 4


def bitmap_extents(bitmap: bytes, count: int, start: int, chunk: int) -> list[Extent]:
    """Runs of ones, least significant bit first [P]. Bits beyond `count` are padding and mean nothing."""
    ones = int.from_bytes(bitmap, "little") & ((1 << count) - 1)
    bits = bin(ones)[:1:-1]
    return [
        Extent(start + run.start() * chunk, (run.end() - run.start()) * chunk) for run in _ONES.finditer(bits)
    ]


def windows(capacity: int, start: int, length: int, chunk: int) -> Iterator[Window]:
    """Covers [start, start+length) of a disk, ascending; only the last one can be unanswerable (the tail)."""
    whole = capacity - capacity % chunk
    position = start - start % chunk
    end = min(-(-(start + length) // chunk) * chunk, whole)
    while position < end:
        step = min(end - position, MOST_CHUNKS * chunk)
        yield Window(position, step, answerable=True)
        position += step
    if length and start + length > whole:
        yield Window(whole, capacity - whole, answerable=False)


def merged(extents: Iterable[Extent], start: int, length: int) -> Iterator[Extent]:
    """Ascending extents, clipped to the window, neighbours joined."""
    first, last = start, start
    for extent in extents:
        low, high = max(extent.start, start), min(extent.start + extent.length, start + length)
        if low >= high:
            continue
        if low > last:
            if last > first:
                yield Extent(first, last - first)
            first = low
        last = max(last, high)
    if last > first:
        yield Extent(first, last - first)


def extents(
    ask: Callable[[Window], Iterable[Extent]], capacity: int, start: int, length: int, chunk: int
) -> Iterator[Extent]:
    """Allocated ranges of [start, start+length), asking for one window at a time, as late as possible."""

    def blocks() -> Iterator[Extent]:
        for window in windows(capacity, start, length, chunk):
            if window.answerable:
                yield from ask(window)
            else:
                yield Extent(window.start, window.length)

    if start < 0 or length < 0 or start + length > capacity:
        raise OutOfRange(start, length, capacity)
    return merged(blocks(), start, length)
