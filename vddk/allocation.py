"""Splits a question about allocation into chunk queries, and turns the answers into extents. Pure.

Rules of the library: start and count are whole chunks, at most 524288 chunks per query, nothing past the
capacity. The rest of a disk after its last whole chunk cannot be queried, and counts as allocated.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from vddk.abi import MAX_CHUNKS
from vddk.errors import OutOfRange
from vddk.spec import Extent


class Window(NamedTuple):
    """Whole chunks to query, in bytes, and whether they can be queried."""

    start: int
    length: int
    answerable: bool


def windows(capacity: int, start: int, length: int, chunk: int) -> Iterator[Window]:
    """Covers [start, start+length) of a disk, ascending; only the last one can be unanswerable (the tail)."""
    whole = capacity - capacity % chunk
    position = start - start % chunk
    end = min(-(-(start + length) // chunk) * chunk, whole)
    while position < end:
        step = min(end - position, MAX_CHUNKS * chunk)
        yield Window(position, step, answerable=True)
        position += step
    if length and start + length > whole:
        yield Window(whole, capacity - whole, answerable=False)


def sound(blocks: Iterable[Extent], window: Window) -> bool:
    """Whether an answer is valid: ascending, not overlapping, not empty, inside the window."""
    position = window.start
    for block in blocks:
        if block.start < position or block.length <= 0:
            return False
        position = block.start + block.length
    return position <= window.start + window.length


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
