"""The files that a drill keeps: a guest may show secrets on its console, so nobody else here may read them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from connector import files, private

LARGEST: Final = 16 << 20  # bytes of a file that is kept


def write(directory: Path, contents: Mapping[str, bytes]) -> dict[str, dict[str, object]]:
    """Keep these files, instead of those that were kept there before; answer their digests. Empty files are not kept."""
    private.directory(directory)
    for former in directory.iterdir():
        former.unlink()
    for name, content in contents.items():
        if content:
            files.replace(directory / name, content[-LARGEST:])
    return facts({name: content[-LARGEST:] for name, content in contents.items() if content})


def facts(contents: Mapping[str, bytes]) -> dict[str, dict[str, object]]:
    """SHA-256 and bytes of each file."""
    return {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in contents.items()
    }


def read(path: Path) -> bytes | None:
    """A file that is kept; None if there is none, or it is none of ours."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(handle, "rb") as file:
        content = file.read(LARGEST + 1)
    return content if len(content) <= LARGEST else None
