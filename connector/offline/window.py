"""A disk through a small window: whatever is asked for is read once, in whole pieces, and never more than the budget.

What a guest wrote may be hostile: every length is checked by whoever asks, and the budget ends what was overlooked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

PIECE: Final = 1 << 16  # bytes that are read at once
BUDGET: Final = 192 << 20  # bytes that a look at one disk may read
_KEPT: Final = 256  # pieces that are remembered


class UnreadableStructure(Exception):
    """These bytes are no such structure, or there is no end to them. `args[0]` says which."""


class Missing(UnreadableStructure):
    """There is no such file: everything on the way to it was understood, and it is not there."""


class Bytes(Protocol):
    """A range of bytes that can be read anywhere; `size` bytes long."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes. Raises Unreadable beyond the end."""


class Files(Protocol):
    """A file system that is read here. `Missing` says that a file is not there; `UnreadableStructure` leaves that open."""

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        """The first `most` bytes of a file."""

    def names(self, path: str) -> list[str]:
        """What is in a directory."""


class DiskReader:
    """A whole disk. `read` bytes were fetched so far. One thread."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, budget: int = BUDGET) -> None:
        """`fetch(offset, length)` reads within the disk; its errors pass through."""
        self.size, self.fetched = size, 0
        self._fetch, self._budget = fetch, budget
        self._pieces: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        """See `Bytes`."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UnreadableStructure("it points beyond the end of the disk")
        found = bytearray()
        while len(found) < length:
            at = offset + len(found)
            piece = self._piece(at // PIECE)
            start = at % PIECE
            found += piece[start : start + length - len(found)]
        return bytes(found)

    def _piece(self, number: int) -> bytes:
        if (known := self._pieces.get(number)) is not None:
            return known
        start = number * PIECE
        length = min(PIECE, self.size - start)
        if self.fetched + length > self._budget:
            raise UnreadableStructure(f"more than {self._budget >> 20} MiB would have to be read")
        self.fetched += length
        while len(self._pieces) >= _KEPT:
            del self._pieces[next(iter(self._pieces))]
        self._pieces[number] = self._fetch(start, length)
        return self._pieces[number]


class DiskSlice:
    """A partition of a disk, or whatever else lies in it in one run."""

    def __init__(self, inside: Bytes, start: int, size: int) -> None:
        """Cut where the disk ends."""
        self._inside, self._start = inside, start
        self.size = max(0, min(size, inside.size - start))

    def read(self, offset: int, length: int) -> bytes:
        """See `Bytes`."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UnreadableStructure("it points beyond the end of its partition")
        return self._inside.read(self._start + offset, length)
