"""One way to write a small file durably: a crash, or a power failure, leaves all of the old one or all of the new one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, in place of what was there. Durable when it returns. Raises OSError."""
    draft = path.with_name(f".{path.name}.new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with contextlib.closing(os.fdopen(file, "wb")) as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    move(draft, path)


def move(source: Path, target: Path) -> None:
    """Rename within a file system. Durable when it returns. Raises OSError."""
    source.replace(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
