"""The changes of one window to the digest table: pages, their new entries, and their nodes. Pure.

Entries wait here until the window is committed. Pages that change in part are read only then.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import groupby

from connector.instance.records import NodeRecord, Pages
from connector.model import Extent
from connector.transfer import digest, tree
from connector.transfer import extents as ranges
from connector.transfer.extents import CELL
from connector.transfer.tree import PAGE

Load = Callable[[int], bytes]
"""Returns the entries of a page before the change."""


def extent_of(page: int, capacity: int) -> Extent:
    """The range of the disk that a page is about."""
    return Extent(page * PAGE, min(PAGE, capacity - page * PAGE))


class Pending:
    """Entries that are not in the table yet, in their order; for one thread at a time."""

    def __init__(self) -> None:
        self._items: list[tuple[Extent, bytes]] = []  # without entries: all marks

    def write(self, extent: Extent, entries: bytes) -> None:
        self._items.append((extent, entries))

    def zero(self, extent: Extent) -> None:
        """Mark a range of any length; a range that begins at the end of the last one joins it."""
        if self._items and not self._items[-1][1] and self._items[-1][0].end == extent.start:
            start = self._items.pop()[0].start
            extent = Extent(start, extent.end - start)
        self._items.append((extent, b""))

    def clear(self) -> None:
        self._items.clear()

    def cells(self, within: Extent) -> list[Extent]:
        """The parts of a range that change."""
        return ranges.intersect([within], (extent for extent, _ in self._items))

    def change(self, capacity: int, load: Load) -> TableChange:
        """The change to the table of a disk. Raises what `load` raises."""
        change = TableChange(capacity, load)
        for extent, entries in self._items:
            if entries:
                change.write(extent, entries)
            else:
                change.zero(extent)
        return change


class TableChange:
    """Whole pages of the table, as they are after a window."""

    def __init__(self, capacity: int, load: Load) -> None:
        self._capacity, self._load = capacity, load
        self._pages: dict[int, bytearray] = {}
        self._blank = _Runs()  # pages without an entry; `_pages` counts more

    def write(self, extent: Extent, entries: bytes) -> None:
        at = 0
        for piece in ranges.blocks([extent], PAGE):
            size = digest.count(piece.length) * digest.SIZE
            self._put(piece, entries[at : at + size])
            at += size

    def zero(self, extent: Extent) -> None:
        first = -(-extent.start // PAGE)
        after = tree.count(self._capacity) if extent.end == self._capacity else extent.end // PAGE
        if first >= after:
            self._marks(ranges.blocks([extent], PAGE))
            return
        self._blank.add(first, after)
        for page in [page for page in self._pages if first <= page < after]:
            del self._pages[page]
        head = Extent(extent.start, first * PAGE - extent.start)
        tail = Extent(after * PAGE, max(0, extent.end - after * PAGE))
        self._marks(part for part in (head, tail) if part.length)

    def record(self) -> NodeRecord:
        """The nodes of the pages."""
        nodes = [(page, tree.node(bytes(self._pages[page]))) for page in sorted(self._pages)]
        runs = [Pages(first, after - first) for first, after in self._blank]
        for _, group in groupby(enumerate(nodes), lambda row: (row[1][0] - row[0], row[1][1] == tree.BLANK)):
            rows = [row for _, row in group]
            blank = rows[0][1] == tree.BLANK
            runs.append(Pages(rows[0][0], len(rows), b"" if blank else b"".join(node for _, node in rows)))
        return NodeRecord(tuple(runs))

    def blank(self) -> Iterator[Extent]:
        """The ranges of the disk whose pages have no entry any more. Write them before the `pages`."""
        for first, after in self._blank:
            yield Extent(first * PAGE, min(after * PAGE, self._capacity) - first * PAGE)

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """The other pages, with their entries."""
        return ((page, bytes(self._pages[page])) for page in sorted(self._pages))

    def _marks(self, pieces: Iterator[Extent]) -> None:
        for piece in pieces:
            self._put(piece, bytes(digest.count(piece.length) * digest.SIZE))

    def _put(self, piece: Extent, entries: bytes) -> None:
        page = piece.start // PAGE
        size = digest.count(extent_of(page, self._capacity).length) * digest.SIZE
        page_entries = self._pages.get(page)
        if page_entries is None:
            fresh = len(entries) == size or page in self._blank
            page_entries = self._pages[page] = bytearray(size if fresh else self._load(page))
        first = piece.start % PAGE // CELL * digest.SIZE
        page_entries[first : first + len(entries)] = entries


class _Runs:
    """Runs of numbers, disjoint and in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._afters: list[int] = []

    def add(self, first: int, after: int) -> None:
        low, high = bisect_left(self._afters, first), bisect_right(self._firsts, after)
        if low < high:
            first, after = min(first, self._firsts[low]), max(after, self._afters[high - 1])
        self._firsts[low:high], self._afters[low:high] = [first], [after]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number < self._afters[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._firsts, self._afters, strict=True)))
