"""Finds the drivers for one Windows in a copy of virtio-win: a directory, or the files of its ISO image.

Two layouts are known, from the ISO and from the packages of distributions: `viostor/2k19/amd64/` with one driver in each
directory, and `drivers/by-os/amd64/2k19/` with all drivers in one. A newer Windows also takes the drivers of earlier releases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.errors import BadInput
from connector.offline.window import Files, Missing

#: The storage driver, without which Windows does not start from a virtio disk, and the network driver.
STORAGE: Final = "viostor"
NETWORK: Final = "netkvm"
_ARCHITECTURES: Final = {"x86_64": "amd64", "i386": "x86"}
_KINDS: Final = (".sys", ".inf", ".cat", ".dll", ".exe")  # without .pdb, which only debuggers read
_FLAT: Final = ("by-os", "drivers/by-os")
_LARGEST: Final = 64 << 20  # bytes of one file
#: Where virtio-win is when nobody names it: distributions install it there, and virt-v2v looks there too.
INSTALLED: Final = Path("/usr/share/virtio-win")


def installed(home: Path = INSTALLED) -> Path | None:
    """The copy of virtio-win that this computer has: its ISO image, or a directory with its files."""
    iso = home / "virtio-win.iso"
    return iso if iso.is_file() else home if home.is_dir() else None


@dataclass(frozen=True, slots=True)
class WindowsRelease:
    """`version`: of the kernel, such as (10, 0). `build`: its build number. `is_server`: a Windows Server."""

    version: tuple[int, int]
    build: int
    is_server: bool


#: By version of the kernel, server or not, and first build: the name of its directory in virtio-win. Newest first.
DIRECTORIES: Final = (
    ((10, 0), True, 26100, "2k25"),
    ((10, 0), True, 20348, "2k22"),
    ((10, 0), True, 17763, "2k19"),
    ((10, 0), True, 14393, "2k16"),
    ((10, 0), False, 22000, "w11"),
    ((10, 0), False, 10240, "w10"),
    ((6, 3), True, 0, "2k12R2"),
    ((6, 3), False, 0, "w8.1"),
    ((6, 2), True, 0, "2k12"),
    ((6, 2), False, 0, "w8"),
    ((6, 1), True, 0, "2k8R2"),
    ((6, 1), False, 0, "w7"),
    ((6, 0), True, 0, "2k8"),
)


def directories_of(release: WindowsRelease) -> tuple[str, ...]:
    """The names to look for, the best first. Empty for a Windows that virtio-win has no drivers for."""
    return tuple(
        name
        for version, is_server, build, name in DIRECTORIES
        if (version, is_server) == (release.version, release.is_server) and release.build >= build
    )


@dataclass(frozen=True, slots=True)
class VirtioDrivers:
    """The drivers of one directory. `paths`: by file name in small letters, where it is in virtio-win."""

    name: str
    paths: Mapping[str, str]
    source: Files

    def read(self, file: str) -> bytes:
        """A whole file. Raises BadInput for one that no driver is as large as, UnreadableStructure."""
        data = self.source.read(self.paths[file], _LARGEST + 1)
        if len(data) > _LARGEST:
            raise BadInput(
                f"has more than {_LARGEST >> 20} MiB, and is no driver",
                on=self.paths[file],
                remedy="get virtio-win again",
            )
        return data


def drivers_for(source: Files, release: WindowsRelease, architecture: str) -> VirtioDrivers | None:
    """The drivers, or None when this copy of virtio-win has no storage driver for it. Raises UnreadableStructure."""
    processor = _ARCHITECTURES.get(architecture)
    if processor is None:
        return None
    for name in directories_of(release):
        paths = {
            file.lower(): f"{directory}/{file}"
            for directory in _directories(source, name, processor)
            for file in _names(source, directory)
            if file.lower().endswith(_KINDS)
        }
        if f"{STORAGE}.sys" in paths:
            return VirtioDrivers(name, paths, source)
    return None


def _directories(source: Files, name: str, processor: str) -> Iterator[str]:
    for start in _FLAT:
        if directory := _below(source, "", *start.split("/"), processor, name):
            yield directory
            return
    for driver in _names(source, "/"):
        if directory := _below(source, f"/{driver}", name, processor):
            yield directory


def _below(source: Files, directory: str, *words: str) -> str:
    """The path of a directory below another one, as it is written there; "" when it does not exist."""
    for word in words:
        names = _names(source, directory or "/")
        name = next((name for name in names if name.lower() == word.lower()), None)
        if name is None:
            return ""
        directory = f"{directory}/{name}"
    return directory


def _names(source: Files, directory: str) -> list[str]:
    try:
        return sorted(source.names(directory))
    except Missing:
        return []


class DirectoryFiles:
    """A directory of this computer as `Files`. Raises BadInput for what cannot be read."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        """See `Files`."""
        with self._translated(path), open(self._root / path.strip("/"), "rb") as file:
            return file.read(most)

    def names(self, path: str) -> list[str]:
        """See `Files`."""
        with self._translated(path):
            return [entry.name for entry in (self._root / path.strip("/")).iterdir()]

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise Missing(f"{path} does not exist") from None
        except OSError as error:
            raise BadInput(
                f"cannot be read: {error.strerror}",
                on=str(self._root / path.strip("/")),
                remedy="make virtio-win readable, or name another copy of it with --virtio-win",
            ) from error
