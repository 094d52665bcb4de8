"""Adds drivers to an initramfs by appending an archive to it: no program of the guest has to run.

A kernel unpacks the archives of an initramfs one after the other, and a later file replaces an earlier one (the kernel's
documentation, driver-api/early-userspace/buffer-format). The archive has the missing modules of the guest's own kernel, and
the index by which udev and modprobe find them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.offline.window import Files, Missing

#: The drivers of a machine with virtio devices. A kernel that lacks one of the first two cannot start from a virtio disk.
NEEDED: Final = ("virtio_pci", "virtio_blk")
WANTED: Final = (*NEEDED, "virtio_scsi", "virtio_net")
#: The index of all modules. The files that end in .bin are those that kmod reads, if they exist.
_INDEX: Final = (
    *(f"modules.{name}{end}" for name in ("dep", "alias", "symbols", "builtin") for end in ("", ".bin")),
    *("modules.softdep", "modules.order"),
)
_LARGEST_MODULE: Final = 16 << 20
_LARGEST_INDEX: Final = 32 << 20
_PROGRAMS: Final = ("modprobe", "kmod")
_UDEV: Final = ("udevd", "systemd-udevd", "udevadm")


@dataclass(frozen=True, slots=True)
class KernelModules:
    """The modules of one kernel in the guest's root. `needs`: by module, the paths below the kernel's directory, itself first."""

    directory: str
    needs: Mapping[str, Sequence[str]]
    built_in: frozenset[str]


def kernel_modules(files: Files, version: str) -> KernelModules | None:
    """None when the guest has no modules for this kernel."""
    directory = f"/lib/modules/{version}"
    try:
        dependencies = files.read(f"{directory}/modules.dep", _LARGEST_INDEX).decode("utf-8", "replace")
    except Missing:
        return None
    try:
        built_in = files.read(f"{directory}/modules.builtin", _LARGEST_INDEX).decode("utf-8", "replace")
    except Missing:
        built_in = ""
    needs = {}
    for line in dependencies.splitlines():
        path, _, others = line.partition(":")
        needs[module(path)] = (path, *others.split())
    return KernelModules(directory, needs, frozenset(map(module, built_in.split())))


def module(path: str) -> str:
    """The module's name: virtio_blk for kernel/drivers/block/virtio-blk.ko.xz."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def missing(names: Iterable[str], modules: KernelModules) -> list[str]:
    """The drivers that an initramfs with these names lacks and this kernel has as modules."""
    present = {module(name) for name in names if ".ko" in name} | modules.built_in
    return [driver for driver in WANTED if driver not in present and driver in modules.needs]


def absent(modules: KernelModules) -> list[str]:
    """The drivers that this kernel does not have at all, and cannot start without."""
    return [driver for driver in NEEDED if driver not in modules.built_in and driver not in modules.needs]


def has_loader(names: Iterable[str]) -> bool:
    """Whether the programs are there that load a driver for a device."""
    programs = {name.rpartition("/")[2] for name in names}
    return not programs.isdisjoint(_PROGRAMS) and not programs.isdisjoint(_UDEV)


def archive(
    files: Files,
    names: Iterable[str],
    modules: KernelModules,
    drivers: Iterable[str],
    extra: Mapping[str, bytes],
) -> bytes:
    """The archive to append. `names`: what the initramfs has. `extra`: further files, by their absolute path."""
    present = {name.removeprefix("./").strip("/") for name in names}
    version = modules.directory.rpartition("/")[2]
    home = f"{_home(present)}/{version}"
    paths = dict.fromkeys(path for driver in drivers for path in modules.needs[driver])
    contents = {path.strip("/"): data for path, data in extra.items()}
    for path in paths:
        contents[f"{home}/{path}"] = files.read(f"{modules.directory}/{path}", _LARGEST_MODULE)
    for name in _INDEX if paths else ():
        try:
            contents[f"{home}/{name}"] = files.read(f"{modules.directory}/{name}", _LARGEST_INDEX)
        except Missing:
            continue
    return _packed(contents, present)


def _home(present: set[str]) -> str:
    """Where this initramfs keeps modules. A directory that is a link there must not be made anew."""
    for home in ("usr/lib/modules", "lib/modules"):
        if any(name == home or name.startswith(f"{home}/") for name in present):
            return home
    return "usr/lib/modules" if "usr/lib" in present else "lib/modules"


def _packed(contents: Mapping[str, bytes], present: set[str]) -> bytes:
    pieces, directories = [], set(present)
    for number, (path, data) in enumerate(contents.items(), start=1):
        words = path.split("/")
        for count in range(1, len(words)):
            if (parent := "/".join(words[:count])) not in directories:
                directories.add(parent)
                pieces.append(_entry(parent, 0o040755, b"", 0))
        pieces.append(_entry(path, 0o100644, data, number))
    pieces.append(_entry("TRAILER!!!", 0, b"", 0))
    return b"".join(pieces)


def _entry(name: str, mode: int, data: bytes, number: int) -> bytes:
    """One entry of a cpio archive in the format newc."""
    encoded = name.encode() + b"\0"
    numbers = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % value for value in numbers) + encoded
    return _aligned(head) + _aligned(data)


def _aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def appended(size: int, addition: bytes) -> bytes:
    """What has to follow an initramfs of `size` bytes, so that the kernel finds the archive: it begins at a multiple of four."""
    return bytes(-size % 4) + addition
