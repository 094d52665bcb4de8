"""A block source lends blocks in the order in which they are ready, from a fixed set of buffers."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from connector import readable
from connector.errors import BadInput, Interrupted, ReaderFailed
from connector.model import Extent
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK

PATIENCE = 0.25  # seconds between two looks at `halt`


class Home(Protocol):
    """The lender of buffers."""

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back; from any thread."""


class Block:
    """Borrowed plain bytes of one disk at `offset`: `data` is valid until `release()`, which any thread may call once."""

    __slots__ = ("_buffer", "_home", "data", "offset")

    def __init__(
        self, offset: int, data: memoryview, home: Home | None = None, buffer: memoryview | None = None
    ) -> None:
        self.offset, self.data, self._home, self._buffer = offset, data, home, buffer

    def release(self) -> None:
        home, buffer = self._home, self._buffer
        self._home = self._buffer = None
        if home is not None and buffer is not None:
            home.give(buffer)


class BlockSource(Protocol):
    """A disk to read. One thread reads at a time; any thread may release blocks.

    Every method raises ReaderFailed. Nothing is repeated inside (see `Retrying` in `policies`).
    """

    @property
    def capacity(self) -> int:
        """Bytes."""

    def allocated(self, extent: Extent) -> list[Extent]:
        """The parts of `extent` that may hold anything but zeros. Never too little; it may be too much."""

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        """The bytes of `extents` in blocks that never cross a 1 MiB boundary, in any order, each exactly once.

        Memory is bounded: when all buffers are lent, reading waits for a `release`. Setting `halt` ends reading soon with
        Interrupted. Closing the iterator ends the reads that are under way.
        """

    def close(self) -> None:
        """Release all resources. May be repeated."""


class Pool:
    """A fixed set of page-aligned buffers of equal size, lent and given back from any thread."""

    def __init__(self, count: int, size: int = BLOCK) -> None:
        self._memory = mmap.mmap(-1, count * size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        view = memoryview(self._memory)
        self._free = [view[at : at + size] for at in range(0, count * size, size)]
        self._changed = threading.Condition()

    def take(self, timeout: float | None = None) -> memoryview | None:
        """Waits for a buffer; None when `timeout` seconds passed."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free, timeout):
                return None
            return self._free.pop()

    def wait(self, halt: threading.Event | None) -> memoryview:
        """Waits for a buffer until `halt` is set; then Interrupted."""
        while True:
            if halt is not None and halt.is_set():
                raise Interrupted("reading was stopped")
            buffer = self.take(PATIENCE)
            if buffer is not None:
                return buffer

    def give(self, buffer: memoryview) -> None:
        with self._changed:
            self._free.append(buffer)
            self._changed.notify()


class FileSource:
    """A raw file or block device; holes are found with SEEK_DATA."""

    def __init__(self, path: Path, depth: int = 24) -> None:
        self._path = path
        try:
            self._file = readable.opened(path, devices=True)
        except OSError as error:
            raise BadInput(f"cannot be opened ({error.strerror})", on=str(path)) from error
        self.capacity = os.lseek(self._file, 0, os.SEEK_END)
        self._seekable = stat.S_ISREG(os.fstat(self._file).st_mode)
        self._pool = Pool(depth)

    def allocated(self, extent: Extent) -> list[Extent]:
        inside = ranges.clip([extent], self.capacity)
        if not self._seekable or not inside:
            return inside
        return ranges.clip(data_ranges(self._file, inside[0]), self.capacity)

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        for offset, length in ranges.blocks(ranges.normalise(extents)):
            buffer = self._pool.wait(halt)
            try:
                self._fill(buffer[:length], offset)
            except BaseException:
                self._pool.give(buffer)
                raise
            yield Block(offset, buffer[:length], self._pool, buffer)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _fill(self, room: memoryview, offset: int) -> None:
        filled = 0
        while filled < len(room):
            try:
                count = os.preadv(self._file, [room[filled:]], offset + filled)
            except OSError as error:
                raise ReaderFailed(
                    f"reading at {offset} failed ({error.strerror})",
                    on=str(self._path),
                    remedy="check the storage below it",
                ) from error
            if not count:
                raise ReaderFailed(
                    f"ends at {offset + filled}, before its capacity",
                    on=str(self._path),
                    remedy="check the file: it is shorter than it was",
                )
            filled += count


def data_ranges(file: int, extent: Extent) -> Iterator[Extent]:
    """The parts of `extent` that a regular file stores, by SEEK_DATA and SEEK_HOLE."""
    at = extent.start
    while at < extent.end:
        start = first_data(file, at)
        if start is None or start >= extent.end:
            return
        try:
            at = min(os.lseek(file, start, os.SEEK_HOLE), extent.end)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise _no_holes(error) from error
            at = extent.end
        yield Extent(start, at - start)


def first_data(file: int, at: int) -> int | None:
    """The offset of the first stored byte from `at` on; None when the rest of the file is a hole.

    A file without holes, such as a device, stores everything.
    """
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno == errno.EINVAL:
            return at
        raise _no_holes(error) from error


def _no_holes(error: OSError) -> ReaderFailed:
    return ReaderFailed(f"holes cannot be found ({error.strerror})", remedy="check the file system below it")
