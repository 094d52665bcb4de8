"""Computes one root for each piece of a disk, from the digests of its cells in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from blake3 import blake3

from connector.model import Extent
from connector.transfer import digest
from connector.transfer.extents import CELL
from connector.transfer.tree import Tree


class Roots:
    """Gets the digests of consecutive cells from the start of the disk; not for several threads at once.

    The root of a piece is BLAKE3 over the digests of its cells. The root of a disk is that of its tree (see `tree`).
    Evidence of version 1 has a flat root instead: BLAKE3 over the capacity (8 bytes, big-endian) and the digests of
    all cells.
    """

    def __init__(self, capacity: int, pieces: Iterable[Extent]) -> None:
        """`pieces` tile the disk in whole cells; they are taken one at a time."""
        self._pieces: Iterator[Extent] = iter(pieces)
        self._capacity, self._at = capacity, 0
        self._flat, self._tree = blake3(capacity.to_bytes(8, "big")), Tree(capacity)
        self._left = 0  # bytes of digests that the open piece still gets
        self._open = blake3()
        self.piece_roots: list[bytes] = []

    def feed(self, digests: bytes, entries: bytes | None = None) -> None:
        """Add the digests of the next cells. `entries`: the same digests marked, if the caller has them."""
        if not digests:
            return
        length = min(digest.count_of(digests) * CELL, self._capacity - self._at)
        self._at += length
        self._flat.update(digests)
        self._tree.feed(digest.marked(length, digests) if entries is None else entries)
        self._piecewise(memoryview(digests))

    def _piecewise(self, view: memoryview) -> None:
        while view:
            if not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    return
                self._left, self._open = digest.count(piece.length) * digest.SIZE, blake3()
            part = view[: self._left]
            self._open.update(part)
            self._left -= len(part)
            view = view[len(part) :]
            if not self._left:
                self.piece_roots.append(bytes(self._open.digest()))

    @property
    def whole(self) -> bytes:
        """The root of the disk, once all digests were added."""
        return self._tree.root

    @property
    def flat(self) -> bytes:
        """The root of the disk in evidence of version 1, once all digests were added."""
        return bytes(self._flat.digest())
