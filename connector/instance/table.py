"""The digest table as far as it can be trusted: page by page, where it has the node that the journal says."""

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

TRIED: Final = 8  # cells of a page that may differ between table and target for every choice to be tried: 256


class CheckedTable:
    """Reads only. `nodes` may change meanwhile: a page that is being changed is taken for one that cannot be trusted."""

    def __init__(self, contents: Contents, nodes: NodeArray) -> None:
        self._contents, self._nodes = contents, nodes

    def listed(self, extent: Extent) -> bytes | None:
        """The entries of a range of whole cells; None where it cannot be told what one of its pages must be.

        A page that is not what it must be is read from the target: either of both may have rotted.
        """
        found = []
        for piece in ranges.blocks([extent], PAGE):
            entries = self._page(piece.start // PAGE)
            if entries is None:
                return None
            first = piece.start % PAGE // CELL * digest.SIZE
            found.append(entries[first : first + digest.count(piece.length) * digest.SIZE])
        return b"".join(found)

    def _page(self, page: int) -> bytes | None:
        entries, node = self._contents.page(page), self._nodes.get(page)
        if tree.node(entries) == node:
            return entries
        if node == UNKNOWN:
            return None
        extent = extent_of(page, self._contents.target.capacity)
        return resolved(entries, digest.marked(extent.length, self._contents.read_back(extent)), node)

    def before(self, page: int, named: Callable[[], Sequence[Extent]]) -> tuple[bytes, bool]:
        """The entries of a page that is about to be changed, and whether they can be trusted.

        The table follows the journal: when power was lost in between, a page is older than its node, and can be told
        from the target. `named`: what the unfinished pass names as durable, normalised.
        """
        entries, node = self._contents.page(page), self._nodes.get(page)
        extent = extent_of(page, self._contents.target.capacity)
        if node == UNKNOWN:
            return digest.marked(extent.length, digest.unmarked(extent.length, entries)), True
        if tree.node(entries) == node:
            return entries, True
        held = digest.marked(extent.length, self._contents.read_back(extent))
        mixed = _mixed(extent, entries, held, named())
        if tree.node(mixed) == node:
            return mixed, True
        right = resolved(entries, held, node)
        return (entries, False) if right is None else (right, True)


def resolved(entries: bytes, held: bytes, node: bytes) -> bytes | None:
    """What a page must be: of each cell either what the table lists or what the target holds, so that the node is right.

    None when no such choice is: something is wrong on both sides, or too much differs to try.
    """
    if tree.node(held) == node:
        return held
    pairs = zip(digest.each(entries), digest.each(held), strict=True)
    differing = [number for number, (listed, read) in enumerate(pairs) if listed != read]
    if len(differing) > TRIED:
        return None
    for choice in product((False, True), repeat=len(differing)):
        page = bytearray(entries)
        for number in compress(differing, choice):
            page[number * digest.SIZE : (number + 1) * digest.SIZE] = held[
                number * digest.SIZE : (number + 1) * digest.SIZE
            ]
        if tree.node(bytes(page)) == node:
            return bytes(page)
    return None


def _mixed(extent: Extent, entries: bytes, held: bytes, named: Sequence[Extent]) -> bytes:
    """Where the pass names something: as the target has it; elsewhere as the table has it."""
    mixed = bytearray(entries)
    for start, length in ranges.within(named, extent):
        first = (start - extent.start) // CELL * digest.SIZE
        after = first + digest.count(length) * digest.SIZE
        mixed[first:after] = held[first:after]
    return bytes(mixed)
