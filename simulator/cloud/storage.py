"""Contents of disks and snapshots: sparse files; a copy shares blocks where the file system can."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

_FICLONE: Final = 0x40049409
_CHUNK: Final = 8 << 20


def create(path: Path, size: int) -> None:
    """An empty disk of `size` bytes that uses no space."""
    with path.open("xb") as file:
        file.truncate(size)


def used(path: Path) -> bool:
    """Whether anything was ever written."""
    return path.stat().st_blocks > 0


def copy(source: Path, target: Path, size: int) -> None:
    """Copy the present content of `source` to a file of `size` bytes, at least as large."""
    with source.open("rb") as reading, target.open("xb") as writing:
        try:
            fcntl.ioctl(writing, _FICLONE, reading.fileno())
        except OSError:
            _copy_data(reading.fileno(), writing.fileno())
        os.ftruncate(writing.fileno(), size)


def _copy_data(reading: int, writing: int) -> None:
    at, end = 0, os.fstat(reading).st_size
    while at < end:
        try:
            start = os.lseek(reading, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(reading, start, os.SEEK_HOLE)
        for offset in range(start, at, _CHUNK):
            os.pwrite(writing, os.pread(reading, min(_CHUNK, at - offset), offset), offset)


def remove(path: Path) -> None:
    """Remove a file, if it exists."""
    path.unlink(missing_ok=True)
