"""The tree over a disk's digest table has a node for each page of cells, and one root. Pure.

An entry of the table is the digest of a cell, or 32 zero bytes where the cell reads as zeros (`digest.marked`). The node
of a page is BLAKE3 over its entries, or 32 zero bytes when all of them are zero bytes. The root is BLAKE3 over the
capacity (8 bytes, big-endian) and all nodes. So it can be computed from the bytes of an image alone.
"""

from __future__ import annotations

from typing import Final

from blake3 import blake3

from connector.transfer import digest
from connector.transfer.extents import CELL

CELLS: Final = 256  # of a page; the last page may have fewer
PAGE: Final = CELLS * CELL  # bytes of the disk
ENTRIES: Final = CELLS * digest.SIZE  # bytes of the table
BLANK: Final = digest.MARK  # the node of a page whose entries are all marks
_BLANK_PAGE: Final = bytes(ENTRIES)


def count(capacity: int) -> int:
    """How many pages a disk has."""
    return -(-capacity // PAGE)


def node(entries: bytes | memoryview) -> bytes:
    """The node of one page."""
    if entries == _BLANK_PAGE[: len(entries)]:
        return BLANK
    return bytes(blake3(entries).digest())


def nodes(entries: bytes) -> bytes:
    """The nodes of consecutive pages; only the last page may be short."""
    view = memoryview(entries)
    return b"".join([node(view[at : at + ENTRIES]) for at in range(0, len(view), ENTRIES)])


def root(capacity: int, listed: bytes | memoryview) -> bytes:
    """The root of a disk. `listed`: the nodes of all its pages, in order."""
    hasher = blake3(capacity.to_bytes(8, "big"))
    hasher.update(listed)
    return bytes(hasher.digest())


class Tree:
    """Gets the entries of consecutive cells from the start of the disk; not for several threads at once."""

    def __init__(self, capacity: int) -> None:
        self._hasher = blake3(capacity.to_bytes(8, "big"))
        self._open = bytearray()  # entries of a page that is not complete

    def feed(self, entries: bytes) -> None:
        """Add the entries of the next cells, marks included."""
        self._open += entries
        ready = len(self._open) // ENTRIES * ENTRIES
        if ready:
            self._hasher.update(nodes(bytes(self._open[:ready])))
            del self._open[:ready]

    @property
    def root(self) -> bytes:
        """The root of the disk, once all entries were added."""
        hasher = self._hasher.copy()
        if self._open:
            hasher.update(node(bytes(self._open)))
        return bytes(hasher.digest())
