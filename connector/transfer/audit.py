"""The audit of CBT reads some cells that CBT calls unchanged, and compares them with the target.

The sample is stratified: the unchanged cells are cut into as many strata of equal size as cells are read, and one cell is
drawn from each stratum. So every cell has the same chance, `share`. The number of cells is exact, and the seed repeats the
sample. Let CBT have missed m cells anywhere. The audit catches them with a probability of at least 1 - (1 - share)^m if no
two of them are in one stratum, and of m / (size of the stratum) if all are in one.

The share is the field `Audit` of the job, or else `audit` of `TransferSettings`. What follows from a missed cell is decided by
`DiskCopy._audit` in `connector/appliance/passes/disk.py`.
"""

from __future__ import annotations

import random
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.extents import CELL
from connector.transfer.source import BlockSource

FEW: Final = 8  # the least number of cells that are read
BATCH: Final = 4096  # cells whose digests are asked for together
DENSE: Final = 8  # a batch that covers more than 1/8 of its span asks the source first what is allocated

Fetch = Callable[[Sequence[Extent], bool], bytes]
"""The digests of the target's cells: from its table, or, with True, of its bytes read again."""


@dataclass(slots=True)
class Audited:
    """The result of an audit. `missed` are cells that differ although CBT calls them unchanged."""

    share: float
    seed: int
    cells: int = 0
    read: int = 0  # bytes
    missed: list[Extent] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        return {
            "share": self.share,
            "seed": self.seed,
            "cells": self.cells,
            "read": self.read,
            "missed": ranges.to_json(self.missed),
        }


def sample(unchanged: Sequence[Extent], capacity: int, share: float, seed: int) -> Iterator[Extent]:
    """The cells to read, in ascending order. `unchanged` is made of whole cells, normalised."""
    bounds, total = [], 0
    for extent in unchanged:
        bounds.append(total)
        total += digest.count(extent.length)
    count = 0 if share <= 0 else min(total, max(FEW, round(total * share)))
    draw = random.Random(seed)  # noqa: S311 - it must be repeatable, not secret
    for number in range(count):
        first, after = number * total // count, (number + 1) * total // count
        cell = first + draw.randrange(after - first)
        at = bisect_right(bounds, cell) - 1
        start = unchanged[at].start + (cell - bounds[at]) * CELL
        yield Extent(start, min(CELL, capacity - start))


def audit(
    source: BlockSource,
    fetch: Fetch,
    unchanged: Sequence[Extent],
    share: float,
    seed: int,
    halt: threading.Event | None = None,
) -> Audited:
    """Read and compare. A cell for which only the target's table is wrong is no fault of CBT, and not listed.

    Raises what the source and `fetch` raise; Interrupted after `halt`. Memory does not grow with the disk.
    """
    result = Audited(share, seed)
    cells = sample(unchanged, source.capacity, share, seed)
    while batch := list(islice(cells, BATCH)):
        wrong = _differing(source, fetch, batch, result, halt)
        result.cells += len(batch)
        if wrong:
            result.missed = ranges.union(result.missed, _confirmed(source, fetch, wrong, halt))
    return result


def _differing(
    source: BlockSource, fetch: Fetch, batch: list[Extent], result: Audited, halt: threading.Event | None
) -> list[Extent]:
    digests = fetch(batch, False)
    expected = {cell.start: entry for cell, entry in zip(batch, digest.each(digests), strict=True)}
    wrong = []
    for cell, actual in _read(source, batch, halt):
        result.read += cell.length
        if actual != expected.pop(cell.start):
            wrong.append(cell)
    for cell in batch:  # the remaining cells were not read: the source has nothing there
        if expected.get(cell.start, digest.zeros(cell.length)) != digest.zeros(cell.length):
            wrong.append(cell)
    return wrong


def _confirmed(
    source: BlockSource, fetch: Fetch, wrong: list[Extent], halt: threading.Event | None
) -> list[Extent]:
    """The cells of `wrong` whose bytes on the target differ too; in the others only the table is wrong."""
    expected = dict(zip((cell.start for cell in wrong), digest.each(fetch(wrong, True)), strict=True))
    return [
        cell for cell, actual in _read(source, wrong, halt, sparse=False) if actual != expected[cell.start]
    ]


def _read(
    source: BlockSource, batch: list[Extent], halt: threading.Event | None, *, sparse: bool = True
) -> Iterator[tuple[Extent, bytes]]:
    """Cells and their digests. With `sparse`, unallocated cells may be left out."""
    extents = ranges.normalise(batch)
    span = Extent(extents[0].start, extents[-1].end - extents[0].start)
    if sparse and ranges.covered(extents) * DENSE > span.length:
        extents = ranges.intersect(extents, ranges.align(source.allocated(span), source.capacity))
    for block in source.read(extents, halt):
        try:
            digests = digest.cells(block.data)
        finally:
            block.release()
        for number, cell in enumerate(digest.each(digests)):
            start = block.offset + number * CELL
            yield Extent(start, min(CELL, source.capacity - start)), cell
