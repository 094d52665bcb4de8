"""Gathers facts about a guest from its disks, for rules to judge; an unreadable structure never ends the inspection."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from connector.offline import initramfs, loaders, lvm, partitions, volumes
from connector.offline.ext4 import Ext4
from connector.offline.fat import Fat
from connector.offline.ntfs import Ntfs
from connector.offline.partitions import Partition, Table
from connector.offline.volumes import Volume
from connector.offline.window import Bytes, DiskReader, DiskSlice, Files, Missing, UnreadableStructure

Result = TypeVar("Result")

_KERNEL: Final = re.compile(r"(?:initrd\.img|initramfs|initrd)-(?P<version>[^/]*?)(?:\.img)?")
_NOT: Final = ("rescue", "kdump")
_MOST_LOGICAL: Final = 64  # volumes of one group
_LONGEST_TEXT: Final = 1 << 20  # bytes
_IMMUTABLE: Final = 0x10  # flag of an inode


@dataclass(frozen=True, slots=True)
class VolumeLocation:
    """The place of one volume. Without a `partition` it fills the disk."""

    disk: str  # its label
    partition: Partition | None
    volume: Volume
    logical: str = ""  # of LVM: "group/volume" within it

    def __str__(self) -> str:
        where = self.disk if self.partition is None else f"{self.disk} partition {self.partition.number}"
        return f"{where} {self.logical}".rstrip()


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """One disk. `system`: it is the machine's first."""

    label: str
    size: int
    table: Table
    places: tuple[VolumeLocation, ...]
    system: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """The newest kernel's initramfs. `missing`: the devices without a driver, with the drivers that would suffice."""

    place: str
    name: str
    missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Linux:
    """The root of an installed Linux."""

    place: str
    name: str
    immutable: bool = False  # resolv.conf cannot be changed
    free_inodes: float = 1.0  # share


@dataclass(frozen=True, slots=True)
class DeviceNames:
    """A file that names devices by place: another machine may not have them, or may have other devices there."""

    place: str
    file: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Windows:
    """An NTFS. `asleep` and `dirty`: see `Ntfs`; `system`: Windows is installed there."""

    place: str
    system: bool
    asleep: bool
    dirty: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a file system is. Bytes."""

    place: str
    used: int
    size: int


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """The facts about one machine. `closed`: what could not be read, and why."""

    machine: str
    firmware: str = "bios"
    disks: tuple[DiskFacts, ...] = ()
    linux: tuple[Linux, ...] = ()
    windows: tuple[Windows, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    named: tuple[DeviceNames, ...] = ()
    loaders: tuple[str, ...] = ()  # places of FAT file systems with something for UEFI to start
    usage: tuple[Usage, ...] = ()
    closed: tuple[tuple[str, str], ...] = ()
    fetched: int = 0


class Inspection:
    """Gathers the facts of one machine, disk by disk. One thread."""

    def __init__(self, machine: str, firmware: str) -> None:
        self._machine, self._firmware = machine, firmware
        self._disks: list[DiskFacts] = []
        self._linux: list[Linux] = []
        self._windows: list[Windows] = []
        self._kernels: list[Kernel] = []
        self._named: list[DeviceNames] = []
        self._loaders: list[str] = []
        self._usage: list[Usage] = []
        self._closed: list[tuple[str, str]] = []
        self._fetched = 0

    def disk(self, label: str, window: DiskReader) -> None:
        """Look into one disk; the first is the system disk."""
        table = self._tried(label, lambda: partitions.read(window), Table())
        volumes_found = list(self._places(label, window, table))
        places = tuple(place for place, _ in volumes_found)
        self._disks.append(DiskFacts(label, window.size, table, places, not self._disks))
        for place, part in volumes_found:
            self._tried(str(place), lambda place=place, part=part: self._inside(place, part), None)  # type: ignore[misc]
        self._fetched += window.fetched

    def facts(self) -> GuestFacts:
        """The facts so far."""
        return GuestFacts(
            self._machine,
            self._firmware,
            tuple(self._disks),
            tuple(self._linux),
            tuple(self._windows),
            tuple(self._kernels),
            tuple(self._named),
            tuple(self._loaders),
            tuple(self._usage),
            tuple(self._closed),
            self._fetched,
        )

    def _tried(self, subject: str, read: Callable[[], Result], otherwise: Result) -> Result:
        try:
            return read()
        except UnreadableStructure as why:
            self._closed.append((subject, str(why)))
            return otherwise

    def _places(self, label: str, window: DiskReader, table: Table) -> Iterator[tuple[VolumeLocation, Bytes]]:
        parts: list[tuple[Partition | None, Bytes]] = [
            (entry, DiskSlice(window, entry.start, entry.length)) for entry in table.partitions
        ]
        for partition, part in parts or [(None, window)]:
            where = label if partition is None else f"{label} partition {partition.number}"
            volume = self._tried(where, lambda part=part: volumes.recognise(part), Volume())  # type: ignore[misc]
            yield VolumeLocation(label, partition, volume), part
            if volume.kind == "lvm":
                yield from self._logical(label, partition, part)

    def _logical(
        self, label: str, partition: Partition | None, part: Bytes
    ) -> Iterator[tuple[VolumeLocation, Bytes]]:
        where = str(VolumeLocation(label, partition, Volume("lvm")))
        none: tuple[lvm.LogicalVolume, ...] = ()
        logical_volumes = self._tried(where, lambda: lvm.logical_volumes(part), none)
        if (count := len(logical_volumes)) > _MOST_LOGICAL:
            why = f"it has {count} logical volumes, and only the first {_MOST_LOGICAL} were looked into"
            self._closed.append((where, why))
        for logical_volume in logical_volumes[:_MOST_LOGICAL]:
            place = VolumeLocation(label, partition, Volume(), logical_volume.name)
            if (inside := logical_volume.area) is None:
                self._closed.append((str(place), "it is not stored in plain runs on this disk alone"))
                continue
            volume = self._tried(str(place), lambda inside=inside: volumes.recognise(inside), Volume())  # type: ignore[misc]
            yield replace(place, volume=volume), inside

    def _inside(self, place: VolumeLocation, part: Bytes) -> None:
        if place.volume.kind == "ext":
            self._ext(place, Ext4(part))
        elif place.volume.kind == "ntfs":
            self._ntfs(place, Ntfs(part))
        elif place.volume.kind == "vfat":
            self._fat(place, Fat(part))
        elif place.volume.kind in ("xfs", "btrfs", "raid"):
            self._closed.append((str(place), f"{place.volume.kind} is not read"))

    def _ntfs(self, place: VolumeLocation, files: Ntfs) -> None:
        names = files.names()
        self._windows.append(Windows(str(place), "windows" in names, files.asleep(), files.dirty()))

    def _fat(self, place: VolumeLocation, files: Fat) -> None:
        if self._tried(str(place), lambda: loaders.starts(files), False):
            self._loaders.append(str(place))
        self._names_devices(place, files, loaders.configurations(files, ""))

    def _ext(self, place: VolumeLocation, files: Ext4) -> None:
        size = files.blocks * files.block
        self._usage.append(Usage(str(place), size - files.free * files.block, size))
        top = set(files.names("/"))
        if "etc" in top:
            self._tried(str(place), lambda: self._root(place, files), None)
        folder = "/boot" if "boot" in top else ""
        self._names_devices(place, files, loaders.configurations(files, folder))
        self._tried(str(place), lambda: self._kernels_in(place, files, f"{folder}/"), None)

    def _root(self, place: VolumeLocation, files: Ext4) -> None:
        immutable = False
        if "resolv.conf" in files.names("/etc"):
            resolv = self._sought(place, "/etc/resolv.conf", lambda: files.find("/etc/resolv.conf").flags, 0)
            immutable = bool(resolv & _IMMUTABLE)
        share = files.free_inodes / files.inodes if files.inodes else 1.0
        self._linux.append(Linux(str(place), self._pretty(place, files), immutable, share))
        self._names_devices(place, files, loaders.settings(files))

    def _names_devices(
        self, place: VolumeLocation, files: Files, paths: Iterable[str | loaders.UnreadableFolder]
    ) -> None:
        """Record which of these files name devices by place."""
        for path in paths:
            if isinstance(path, loaders.UnreadableFolder):
                self._closed.append((f"{place} {path.path}", path.why))
            elif devices := loaders.places(self._text(place, files, path)):
                self._named.append(DeviceNames(str(place), path, tuple(devices)))

    def _kernels_in(self, place: VolumeLocation, files: Ext4, folder: str) -> None:
        names = files.names(folder)
        images = [n for n in names if _KERNEL.fullmatch(n) and not any(word in n for word in _NOT)]
        if images:
            newest = max(images, key=_natural)
            self._kernels.append(self._kernel(place, files, folder, newest))

    def _kernel(self, place: VolumeLocation, files: Ext4, folder: str, name: str) -> Kernel:
        version = match["version"] if (match := _KERNEL.fullmatch(name)) else ""
        config = self._text(place, files, f"{folder}config-{version}")
        try:
            present = initramfs.modules(files.read(folder + name, initramfs.MOST)) | initramfs.built_in(
                config
            )
        except UnreadableStructure as why:
            return Kernel(str(place), name, trouble=str(why))
        missing = {
            device: tuple(drivers)
            for device, drivers in initramfs.DRIVERS.items()
            if not present.intersection(drivers)
        }
        if missing and not config:  # a missing driver may be built in
            lacks = ", ".join(drivers[0] for drivers in missing.values())
            return Kernel(
                str(place),
                name,
                trouble=f"without {lacks}, and the drivers built into its kernel are unknown",
            )
        return Kernel(str(place), name, missing)

    def _text(self, place: VolumeLocation, files: Files, path: str) -> str:
        """The beginning of a file's text, "" when it does not exist."""
        data = self._sought(place, path, lambda: files.read(path, _LONGEST_TEXT + 1), b"")
        if len(data) > _LONGEST_TEXT:
            why = f"it is larger than {_LONGEST_TEXT >> 20} MiB, and only its beginning was read"
            self._closed.append((f"{place} {path}", why))
        return data[:_LONGEST_TEXT].decode("utf-8", "replace")

    def _sought(
        self, place: VolumeLocation, path: str, read: Callable[[], Result], otherwise: Result
    ) -> Result:
        """A file that may be missing. If it exists and cannot be read, that is recorded in `closed`."""
        try:
            return read()
        except Missing:
            return otherwise
        except UnreadableStructure as why:
            self._closed.append((f"{place} {path}", str(why)))
            return otherwise

    def _pretty(self, place: VolumeLocation, files: Ext4) -> str:
        text = self._text(place, files, "/etc/os-release")
        match = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
        return match[1][:80] if match else "Linux"


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", name)]
