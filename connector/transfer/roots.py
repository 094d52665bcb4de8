"""One digest for each piece of a disk, from the digests of its cells as they come along in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from blake3 import blake3

from connector.model import Extent
from connector.transfer import digest


class Roots:
    """Fed with the digests of consecutive cells from the start of the disk; not for several threads at once.

    The root of a piece is BLAKE3 over the digests of its cells. The root of a disk is BLAKE3 over its capacity (8
    bytes, big-endian) and the digests of all its cells.
    """

    def __init__(self, capacity: int, pieces: Iterable[Extent]) -> None:
        """`pieces` tile the disk in whole cells; they are asked for one at a time."""
        self._pieces: Iterator[Extent] = iter(pieces)
        self._whole = blake3(capacity.to_bytes(8, "big"))
        self._left = 0  # bytes of digests that the open piece still gets
        self._open = blake3()
        self.found: list[bytes] = []

    def feed(self, digests: bytes) -> None:
        """The digests of the next cells."""
        self._whole.update(digests)
        view = memoryview(digests)
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
                self.found.append(bytes(self._open.digest()))

    @property
    def whole(self) -> bytes:
        """The root of the disk, once everything was fed."""
        return bytes(self._whole.digest())
