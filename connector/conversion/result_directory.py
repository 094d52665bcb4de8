"""The directory of a result: it appears when everything in it is done, and is never written over."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from connector.errors import Conflict, TargetFailed, TargetFull

_SPACE: Final = "make room, then run the same command again"


@contextmanager
def new(target: Path) -> Iterator[None]:
    """The block makes `target`, by a rename at its end. Raises Conflict when it exists, TargetFull, TargetFailed."""
    if target.exists():
        raise _exists(target)
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TargetFull("no space is left", on=str(target.parent), remedy=_SPACE) from error
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another command was faster
            raise _exists(target) from error
        raise TargetFailed(
            f"cannot be written ({error.strerror})",
            on=str(target),
            remedy="check the directory, then run again",
        ) from error


def require_space(directory: Path, needed: int) -> None:
    """Raise TargetFull. QEMU stops for ever when the space ends under it, so there must be enough before it writes."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise TargetFull(
            f"{needed >> 20} MiB are needed, and {free >> 20} MiB are free",
            on=str(directory.parent),
            remedy=_SPACE,
        )


def _exists(target: Path) -> Conflict:
    return Conflict("is already there", on=str(target), remedy="name another directory, or move it away")
