"""Directories and files of our state are private to the user who runs us.

A file that others could only read is closed, with a warning. A file that others could change or own is refused, because
nobody knows what they changed.
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
    """Make a private directory, or check an existing one and its files. Raises BadInput when it is not ours alone."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = path.stat()
    except OSError as failed:
        raise BadInput(f"cannot use this directory: {failed.strerror}", on=str(path)) from None
    if facts.st_uid != os.geteuid():
        raise BadInput(
            f"this directory belongs to the user with the id {facts.st_uid}",
            on=str(path),
            remedy=f"run as that user, or change its owner to ours ({os.geteuid()}) if nobody else has written there",
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
    """Make an empty private file, unless it exists; a file that others can read is closed. Raises BadInput."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as failed:
        raise BadInput(f"cannot use this file: {failed.strerror}", on=str(path)) from None
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise BadInput("it is no regular file", on=str(path), remedy="name another file")
        if facts.st_mode & _OTHERS and facts.st_uid == os.geteuid():
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def refuse_open(path: Path, what: str) -> None:
    """Refuse a file with a secret that others can read. Raises BadInput. Pipes and other non-files pass."""
    if path.is_file() and path.stat().st_mode & _OTHERS:
        raise BadInput(f"others can read the {what} file", on=str(path), remedy=f"chmod 600 {path}")


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
