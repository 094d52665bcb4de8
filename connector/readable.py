"""Opens files that a user or a peer names only if reading them must end: regular files and, on request, devices.

A pipe without a writer would never end. A file that the caller has opened for us (/dev/fd/N, /dev/stdin) is read
as it is: a shell's `<(...)` is such a pipe.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

#: Bytes of a configuration, a key or a manifest, at most.
LIMIT: Final = 64 << 20
_HANDED: Final = ("/dev/fd/", "/proc/self/fd/")


def opened(path: Path, *, devices: bool = False) -> int:
    """A descriptor for reading. `devices`: a block device is allowed too. Raises OSError, also for other kinds of files."""
    if str(path) == "/dev/stdin" or str(path).startswith(_HANDED):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(handle).st_mode
    if not (stat.S_ISREG(mode) or (devices and stat.S_ISBLK(mode))):
        os.close(handle)
        kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, f"it is {kind}", str(path))
    fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    return handle


def content(path: Path, limit: int = LIMIT) -> bytes:
    """All of a file. Raises OSError, also when it is longer than `limit`."""
    with open(opened(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
    return data


def text(path: Path, limit: int = LIMIT) -> str:
    """The same as text, without a byte order mark. Raises OSError, UnicodeDecodeError."""
    return content(path, limit).decode("utf-8-sig").replace("\r\n", "\n")


def require(path: Path) -> None:
    """Check a file that a library opens by name. Raises OSError."""
    os.close(opened(path))
