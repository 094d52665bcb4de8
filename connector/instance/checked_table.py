"""A page of the digest table is trusted when its node is the one in the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress, product
from typing import Final

from connector.instance.contents import Contents
from connector.instance.nodes import UNKNOWN, NodeArray
from connector.instance.window import extent_of
from connector.model import Extent
from connector.transfer import digest, tree
from connector.transfer import extents as ranges
from connector.transfer.extents import CELL
from connector.transfer.tree import PAGE

TRIED: Final = 8  # differing cells of a page up to which every combination of table and target is tried: 256


class CheckedTable:
    """Reads only. `nodes` may change meanwhile: then a page that is being changed looks as if it could not be trusted."""

    def __init__(self, contents: Contents, nodes: NodeArray) -> None:
        self._contents, self._nodes = contents, nodes

    def listed(self, extent: Extent) -> bytes | None:
        """The entries of a range of whole cells; None when the right entries of one of its pages cannot be found.

        A page with a wrong node is compared with the target, because each of both may have rotted.
        """
        parts = []
        for piece in ranges.blocks([extent], PAGE):
            entries = self._page(piece.start // PAGE)
            if entries is None:
                return None
            first = piece.start % PAGE // CELL * digest.SIZE
            parts.append(entries[first : first + digest.count(piece.length) * digest.SIZE])
        return b"".join(parts)

    def _page(self, page: int) -> bytes | None:
        entries, node = self._contents.page(page), self._nodes.get(page)
        if tree.node(entries) == node:
            return entries
        if node == UNKNOWN:
            return None
        extent = extent_of(page, self._contents.target.capacity)
        return resolved(entries, digest.marked(extent.length, self._contents.read_back(extent)), node)

    def before(self, page: int, durable: Callable[[], Sequence[Extent]]) -> tuple[bytes, bool]:
        """The entries of a page that is about to be changed, and whether they can be trusted.

        The table is written after the journal. If power was lost in between, a page is older than its node, and the target
        shows the missing entries. `durable`: the durable extents of the unfinished pass, normalised.
        """
        entries, node = self._contents.page(page), self._nodes.get(page)
        extent = extent_of(page, self._contents.target.capacity)
        if node == UNKNOWN:
            return digest.marked(extent.length, digest.unmarked(extent.length, entries)), True
        if tree.node(entries) == node:
            return entries, True
        actual = digest.marked(extent.length, self._contents.read_back(extent))
        mixed = _mixed(extent, entries, actual, durable())
        if tree.node(mixed) == node:
            return mixed, True
        right = resolved(entries, actual, node)
        return (entries, False) if right is None else (right, True)


def resolved(entries: bytes, actual: bytes, node: bytes) -> bytes | None:
    """The right entries of a page: for each cell the table's or the target's entry, so that the node is right.

    None when there is no such choice: both sides have wrong cells, or too many cells differ.
    """
    if tree.node(actual) == node:
        return actual
    pairs = zip(digest.each(entries), digest.each(actual), strict=True)
    differing = [number for number, (listed, read) in enumerate(pairs) if listed != read]
    if len(differing) > TRIED:
        return None
    for choice in product((False, True), repeat=len(differing)):
        page = bytearray(entries)
        for number in compress(differing, choice):
            page[number * digest.SIZE : (number + 1) * digest.SIZE] = actual[
                number * digest.SIZE : (number + 1) * digest.SIZE
            ]
        if tree.node(bytes(page)) == node:
            return bytes(page)
    return None


def _mixed(extent: Extent, entries: bytes, actual: bytes, durable: Sequence[Extent]) -> bytes:
    """The page with the target's entries in durable extents, and the table's entries elsewhere."""
    mixed = bytearray(entries)
    for start, length in ranges.within(durable, extent):
        first = (start - extent.start) // CELL * digest.SIZE
        after = first + digest.count(length) * digest.SIZE
        mixed[first:after] = actual[first:after]
    return bytes(mixed)
