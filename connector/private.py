"""Directories and files of our state: for the user alone that runs us.

What others could only read is closed, and said. What others could change, or what is somebody else's, is refused:
nobody knows what was changed there.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final

from connector.errors import BadInput

_LOG: Final = logging.getLogger(__name__)
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def directory(path: Path) -> None:
    """Make `path`, or make sure of it and of the files in it. Raises BadInput when it is not, or not only, ours."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = path.stat()
    except OSError as failed:
        raise BadInput(f"cannot use this directory: {failed.strerror}", on=str(path)) from None
    if facts.st_uid != os.geteuid():
        raise BadInput(
            f"this directory belongs to the user with the id {facts.st_uid}",
            on=str(path),
            remedy=f"run as that user, or give it to ours ({os.geteuid()}) when nobody else has written there",
        )
    if facts.st_mode & _OTHERS_WRITE:
        raise BadInput(
            f"others can write in this directory (mode {stat.S_IMODE(facts.st_mode):04o})",
            on=str(path),
            remedy=f"make sure that nobody else has, then chmod 700 {path}",
        )
    if facts.st_mode & _OTHERS:
        path.chmod(0o700)
        _LOG.warning("others could look into %s; it is closed now (mode 0700)", path)
    _close_files(path)


def file(path: Path) -> None:
    """Make an empty file for us alone, unless it is there; one that others can read is closed. Raises BadInput."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as failed:
        raise BadInput(f"cannot use this file: {failed.strerror}", on=str(path)) from None
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise BadInput("it is no regular file", on=str(path), remedy="name another one")
        if facts.st_mode & _OTHERS and facts.st_uid == os.geteuid():
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def _close_files(folder: Path) -> None:
    closed = []
    with os.scandir(folder) as entries:
        for entry in entries:
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(facts.st_mode) and facts.st_mode & _OTHERS and facts.st_uid == os.geteuid():
                Path(entry.path).chmod(stat.S_IMODE(facts.st_mode) & 0o700)
                closed.append(entry.name)
    if closed:
        _LOG.warning("others could read files in %s; closed now: %s", folder, ", ".join(sorted(closed)))
