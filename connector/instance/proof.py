"""Proof: read a whole target again and compare every cell with the digest that came from the source.

A cell whose entry is 32 zero bytes (zero, or never allocated) must read as zeros. A page of the table must have the node
that the journal says; of one that has not, no cell is proved, unless table and target together tell what it must be.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from connector.instance.digests import DigestTable
from connector.instance.nodes import UNKNOWN
from connector.instance.table import resolved
from connector.model import Extent
from connector.transfer import digest, tree
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK, CELL
from connector.transfer.roots import Roots
from connector.transfer.target import Target
from connector.transfer.tree import ENTRIES, PAGE

LISTED = 100  # mismatches in an answer, at most
KEPT = 1 << 16  # mismatches that are told apart; of more, neighbours are taken together
WORKERS = 2
STRIDE = 64 << 20  # bytes of one work item


@dataclass(slots=True)
class Proof:
    """Bytes by their reason: `data` compared with a digest, `zero` read as zeros, `holes` known to be zeros
    without reading. `source` and `target` are the roots of the parts that were asked for, `root` and `source_root`
    those of the disk: as it was read, and as the table has it.
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
        """What was found in one stride."""
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
    """What one work item found."""

    data: int = 0
    zero: int = 0
    holes: int = 0
    wrong: list[Extent] = field(default_factory=list)
    found: list[bytes] = field(default_factory=list)  # digests, of pieces in order
    held: list[bytes] = field(default_factory=list)  # the same, marked
    wanted: bytes = b""
    entries: bytes = b""


Node = Callable[[int], bytes]
"""The node that a page must have, or UNKNOWN."""


def prove(
    target: Target,
    table: DigestTable,
    stop: threading.Event | None = None,
    parts: Sequence[Extent] = (),
    node: Node = lambda _: UNKNOWN,
) -> Proof:
    """Read everything; roots of both ends for each of `parts`, which tile the disk.

    Mismatches are in the result, not raised. Raises TargetFailed. Ends within a block when `stop` is set: what was
    found wrong until then is in the result, which has no root.
    """
    capacity, stop = target.capacity, stop or threading.Event()
    proof = Proof(capacity)
    source, found = Roots(capacity, parts), Roots(capacity, parts)
    local = threading.local()

    def work(extent: Extent) -> _Part:
        if not hasattr(local, "room"):
            local.room = memoryview(bytearray(BLOCK))
        return _check(target, table, node, extent, local.room, stop)

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="proof") as pool:
        for part in _in_order(pool, work, capacity):
            if stop.is_set():  # the part may be short, and those that wait are empty
                proof.add(0, 0, 0, part.wrong)
                break
            source.feed(part.wanted, part.entries)
            for digests, entries in zip(part.found, part.held, strict=True):
                found.feed(digests, entries)
            proof.add(part.data, part.zero, part.holes, part.wrong)
    proof.mismatches = _bounded(proof.mismatches, capacity)
    if stop.is_set():
        return proof
    proof.root, proof.source_root = found.whole.hex(), source.whole.hex()
    proof.source, proof.target = tuple(source.found), tuple(found.found)
    return proof


def _bounded(extents: list[Extent], capacity: int) -> list[Extent]:
    """Merged; more than `KEPT` are widened until they run into each other."""
    unit, found = CELL, ranges.normalise(extents)
    while len(found) > KEPT:
        unit *= 16
        found = ranges.align(found, capacity, unit)
    return found


def _in_order(pool: ThreadPoolExecutor, work: Callable[[Extent], _Part], capacity: int) -> Iterator[_Part]:
    """Results in disk order, with only a few work items under way so that memory stays small."""
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
    part = _Part(wanted=digest.unmarked(extent.length, entries), entries=entries)
    if not doubtful and not any(entries) and target.reads_as_zero(extent):
        part.holes = extent.length
        part.found.append(part.wanted)
        part.held.append(entries)
        return part
    for piece in ranges.blocks([extent]):
        if stop.is_set():
            return part
        first = (piece.start - extent.start) // CELL * digest.SIZE
        view = room[: piece.length]
        target.read_into(piece.start, view)
        found = digest.cells(view)
        _compare(part, piece, found, entries[first : first + len(found)])
        part.found.append(found)
        part.held.append(digest.marked(piece.length, found))
    held = b"".join(part.held) if doubtful else b""
    for page in doubtful:
        first = (page.start - extent.start) // CELL * digest.SIZE
        _doubted(part, page, node(page.start // PAGE), held[first:], entries[first:])
    return part


def _doubtful(node: Node, extent: Extent, entries: bytes) -> Iterator[Extent]:
    """The pages of a range that have not the node that they must have."""
    for number, page in enumerate(ranges.blocks([extent], PAGE)):
        must = node(page.start // PAGE)
        if must != UNKNOWN and tree.node(entries[number * ENTRIES : (number + 1) * ENTRIES]) != must:
            yield page


def _doubted(part: _Part, page: Extent, must: bytes, held: bytes, entries: bytes) -> None:
    """The table is wrong there. What is, and what of the target, the node tells; or all of the page is in doubt."""
    size = digest.count(page.length) * digest.SIZE
    right, wrong = resolved(entries[:size], held[:size], must), [page]
    if right is not None:
        cells = zip(digest.each(right), digest.each(held), digest.each(entries), strict=False)
        places = (Extent(page.start + n * CELL, CELL) for n, found in enumerate(cells) if len(set(found)) > 1)
        wrong = ranges.intersect(places, [page])
    part.wrong = ranges.union(part.wrong, wrong)


def _compare(part: _Part, piece: Extent, found: bytes, wanted: bytes) -> None:
    for index in range(digest.count(piece.length)):
        at, start = index * digest.SIZE, index * CELL
        length = min(CELL, piece.length - start)
        entry = wanted[at : at + digest.SIZE]
        zero = entry == digest.MARK
        if found[at : at + digest.SIZE] != (digest.zeros(length) if zero else entry):
            part.wrong.append(Extent(piece.start + start, length))
        elif zero:
            part.zero += length
        else:
            part.data += length
