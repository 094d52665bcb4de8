"""The audit of CBT: some of what it calls unchanged is read from the source and compared with what the target holds.

The choice is a stratified one: the unchanged cells are cut into as many strata of equal size as cells are to be read, and
of each one is drawn. So every cell has the same chance, `share`; the number is exact; and the seed repeats it. A set of m
cells that CBT missed, wherever they lie, is caught with a probability of at least 1 - (1 - share)^m if no two of them are
in one stratum, and of m / size of the stratum if all are.
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

FEW: Final = 8  # cells that are read at least, however small the share
BATCH: Final = 4096  # cells whose digests are asked for together
DENSE: Final = (
    8  # a batch that covers more than one of so many cells asks the source what is allocated at all
)

Fetch = Callable[[Sequence[Extent], bool], bytes]
"""The digests of what the target holds; with True it is read, not looked up."""


@dataclass(slots=True)
class Audited:
    """What an audit did. `missed` are cells that differ although CBT calls them unchanged."""

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
    """The cells to look at, in ascending order. `unchanged` is made of whole cells, normalised."""
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
    """Read and compare. A cell of which only the target's table is wrong is no fault of CBT, and not listed.

    Raises what reading and asking raise; Interrupted after `halt`. Memory does not grow with the disk.
    """
    done = Audited(share, seed)
    cells = sample(unchanged, source.capacity, share, seed)
    while batch := list(islice(cells, BATCH)):
        wrong = _differing(source, fetch, batch, done, halt)
        done.cells += len(batch)
        if wrong:
            done.missed = ranges.union(done.missed, _confirmed(source, fetch, wrong, halt))
    return done


def _differing(
    source: BlockSource, fetch: Fetch, batch: list[Extent], done: Audited, halt: threading.Event | None
) -> list[Extent]:
    listed = fetch(batch, False)
    held = {cell.start: one for cell, one in zip(batch, digest.each(listed), strict=True)}
    wrong = []
    for cell, found in _read(source, batch, halt):
        done.read += cell.length
        if found != held.pop(cell.start):
            wrong.append(cell)
    for cell in batch:  # what is left was not read: the source has nothing there
        if held.get(cell.start, digest.zeros(cell.length)) != digest.zeros(cell.length):
            wrong.append(cell)
    return wrong


def _confirmed(
    source: BlockSource, fetch: Fetch, wrong: list[Extent], halt: threading.Event | None
) -> list[Extent]:
    """Of cells whose digest is not the one in the table: those where the target itself differs."""
    held = dict(zip((cell.start for cell in wrong), digest.each(fetch(wrong, True)), strict=True))
    return [cell for cell, found in _read(source, wrong, halt, sparse=False) if found != held[cell.start]]


def _read(
    source: BlockSource, batch: list[Extent], halt: threading.Event | None, *, sparse: bool = True
) -> Iterator[tuple[Extent, bytes]]:
    """Cells and their digests; unallocated ones may be left out when asking for them pays."""
    wanted = ranges.normalise(batch)
    span = Extent(wanted[0].start, wanted[-1].end - wanted[0].start)
    if sparse and ranges.covered(wanted) * DENSE > span.length:
        wanted = ranges.intersect(wanted, ranges.align(source.allocated(span), source.capacity))
    for block in source.read(wanted, halt):
        try:
            digests = digest.cells(block.data)
        finally:
            block.release()
        for number, found in enumerate(digest.each(digests)):
            start = block.offset + number * CELL
            yield Extent(start, min(CELL, source.capacity - start)), found
