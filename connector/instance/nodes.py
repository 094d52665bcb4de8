"""The nodes of a disk's digest table as the journal has them: 32 bytes for each page, in one flat array."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from typing import Final

from connector.instance.records import Grown, NodeRecord, Record, Run, TargetRecord
from connector.instance.state import DiskState
from connector.transfer import tree
from connector.transfer.digest import SIZE

SMALL: Final = 1 << 12  # pages, of a disk of 64 GiB
UNKNOWN: Final = b"\xff" * SIZE
"""The node of a page that the journal does not mention; no digest has this value."""


class NodeArray:
    """A page is blank until the journal says otherwise. Not for several threads at once: its owner has a lock.

    Memory that was never written costs nothing, so the array of a mostly blank disk is small.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self._count = capacity, tree.count(capacity)
        self._array = _array(self._count)

    def apply(self, record: Record, state: DiskState) -> None:
        """Apply one record, after `state` has applied it."""
        match record:
            case NodeRecord():
                self.put(record.runs)
            case Grown():
                self._resize(record.capacity)
            case TargetRecord() if state.unknown:
                self._array[: self._count * SIZE] = UNKNOWN * self._count

    def get(self, page: int) -> bytes:
        """The node of a page, or UNKNOWN."""
        return bytes(self._array[page * SIZE : (page + 1) * SIZE])

    def put(self, runs: Iterable[Run]) -> None:
        """Set the nodes of runs of pages. Pages beyond the disk are ignored."""
        array, last = self._array, self._count
        for first, count, nodes in runs:
            if first + count <= last and nodes:
                array[first * SIZE : (first + count) * SIZE] = nodes
            elif first < last:
                size = min(count, last - first) * SIZE
                array[first * SIZE : first * SIZE + size] = nodes[:size] or bytes(size)

    @property
    def root(self) -> bytes:
        """The root of the disk as it is now."""
        return tree.root(self._capacity, self._array[: self._count * SIZE])

    def _resize(self, capacity: int) -> None:
        """Resize. The last page may get more cells, and its last cell more bytes: then its node is unknown."""
        common = min(self._count, tree.count(capacity)) * SIZE
        wider = _array(tree.count(capacity))
        wider[:common] = self._array[:common]
        if common and self._capacity % tree.PAGE and wider[common - SIZE : common] != tree.BLANK:
            wider[common - SIZE : common] = UNKNOWN
        self._array, self._capacity, self._count = wider, capacity, tree.count(capacity)


def _array(count: int) -> memoryview:
    """An array of zeros. A small array is cheaper without a mapping of its own."""
    if count <= SMALL:
        return memoryview(bytearray(count * SIZE))
    return memoryview(mmap.mmap(-1, count * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
