"""Byte ranges are half-open; normalised lists are ascending, and no two ranges overlap or touch."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Area(NamedTuple):
    """`length` bytes from byte `start`."""

    start: int
    length: int

    @property
    def stop(self) -> int:
        return self.start + self.length


def merge(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Coalesce (start, stop) pairs that are already sorted by start; empty pairs vanish."""
    current: tuple[int, int] | None = None
    for start, stop in ranges:
        if stop <= start:
            continue
        if current is not None and start <= current[1]:
            current = (current[0], max(current[1], stop))
            continue
        if current is not None:
            yield current
        current = (start, stop)
    if current is not None:
        yield current


def rounded(ranges: Iterable[tuple[int, int]], unit: int, limit: int) -> list[Area]:
    """Widen sorted (start, stop) pairs to whole units, clip at `limit`, and coalesce."""
    wide = ((lo // unit * unit, min(-(-hi // unit) * unit, limit)) for lo, hi in ranges if lo < limit)
    return [Area(lo, hi - lo) for lo, hi in merge(wide)]


def union(*lists: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of several lists of (start, stop) pairs, sorted and coalesced."""
    return list(merge(sorted(pair for pairs in lists for pair in pairs)))


def subtract(wanted: Iterable[tuple[int, int]], present: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of `wanted` that are not in `present`; both are sorted (start, stop) pairs without overlap."""
    rest: list[tuple[int, int]] = []
    holes = list(present)
    for lo, hi in wanted:
        at = lo
        for start, stop in holes:
            if stop <= at or start >= hi:
                continue
            if start > at:
                rest.append((at, start))
            at = stop
        if at < hi:
            rest.append((at, hi))
    return rest
