"""The digest table has 32 bytes for each cell, at the cell's position; 32 zero bytes mean that the cell reads as zeros."""

from __future__ import annotations

import os
from pathlib import Path

from connector.errors import TargetFailed
from connector.transfer import digest
from connector.transfer.extents import CELL
from connector.transfer.target import RawFileTarget


class DigestTable:
    """A sparse file beside the target. Several threads may write disjoint ranges at once."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.path = path
        self._file = RawFileTarget(path, digest.count(capacity) * digest.SIZE)

    def write(self, offset: int, digests: bytes) -> None:
        """`offset` is the disk offset of the first cell."""
        self._file.write(offset // CELL * digest.SIZE, memoryview(digests))

    def zero(self, offset: int, length: int) -> None:
        """Mark the cells of a disk range as zero."""
        self._file.zero(offset // CELL * digest.SIZE, digest.count(length) * digest.SIZE)

    def read(self, offset: int, length: int) -> bytes:
        """The entries of the cells of a disk range."""
        room = bytearray(digest.count(length) * digest.SIZE)
        self._file.read_into(offset // CELL * digest.SIZE, memoryview(room))
        return bytes(room)

    @property
    def blank(self) -> bool:
        """True when it is certain that every cell is marked as zero."""
        return self._file.blank

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def resize(path: Path, size: int) -> None:
    """Make an existing sparse file `size` bytes long; its bytes below that stay."""
    try:
        if path.stat().st_size != size:
            os.truncate(path, size)
    except FileNotFoundError:
        return
    except OSError as error:
        raise TargetFailed(
            f"cannot be resized ({error.strerror})", on=str(path), remedy="check the target's storage"
        ) from error
