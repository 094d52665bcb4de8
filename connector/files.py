"""Files are written durably in one way: a crash or a power failure leaves all of the old content or all of the new."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; replaces an old file. Durable when it returns. Raises OSError.

    Of several threads or processes at once the last one wins; the file is never a mixture.
    """
    draft = _draft(path)
    try:
        with _written(draft, os.O_TRUNC) as out:
            out.write(content)
        move(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def make_once(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, unless there is one. Of several processes at once one wins. Raises OSError."""
    draft = _draft(path)
    draft.unlink(missing_ok=True)
    with new(draft) as out:
        out.write(content)
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    sync(path.parent)


def _draft(path: Path) -> Path:
    """Where this thread writes what will be `path`: nobody else writes there."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")


def new(path: Path) -> contextlib.AbstractContextManager[io.BufferedWriter]:
    """A new file that only its owner may read. Its content is durable when the block ends. Raises FileExistsError, OSError."""
    return _written(path, os.O_EXCL)


@contextlib.contextmanager
def _written(path: Path, flags: int) -> Iterator[io.BufferedWriter]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    with open(file, "wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


def move(source: Path, target: Path) -> None:
    """Rename within a file system. Durable when it returns. Raises OSError."""
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Make a file's content, or a directory's entries, durable. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
