"""A proof reads the whole target again, and compares every cell with the digest that came from the source.

A cell whose entry is 32 zero bytes (zero, or never allocated) must read as zeros. A page of the table must have the node that
the journal has. If it does not, no cell of the page is proved, unless table and target together give a page with that node.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from connector.instance.checked_table import resolved
from connector.instance.digest_table import DigestTable
from connector.instance.nodes import UNKNOWN
from connector.model import Extent
from connector.transfer import digest, tree
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK, CELL
from connector.transfer.roots import Roots
from connector.transfer.target import Target
from connector.transfer.tree import ENTRIES, PAGE

LISTED = 100  # mismatches of an answer, at most
KEPT = 1 << 16  # mismatches that are kept apart; if there are more, neighbours are merged
WORKERS = 2
STRIDE = 64 << 20  # bytes of one work item


@dataclass(slots=True)
class Proof:
    """Proved bytes: `data` compared with a digest, `zero` read as zeros, `holes` known to be zeros without reading.

    `source` and `target` are the roots of the requested parts. `root` is the disk's root as it was read, `source_root` as
    the table has it.
    """

    capacity: int
    data: int = 0
    zero: int = 0
    holes: int = 0
    root: str = ""
    mismatches: list[Extent] = field(default_factory=list)
    mismatched: int = 0  # bytes
    source_root: str = ""
    source: tuple[bytes, ...] = ()
    target: tuple[bytes, ...] = ()

    def add(self, data: int, zero: int, holes: int, wrong: list[Extent]) -> None:
        """Add the result of one stride."""
        self.data, self.zero, self.holes = self.data + data, self.zero + zero, self.holes + holes
        self.mismatched += ranges.covered(wrong)
        self.mismatches += wrong
        if len(self.mismatches) > 2 * KEPT:
            self.mismatches = _bounded(self.mismatches, self.capacity)

    @property
    def proved(self) -> int:
        return self.data + self.zero + self.holes

    def to_json(self) -> dict[str, object]:
        return {
            "capacity": self.capacity,
            "data": self.data,
            "zero": self.zero,
            "holes": self.holes,
            "root": self.root,
            "mismatched": self.mismatched,
            "mismatches": ranges.to_json(self.mismatches[:LISTED]),
        }


@dataclass(slots=True)
class _Part:
    """The result of one work item."""

    data: int = 0
    zero: int = 0
    holes: int = 0
    wrong: list[Extent] = field(default_factory=list)
    actual: list[bytes] = field(default_factory=list)  # digests of the target, of pieces in order
    marked: list[bytes] = field(default_factory=list)  # the same digests, marked
    expected: bytes = b""  # digests of the table
    entries: bytes = b""  # the same digests, marked


Node = Callable[[int], bytes]
"""The node that a page must have, or UNKNOWN."""


def prove(
    target: Target,
    table: DigestTable,
    stop: threading.Event | None = None,
    parts: Sequence[Extent] = (),
    node: Node = lambda _: UNKNOWN,
) -> Proof:
    """Read the whole target; the result has the roots of both ends for each of `parts`, which tile the disk.

    Mismatches are in the result, and not raised. Raises TargetFailed. When `stop` is set, it ends within a block: then the
    result has the mismatches so far and no root.
    """
    capacity, stop = target.capacity, stop or threading.Event()
    proof = Proof(capacity)
    source_roots, target_roots = Roots(capacity, parts), Roots(capacity, parts)
    local = threading.local()

    def work(extent: Extent) -> _Part:
        if not hasattr(local, "room"):
            local.room = memoryview(bytearray(BLOCK))
        return _check(target, table, node, extent, local.room, stop)

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="proof") as pool:
        for part in _in_order(pool, work, capacity):
            if stop.is_set():  # the part may be incomplete, and the following ones are empty
                proof.add(0, 0, 0, part.wrong)
                break
            source_roots.feed(part.expected, part.entries)
            for digests, entries in zip(part.actual, part.marked, strict=True):
                target_roots.feed(digests, entries)
            proof.add(part.data, part.zero, part.holes, part.wrong)
    proof.mismatches = _bounded(proof.mismatches, capacity)
    if stop.is_set():
        return proof
    proof.root, proof.source_root = target_roots.whole.hex(), source_roots.whole.hex()
    proof.source, proof.target = tuple(source_roots.piece_roots), tuple(target_roots.piece_roots)
    return proof


def _bounded(extents: list[Extent], capacity: int) -> list[Extent]:
    """The extents merged; more than `KEPT` of them are widened until they touch."""
    unit, merged = CELL, ranges.normalise(extents)
    while len(merged) > KEPT:
        unit *= 16
        merged = ranges.align(merged, capacity, unit)
    return merged


def _in_order(pool: ThreadPoolExecutor, work: Callable[[Extent], _Part], capacity: int) -> Iterator[_Part]:
    """Results in disk order; only a few work items run at a time, so that memory stays small."""
    waiting = []
    for extent in ranges.blocks(ranges.whole(capacity), STRIDE):
        waiting.append(pool.submit(work, extent))
        if len(waiting) > WORKERS * 2:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _check(
    target: Target, table: DigestTable, node: Node, extent: Extent, room: memoryview, stop: threading.Event
) -> _Part:
    if stop.is_set():
        return _Part()
    entries = table.read(extent.start, extent.length)
    doubtful = list(_doubtful(node, extent, entries))
    part = _Part(expected=digest.unmarked(extent.length, entries), entries=entries)
    if not doubtful and not any(entries) and target.reads_as_zero(extent):
        part.holes = extent.length
        part.actual.append(part.expected)
        part.marked.append(entries)
        return part
    for piece in ranges.blocks([extent]):
        if stop.is_set():
            return part
        first = (piece.start - extent.start) // CELL * digest.SIZE
        view = room[: piece.length]
        target.read_into(piece.start, view)
        actual = digest.cells(view)
        _compare(part, piece, actual, entries[first : first + len(actual)])
        part.actual.append(actual)
        part.marked.append(digest.marked(piece.length, actual))
    marked = b"".join(part.marked) if doubtful else b""
    for page in doubtful:
        first = (page.start - extent.start) // CELL * digest.SIZE
        _doubted(part, page, node(page.start // PAGE), marked[first:], entries[first:])
    return part


def _doubtful(node: Node, extent: Extent, entries: bytes) -> Iterator[Extent]:
    """The pages of a range whose node is not the one in the journal."""
    for number, page in enumerate(ranges.blocks([extent], PAGE)):
        must = node(page.start // PAGE)
        if must != UNKNOWN and tree.node(entries[number * ENTRIES : (number + 1) * ENTRIES]) != must:
            yield page


def _doubted(part: _Part, page: Extent, must: bytes, marked: bytes, entries: bytes) -> None:
    """Add the wrong cells of a page whose node is wrong: those that the node shows, or all cells of the page."""
    size = digest.count(page.length) * digest.SIZE
    right, wrong = resolved(entries[:size], marked[:size], must), [page]
    if right is not None:
        cells = zip(digest.each(right), digest.each(marked), digest.each(entries), strict=False)
        places = (
            Extent(page.start + n * CELL, CELL)
            for n, entries_of in enumerate(cells)
            if len(set(entries_of)) > 1
        )
        wrong = ranges.intersect(places, [page])
    part.wrong = ranges.union(part.wrong, wrong)


def _compare(part: _Part, piece: Extent, actual: bytes, expected: bytes) -> None:
    for index in range(digest.count(piece.length)):
        at, start = index * digest.SIZE, index * CELL
        length = min(CELL, piece.length - start)
        entry = expected[at : at + digest.SIZE]
        zero = entry == digest.MARK
        if actual[at : at + digest.SIZE] != (digest.zeros(length) if zero else entry):
            part.wrong.append(Extent(piece.start + start, length))
        elif zero:
            part.zero += length
        else:
            part.data += length
