"""A target is written at positions, is sparse, and is durable only after `flush` returns."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from connector.errors import TargetFailed, TargetFull
from connector.model import Extent
from connector.transfer.extents import BLOCK
from connector.transfer.source import data_ranges, first_data

KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02  # linux/falloc.h
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate64
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_ZEROS = bytes(BLOCK)


class Target(Protocol):
    """A disk to write. Several threads may call all methods at once, for ranges that do not overlap.

    Raises TargetFull when there is no space, and TargetFailed for every other failure.
    """

    @property
    def capacity(self) -> int:
        """Bytes."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes; repeating it is harmless (invariant 8)."""

    def zero(self, offset: int, length: int) -> None:
        """Make the range read as zeros; it needs no space where the storage can punch holes."""

    def read_into(self, offset: int, room: memoryview) -> None:
        """Fill `room` completely."""

    def flush(self) -> None:
        """Put everything that was written before on stable storage (invariant 1)."""

    def reads_as_zero(self, extent: Extent) -> bool:
        """True only when it is known without reading that the whole range is zeros."""

    def close(self) -> None:
        """May be repeated."""


class RawFileTarget:
    """A sparse raw file of exactly `capacity` bytes. Growing keeps the contents; shrinking is refused."""

    def __init__(self, path: Path, capacity: int) -> None:
        self._path, self.capacity = path, capacity
        with explained(path):
            self._file = self._opened(path, capacity)

    def _opened(self, path: Path, capacity: int) -> int:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(file).st_size
        if size < capacity:
            os.ftruncate(file, capacity)
        if size > capacity:
            os.close(file)
            raise TargetFailed(
                f"holds {size} bytes, more than {capacity}", on=str(path), remedy="disks never shrink"
            )
        return file

    @property
    def blank(self) -> bool:
        """True when it is certain, without reading, that every byte is zero."""
        return self.reads_as_zero(Extent(0, self.capacity))

    def write(self, offset: int, data: memoryview) -> None:
        self._inside(offset, len(data))
        with explained(self._path):
            write_all(self._file, data, offset)

    def zero(self, offset: int, length: int) -> None:
        self._inside(offset, length)
        with explained(self._path):
            zero_range(self._file, offset, length)

    def read_into(self, offset: int, room: memoryview) -> None:
        self._inside(offset, len(room))
        with explained(self._path):
            while room:
                count = os.preadv(self._file, [room], offset)
                if not count:
                    raise TargetFailed(
                        f"ends at {offset}, before its capacity",
                        on=str(self._path),
                        remedy="check the target's storage: the file is shorter than it was",
                    )
                room, offset = room[count:], offset + count

    def flush(self) -> None:
        with explained(self._path):
            os.fdatasync(self._file)

    def reads_as_zero(self, extent: Extent) -> bool:
        start = first_data(self._file, extent.start)
        return start is None or start >= extent.end

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _inside(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.capacity:
            raise TargetFailed(
                f"{length} bytes at {offset} lie outside of {self.capacity}",
                on=str(self._path),
                remedy="run the same release on both sides; if it is the same, report this",
            )


class MemoryTarget:
    """A disk in memory whose `crash()` drops everything that was not flushed, for tests of durability."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._bytes, self._durable = bytearray(capacity), bytearray(capacity)
        self._lock = threading.Lock()

    def write(self, offset: int, data: memoryview) -> None:
        self._inside(offset, len(data))
        with self._lock:
            self._bytes[offset : offset + len(data)] = data

    def zero(self, offset: int, length: int) -> None:
        self.write(offset, memoryview(bytes(length)))

    def read_into(self, offset: int, room: memoryview) -> None:
        self._inside(offset, len(room))
        room[:] = self._bytes[offset : offset + len(room)]

    def flush(self) -> None:
        with self._lock:
            self._durable[:] = self._bytes

    def reads_as_zero(self, extent: Extent) -> bool:
        return not any(self._bytes[extent.start : extent.end])

    def close(self) -> None:
        pass

    def crash(self) -> None:
        with self._lock:
            self._bytes[:] = self._durable

    def _inside(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.capacity:
            raise TargetFailed(
                f"{length} bytes at {offset} lie outside of {self.capacity}",
                remedy="run the same release on both sides; if it is the same, report this",
            )


def write_all(file: int, data: memoryview | bytes, offset: int) -> None:
    """`pwrite` until everything is written; raises OSError."""
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count


def zero_range(file: int, offset: int, length: int) -> None:
    """Punch a hole; where that is not possible, overwrite with zeros what is not zero. Raises OSError."""
    if length == 0:
        return
    if _fallocate(file, KEEP_SIZE | PUNCH_HOLE, offset, length) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
        raise OSError(code, os.strerror(code))
    overwrite_with_zeros(file, offset, length)


def overwrite_with_zeros(file: int, offset: int, length: int) -> None:
    """Read, and write zeros only over blocks that are not zero. Raises OSError."""
    for start, size in list(data_ranges(file, Extent(offset, length))):
        for at in range(start, start + size, BLOCK):
            count = min(BLOCK, start + size - at)
            if os.pread(file, count, at) != _ZEROS[:count]:
                write_all(file, memoryview(_ZEROS)[:count], at)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise TargetFull(
                f"no space left ({free_space(path.parent)} bytes free)",
                on=str(path),
                remedy="enlarge the instance's storage and run the pass again: it resumes",
            ) from error
        raise TargetFailed(
            f"storage failed ({error.strerror})", on=str(path), remedy="check the disk"
        ) from error


def free_space(directory: Path) -> int:
    """Bytes that an unprivileged writer may still use."""
    system = os.statvfs(directory)
    return system.f_bavail * system.f_frsize
