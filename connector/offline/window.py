"""Reads a disk in whole pieces, each at most once while it is cached, and never more bytes than the budget.

A guest's data may be hostile. Every caller checks its lengths, and the budget ends what a caller overlooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

PIECE: Final = 1 << 16  # bytes that are read at once
BUDGET: Final = 192 << 20  # bytes of one disk that may be read
_KEPT: Final = 256  # pieces in the cache


class UnreadableStructure(Exception):
    """These bytes are not the expected structure, or the structure has no end. `args[0]` says which."""


class Missing(UnreadableStructure):
    """There is no such file. Every directory on its path was understood."""


class Bytes(Protocol):
    """A range of bytes that can be read anywhere; `size` bytes long."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes. Raises UnreadableStructure beyond the end."""


class Files(Protocol):
    """A file system that is read here. `Missing`: a file does not exist. `UnreadableStructure`: nobody knows."""

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        """The first `most` bytes of a file."""

    def names(self, path: str) -> list[str]:
        """The names in a directory."""


class DiskReader:
    """A whole disk. `fetched` bytes were read so far. For one thread."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, budget: int = BUDGET) -> None:
        """`fetch(offset, length)` reads within the disk; its errors pass through."""
        self.size, self.fetched = size, 0
        self._fetch, self._budget = fetch, budget
        self._pieces: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        """See `Bytes`."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UnreadableStructure("it points beyond the end of the disk")
        data = bytearray()
        while len(data) < length:
            at = offset + len(data)
            piece = self._piece(at // PIECE)
            start = at % PIECE
            data += piece[start : start + length - len(data)]
        return bytes(data)

    def _piece(self, number: int) -> bytes:
        if (cached := self._pieces.get(number)) is not None:
            return cached
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
    """A partition of a disk, or another single range of it."""

    def __init__(self, inside: Bytes, start: int, size: int) -> None:
        """The slice ends where the disk ends, at the latest."""
        self._inside, self._start = inside, start
        self.size = max(0, min(size, inside.size - start))

    def read(self, offset: int, length: int) -> bytes:
        """See `Bytes`."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UnreadableStructure("it points beyond the end of its partition")
        return self._inside.read(self._start + offset, length)
