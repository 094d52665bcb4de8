"""Files are written durably in one way: a crash or a power failure leaves all of the old content or all of the new."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from collections.abc import Iterator
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; replaces an old file. Durable when it returns. Raises OSError.

    Of several threads or processes at once the last one wins; the file is never a mixture. What a killed one leaves, the next
    one takes.
    """
    with _drafted(path, content) as draft:
        move(draft, path)


def make_once(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, unless there is one. Of several processes at once one wins. Raises OSError."""
    with _drafted(path, content) as draft:
        if path.exists():
            draft.unlink()
        else:
            move(draft, path)


@contextlib.contextmanager
def _drafted(path: Path, content: bytes) -> Iterator[Path]:
    """A durable file beside `path` with this content. Inside the block nobody else has it. It is gone after a failure."""
    draft = path.with_name(f".{path.name}.new")
    with _locked(draft) as out:
        try:
            os.fchmod(out.fileno(), 0o600)  # somebody else may have made it
            out.truncate()
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
            yield draft
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _locked(draft: Path) -> io.BufferedWriter:
    """The draft, opened and locked until it is closed. A draft that was moved while its lock was waited for is left alone."""
    while True:
        out = open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb")  # noqa: SIM115 - the caller closes it
        try:
            fcntl.flock(out, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(draft.stat(), os.fstat(out.fileno())):
                    return out
        except BaseException:
            out.close()
            raise
        out.close()


def new(path: Path) -> contextlib.AbstractContextManager[io.BufferedWriter]:
    """A new file that only its owner may read. Its content is durable when the block ends. Raises FileExistsError, OSError."""
    return _written(path)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[io.BufferedWriter]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_EXCL, 0o600)
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
