"""Lists of files to remove from a converted copy, in the form of the public service's exclude lists.

    rsync_excludes_linux.txt         the system disk: absolute paths of the guest
    rsync_excludes_linux_diskN.txt   data disk N: paths below the place where it is mounted

One path on each line; a directory ends in a slash and goes with everything below it. Lines that begin with # are comments.
A missing list is fine. The source and the image keep every file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from connector import readable
from connector.errors import BadInput

_NAME: Final = re.compile(r"rsync_excludes_(?P<family>linux|win)(?:_disk(?P<disk>[1-9][0-9]{0,2}))?\.txt")
_LARGEST: Final = 1 << 20  # bytes of a list
_WILD: Final = re.compile(r"[*?\[\]]")
#: Without these no Linux starts, whatever a list says.
_KEPT: Final = (
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
    "/var",
)


@dataclass(frozen=True, slots=True)
class RemovalEntry:
    """One line of a list. `disk`: 0 is the system disk. `path` is absolute, without a slash at its end."""

    disk: int
    path: str
    is_directory: bool
    source: str  # file and line, for messages


@dataclass(frozen=True, slots=True)
class RemovedFile:
    """A file or directory of the guest that goes. `size`: bytes that it uses."""

    path: str
    is_directory: bool
    size: int


class RemovableFiles(Protocol):
    """What is asked about files that may go."""

    def is_directory(self, path: str) -> bool | None:
        """None: nothing has this path. A link is no directory."""

    def usage(self, path: str) -> int:
        """Bytes that a file uses, or a directory with everything below it."""


def read(directory: Path) -> tuple[RemovalEntry, ...]:
    """The entries of all lists in a directory. Raises BadInput for a line that cannot be meant."""
    entries: list[RemovalEntry] = []
    for file in sorted(directory.glob("rsync_excludes_*.txt")):
        match = _NAME.fullmatch(file.name)
        if match is None or match["family"] != "linux":
            raise BadInput(
                "is no list for a Linux",
                on=str(file),
                remedy="call it rsync_excludes_linux.txt, or rsync_excludes_linux_disk1.txt for the first data disk",
            )
        entries += _entries(file, int(match["disk"] or 0))
    return tuple(entries)


def _entries(file: Path, disk: int) -> Iterator[RemovalEntry]:
    text = readable.text(file)
    if len(text) > _LARGEST:
        raise BadInput(
            f"is larger than {_LARGEST >> 20} MiB", on=str(file), remedy="name directories instead of files"
        )
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        path = line.strip()
        if path and not path.startswith("#"):
            yield _entry(path, disk, f"{file}, line {number}")


def _entry(path: str, disk: int, source: str) -> RemovalEntry:
    plain = f"/{posixpath.normpath(path).lstrip('/')}"  # two slashes at the beginning would stay
    if not path.startswith("/") or ".." in path.split("/") or _WILD.search(path):
        raise BadInput(
            f"{path!r} is no path", on=source, remedy="give an absolute path without .. and without wildcards"
        )
    if disk == 0 and plain in _KEPT:
        raise BadInput(f"{path!r} would take the system away", on=source, remedy="name what is below it")
    return RemovalEntry(disk, plain, path.endswith("/"), source)


def plan(
    entries: Iterable[RemovalEntry], files: RemovableFiles, mounts: Mapping[str, str]
) -> tuple[tuple[RemovedFile, ...], tuple[str, ...]]:
    """What goes, and notes about entries that mean nothing here. `mounts`: device by mount point, as libguestfs names them."""
    removals: dict[str, RemovedFile] = {}
    notes = []
    for entry in entries:
        home = "" if entry.disk == 0 else _mount_point(entry.disk, mounts)
        path = None if home is None else posixpath.normpath(f"{home}{entry.path}")
        kind = None if path is None else files.is_directory(path)
        if path is None:
            notes.append(f"{entry.source}: data disk {entry.disk} is not mounted at one place")
        elif kind is None:
            continue  # gone already, or never there
        elif kind is not entry.is_directory:
            notes.append(f"{entry.source}: {path} is {'a' if kind else 'no'} directory; it stays")
        elif not any(path == done or path.startswith(f"{done}/") for done in removals):
            removals[path] = RemovedFile(path, kind, files.usage(path))
    return tuple(removals.values()), tuple(notes)


def _mount_point(disk: int, mounts: Mapping[str, str]) -> str | None:
    """Where the file system of a data disk is mounted; None when it has none, or several."""
    device = re.compile(rf"/dev/sd{chr(ord('a') + disk)}[0-9]*")
    points = [point for point, name in mounts.items() if device.fullmatch(name)]
    return points[0] if len(points) == 1 else None
