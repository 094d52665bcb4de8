"""Extent arithmetic: every list that leaves this module is normalised: sorted, disjoint, and no two extents touch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from connector.model import Extent

BLOCK = 1 << 20
CELL = 1 << 16


def normalise(extents: Iterable[tuple[int, int]]) -> list[Extent]:
    """Sort, merge what overlaps or touches, drop what is empty."""
    ordered = sorted(extents)
    if not ordered:
        return []
    merged: list[Extent] = []
    make = tuple.__new__  # takes half the time of Extent(): journals have many thousands of extents
    first = after = ordered[0][0]  # of the extent that is being merged
    for start, length in ordered:
        if length <= 0:
            continue
        if start > after:
            if after > first:
                merged.append(make(Extent, (first, after - first)))
            first, after = start, start + length
        elif start + length > after:
            after = start + length
    if after > first:
        merged.append(make(Extent, (first, after - first)))
    return merged


def union(*lists: Iterable[tuple[int, int]]) -> list[Extent]:
    """The bytes of any of the lists."""
    return normalise(extent for extents in lists for extent in extents)


def intersect(left: Iterable[Extent], right: Iterable[Extent]) -> list[Extent]:
    """The bytes of both lists."""
    a, b = normalise(left), normalise(right)
    common: list[Extent] = []
    i = j = 0
    while i < len(a) and j < len(b):
        start, end = max(a[i].start, b[j].start), min(a[i].end, b[j].end)
        if start < end:
            common.append(Extent(start, end - start))
        if a[i].end <= b[j].end:
            i += 1
        else:
            j += 1
    return common


def subtract(left: Iterable[Extent], right: Iterable[Extent]) -> list[Extent]:
    """The bytes of `left` that are not in `right`."""
    holes = normalise(right)
    remaining: list[Extent] = []
    j = 0
    for extent in normalise(left):
        start = extent.start
        while j < len(holes) and holes[j].end <= start:
            j += 1
        k = j
        while k < len(holes) and holes[k].start < extent.end:
            if start < holes[k].start:
                remaining.append(Extent(start, holes[k].start - start))
            start = max(start, holes[k].end)
            k += 1
        if start < extent.end:
            remaining.append(Extent(start, extent.end - start))
    return remaining


def clip(extents: Iterable[Extent], capacity: int) -> list[Extent]:
    """The bytes inside `[0, capacity)`."""
    return intersect(extents, whole(capacity))


def within(extents: Sequence[Extent], extent: Extent) -> list[Extent]:
    """The part of a normalised list that lies inside `extent`; only that part of the list is read."""
    at = max(0, bisect_right(extents, extent.start, key=lambda e: e.start) - 1)
    inside = []
    while at < len(extents) and extents[at].start < extent.end:
        start, end = max(extents[at].start, extent.start), min(extents[at].end, extent.end)
        if start < end:
            inside.append(Extent(start, end - start))
        at += 1
    return inside


def whole(capacity: int) -> list[Extent]:
    """The disk as one extent; an empty disk has none."""
    return [Extent(0, capacity)] if capacity else []


def align(extents: Iterable[Extent], capacity: int, unit: int = CELL) -> list[Extent]:
    """Round outward to multiples of `unit`, clipped to `capacity` (so only the last unit may be short)."""
    return clip(
        (
            Extent(start := e.start - e.start % unit, -(-e.end // unit) * unit - start)
            for e in extents
            if e.length > 0
        ),
        capacity,
    )


def blocks(extents: Iterable[Extent], size: int = BLOCK) -> Iterator[Extent]:
    """Cut into pieces of at most `size` bytes that never cross a multiple of `size`; order is kept."""
    for start, length in extents:
        end = start + length
        while start < end:
            stop = min(end, start - start % size + size)
            yield Extent(start, stop - start)
            start = stop


def covered(extents: Iterable[Extent]) -> int:
    """How many bytes a normalised list names."""
    return sum(extent.length for extent in extents)


def to_json(extents: Iterable[Extent]) -> list[list[int]]:
    """`[[start, length], ...]`, the shape in which extents cross HTTP."""
    return [[start, length] for start, length in extents]


def from_json(body: object) -> list[Extent]:
    """The reverse of `to_json`, normalised. Raises ValueError on anything else."""
    if not isinstance(body, list):
        raise ValueError("extents must be a list of [start, length]")
    extents = []
    for pair in body:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair)):
            raise ValueError("an extent must be [start, length] in bytes")
        if pair[0] < 0 or pair[1] <= 0:
            raise ValueError(f"an extent must not be negative or empty: {pair}")
        extents.append(Extent(pair[0], pair[1]))
    return normalise(extents)
