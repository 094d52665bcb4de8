"""A device as a target exists already, may be larger than the disk, and is never created or resized here.

Only its first `capacity` bytes are used; after them a new cloud disk reads as zeros. A regular file may replace the device.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path
from typing import Final

from connector.errors import TargetFailed
from connector.model import Extent
from connector.transfer.target import (
    KEEP_SIZE,
    PUNCH_HOLE,
    RawFileTarget,
    explained,
    overwrite_with_zeros,
    zero_range,
)

_SECTOR: Final = 4096
_fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class DeviceTarget(RawFileTarget):
    """A block device, opened for this process alone. Raises a retryable TargetFailed while it is not attached."""

    def _opened(self, path: Path, capacity: int) -> int:
        try:
            self._is_block = stat.S_ISBLK(path.stat().st_mode)
        except FileNotFoundError:
            raise TargetFailed(
                "the device is not there",
                on=str(path),
                remedy="attach the disk to the instance",
                retryable=True,
            ) from None
        exclusive = os.O_EXCL if self._is_block else 0  # fails while a file system on it is mounted
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | exclusive)
        size = os.lseek(file, 0, os.SEEK_END)
        if size < capacity:
            os.close(file)
            raise TargetFailed(
                f"has {size} bytes, fewer than {capacity}", on=str(path), remedy="enlarge the cloud disk"
            )
        return file

    def zero(self, offset: int, length: int) -> None:
        self._inside(offset, length)
        with explained(self._path):
            if not self._is_block:
                zero_range(self._file, offset, length)
            elif not self._zeroed(offset, length):
                overwrite_with_zeros(self._file, offset, length)

    def _zeroed(self, offset: int, length: int) -> bool:
        """Whether the device itself zeroed the range. It cannot for unaligned ranges, and older devices cannot at all.

        The kernel must not write zeros instead: bytes that read as zeros need not be written.
        """
        if length == 0 or _fallocate(self._file, KEEP_SIZE | PUNCH_HOLE, offset, length) == 0:
            return True
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL):
            raise OSError(code, os.strerror(code))
        return False

    def reads_as_zero(self, extent: Extent) -> bool:
        """Never True for a block device: it does not say what it has never stored."""
        return not self._is_block and super().reads_as_zero(extent)

    def settle(self) -> None:
        """Flush, and make one write: the cloud makes no snapshot of a disk that was never written."""
        room = memoryview(bytearray(min(_SECTOR, self.capacity)))
        self.read_into(0, room)
        self.write(0, room)
        self.flush()
