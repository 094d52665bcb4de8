"""A layer of a virtual disk is a sparse raw file; every layer except the base has a bitmap of its grains.

Data is written before its bit, so a reader that sees the bit finds the data, in this process or another.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from simulator.estate.areas import subtract
from simulator.estate.bitmap import Bitmap

GRAIN = 4096
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Layer:
    """Bytes [0, capacity) of one level. Not locked: the chain that owns it locks.

    A layer with a map is a delta over its parent; without a map it is a base whose holes read as zeros.
    """

    def __init__(self, path: Path, capacity: int, *, mapped: bool) -> None:
        self.path = path
        self.capacity = capacity
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < capacity:
            os.truncate(self._fd, capacity)
        self.map = Bitmap(map_path(path), -(-capacity // GRAIN)) if mapped else None

    def present(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Byte ranges (start, stop) inside [start, stop) that this layer decides; a base decides them all."""
        if self.map is None:
            yield start, stop
            return
        for first, last in self.map.runs(start // GRAIN, -(-stop // GRAIN)):
            yield max(first * GRAIN, start), min(last * GRAIN, stop)

    def fill(self, out: memoryview, origin: int, wanted: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Read the parts of `wanted` that this layer has into `out` (byte `origin` first); return the other parts."""
        left: list[tuple[int, int]] = []
        for lo, hi in wanted:
            here = list(self.present(lo, hi))
            for start, stop in here:
                self._read(out[start - origin : stop - origin], start)
            left += subtract([(lo, hi)], here)
        return left

    def raw(self, offset: int, length: int) -> bytes:
        """Bytes of the file itself."""
        out = bytearray(length)
        self._read(memoryview(out), offset)
        return bytes(out)

    def _read(self, out: memoryview, offset: int) -> None:
        while out:
            got = os.preadv(self._fd, [out], offset)
            if got <= 0:
                raise EOFError(f"{self.path}: shorter than its disk at byte {offset}")
            out, offset = out[got:], offset + got

    def put(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write; in a delta, every grain touched must be whole (or reach the end of the disk)."""
        view, at = memoryview(data), offset
        while view:
            done = os.pwrite(self._fd, view, at)
            view, at = view[done:], at + done
        self.note(offset, offset + len(data))

    def punch(self, start: int, stop: int) -> None:
        """Make [start, stop) read as zeros without holding space; in a delta, whole grains only."""
        if _libc.fallocate(self._fd, _KEEP_SIZE_PUNCH_HOLE, start, stop - start):
            code = ctypes.get_errno()
            if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise OSError(code, os.strerror(code), str(self.path))
            self.put(start, bytes(stop - start))
        self.note(start, stop)

    def note(self, start: int, stop: int) -> None:
        if self.map is not None:
            self.map.set(start // GRAIN, -(-stop // GRAIN))

    def stored(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """Byte ranges within [start, stop) where the raw file holds data; the rest are holes."""
        at, end = start, self.capacity if stop is None else stop
        while at < end:
            try:
                low = os.lseek(self._fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            if low >= end:
                return
            at = os.lseek(self._fd, low, os.SEEK_HOLE)
            yield low, min(at, end)

    def allocated(self) -> Iterator[tuple[int, int]]:
        """Byte ranges this layer allocates: the grains of a delta, the data of a base."""
        return self.stored() if self.map is None else self.present(0, self.capacity)

    def used(self) -> int:
        """Bytes of real storage behind this layer."""
        return os.fstat(self._fd).st_blocks * 512

    def grow(self, capacity: int) -> None:
        os.truncate(self._fd, capacity)
        self.capacity = capacity
        if self.map is not None:
            self.map.grow(-(-capacity // GRAIN))

    def close(self) -> None:
        os.close(self._fd)
        if self.map is not None:
            self.map.close()

    def delete(self) -> None:
        """Close and unlink; a reader in another process that has the files open keeps them."""
        self.close()
        self.path.unlink(missing_ok=True)
        map_path(self.path).unlink(missing_ok=True)


def map_path(path: Path) -> Path:
    return path.with_name(path.name + ".map")
