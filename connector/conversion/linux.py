"""Plans what a Linux guest needs to start on virtio hardware. It reads the guest's files and changes nothing.

Each step is one function of the table `STEPS`: facts in, changes out. A guest that needs nothing of a step gets nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from connector.conversion import initramfs_append
from connector.conversion.changes import Append, ChangePlan, FileChange
from connector.conversion.guest_disks import FileSystem
from connector.conversion.network import plan as network_plan
from connector.conversion.network.cards import Card
from connector.conversion.network.plan import NetworkMode
from connector.errors import Ineligible
from connector.offline import initramfs, loaders
from connector.offline.window import Files, Missing, UnreadableStructure

MIB: Final = 1 << 20
_LONGEST_TEXT: Final = 1 << 20
_LARGEST_LOADER: Final = 16 << 20
_ROOM: Final = 4 * MIB  # bytes that stay free in /boot
_IMAGE: Final = re.compile(r"(?:initrd\.img|initramfs|initrd)-(?P<version>[^/]*?)(?:\.img)?")
_OTHERS: Final = ("rescue", "kdump")
_COMMAND_LINE: Final = re.compile(
    r"^\s*(?:linux\w*|kernel|options|append)\s+(.*)$", re.MULTILINE | re.IGNORECASE
)
_DEVICE: Final = re.compile(
    r"/dev/(?:s|h|v|xv)d(?P<letters>[a-z]{1,2})(?P<part>[0-9]*)|/dev/nvme(?P<unit>[0-9]+)n1(?:p(?P<slice>[0-9]+))?"
)
_BY_PLACE: Final = re.compile(r"/dev/disk/by-(?:path|id)/.*?(?:-part(?P<part>[0-9]+))?")


class MountedFiles(Files, Protocol):
    """The mounted file systems of a guest."""

    def size(self, path: str) -> int:
        """The size of a file in bytes. Raises Missing."""

    def free(self, directory: str) -> int:
        """Free bytes where this directory is."""


@dataclass(frozen=True, slots=True)
class LinuxGuest:
    """A guest whose file systems are mounted. `volumes`: by libguestfs's device, whose disks are /dev/sda, /dev/sdb in order."""

    name: str
    files: MountedFiles
    volumes: Mapping[str, FileSystem]
    disks: int
    firmware: str = "bios"
    mounts: Mapping[str, str] = field(default_factory=dict)
    network: NetworkRequest | None = None


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """What shall become of the network. `keeps_macs`: the target's cards have the MACs of these cards."""

    cards: tuple[Card, ...]
    mode: NetworkMode
    keeps_macs: bool


def plan(guest: LinuxGuest) -> ChangePlan:
    """Everything that has to change. Raises Ineligible when /boot is full."""
    network, early_files = _network(guest)
    whole = network + _drivers(guest, early_files)
    for step in STEPS:
        whole = whole + step(guest)
    return whole


def _network(guest: LinuxGuest) -> tuple[ChangePlan, Mapping[str, bytes]]:
    """The network's part, and the files of it that the initramfs needs too, by path."""
    if guest.network is None or not guest.network.cards:
        return ChangePlan(), {}
    request = guest.network
    result = network_plan.plan(
        guest.files,
        request.cards,
        mode=request.mode,
        keeps_macs=request.keeps_macs,
        command_lines=list(_command_lines(guest.files)),
    )
    return result.plan, {change.path: change.after for change in result.initramfs_files if change.after}


def _command_lines(files: Files) -> Iterator[str]:
    """What the boot loader gives to kernels."""
    for path in loaders.configurations(files, "/boot"):
        if isinstance(path, str) and (text := _text(files, path)):
            yield from (match[1] for match in _COMMAND_LINE.finditer(text))


def _drivers(guest: LinuxGuest, early_files: Mapping[str, bytes]) -> ChangePlan:
    """The initramfs of each kernel has the drivers of a virtio machine, and the names of network cards."""
    whole = ChangePlan()
    images = list(_initramfs_images(guest.files))
    for path, version in images:
        whole = whole + _drivers_of(guest, path, version, early_files)
    if unread := [
        *_unified_images(guest),
        *([] if images else ["/boot has no initramfs that is known by its name"]),
    ]:
        note = f"{'; '.join(unread)}: check that its kernels have {', '.join(initramfs_append.WANTED)}"
        whole = whole + ChangePlan(notes=(note,))
    return whole + _drivers_later(guest, any("virtio" in append.why for append in whole.appends))


def _initramfs_images(files: Files) -> Iterator[tuple[str, str]]:
    for name in _names(files, "/boot"):
        match = _IMAGE.fullmatch(name)
        if match and not any(word in name for word in _OTHERS):
            yield f"/boot/{name}", match["version"]


def _unified_images(guest: LinuxGuest) -> Iterator[str]:
    """Kernels that are one file with their initramfs, which is not read here."""
    for point in _ESPS:
        home = _folder(guest.files, point, "EFI") if point in guest.mounts else None
        for name in _names(guest.files, f"{point}/{home}/Linux") if home else ():
            if name.lower().endswith(".efi"):
                yield f"{point}/{home}/Linux/{name} has its initramfs inside"


def _drivers_of(guest: LinuxGuest, path: str, version: str, early_files: Mapping[str, bytes]) -> ChangePlan:
    modules = initramfs_append.kernel_modules(guest.files, version)
    if modules is None:
        return ChangePlan(
            notes=(f"{path}: its kernel has no modules in /lib/modules/{version}; it is left as it is",)
        )
    if absent := initramfs_append.absent(modules):
        return ChangePlan(
            notes=(
                f"{path}: its kernel has no {' and no '.join(absent)}, and cannot start from a virtio disk",
            )
        )
    try:
        names = list(initramfs.names(guest.files.read(path, initramfs.MOST)))
    except UnreadableStructure as why:
        return ChangePlan(
            notes=(
                f"{path} is not understood ({why}): check that it has {', '.join(initramfs_append.WANTED)}",
            )
        )
    drivers = initramfs_append.missing(names, modules)
    early = {file: data for file, data in early_files.items() if file.strip("/") not in names}
    if not drivers and not early:
        return ChangePlan()
    if drivers and not initramfs_append.has_loader(names):
        return ChangePlan(
            notes=(f"{path} has no udev, which would load {', '.join(drivers)}: rebuild it in the source",)
        )
    size = guest.files.size(path)
    try:
        addition = initramfs_append.archive(guest.files, names, modules, drivers, early)
    except UnreadableStructure as why:
        return ChangePlan(notes=(f"{path} lacks {', '.join(drivers)}, and they cannot be read ({why})",))
    data = initramfs_append.appended(size, addition)
    _require_room(guest, path, len(data))
    lacks = f"lacks {', '.join(drivers)}" if drivers else f"lacks {', '.join(early)}"
    return ChangePlan(appends=(Append(path, size, data, lacks),))


def _require_room(guest: LinuxGuest, path: str, needed: int) -> None:
    free = guest.files.free("/boot")
    if free < needed + _ROOM:
        raise Ineligible(
            f"{path} needs {needed // MIB + 1} MiB more, and its file system has {free // MIB} MiB free",
            on=guest.name,
            remedy="remove kernels that are not used in the source, then run another pass",
        )


def _drivers_later(guest: LinuxGuest, is_needed: bool) -> ChangePlan:
    """The guest's own tool adds the drivers too, when it makes the initramfs anew with its next kernel."""
    drivers = initramfs_append.WANTED[:-1]
    if not is_needed:
        return ChangePlan()
    if (text := _text(guest.files, "/etc/initramfs-tools/modules")) is not None:
        lines = {line.strip() for line in text.splitlines()}
        missing = [driver for driver in drivers if driver not in lines]
        return _changed(
            "/etc/initramfs-tools/modules",
            text,
            _line_ended(text) + "".join(f"{d}\n" for d in missing),
            _LATER,
        )
    if "dracut.conf.d" in _names(guest.files, "/etc"):
        path = "/etc/dracut.conf.d/50-connector-virtio.conf"
        return _changed(path, _text(guest.files, path), f'add_drivers+=" {" ".join(drivers)} "\n', _LATER)
    return ChangePlan(
        notes=("the tool that makes the initramfs is not known: a kernel update may lose the virtio drivers",)
    )


_LATER: Final = "the initramfs of the next kernel needs the virtio drivers too"


def _device_names(guest: LinuxGuest) -> ChangePlan:
    """Settings and boot loaders name file systems by UUID, not by a place that another machine does not have."""
    folders = [*loaders.settings(guest.files), *loaders.configurations(guest.files, "/boot")]
    for point in _ESPS[:2]:
        folders += loaders.configurations(guest.files, point) if point in guest.mounts else []
    whole = ChangePlan()
    for path in dict.fromkeys(folders):
        if isinstance(path, loaders.UnreadableFolder):
            whole = whole + ChangePlan(notes=(f"{path.path}: {path.why}",))
        elif (text := _text(guest.files, path)) is not None and (devices := loaders.places(text)):
            whole = whole + _renamed(guest, path, text, devices)
    return whole


def _renamed(guest: LinuxGuest, path: str, text: str, devices: Sequence[str]) -> ChangePlan:
    others = _other_kinds(guest, text) if path == "/etc/fstab" else {}
    devices = [device for device in devices if device not in others]
    uuids = {device: uuid for device in devices if (uuid := _uuid(guest, device))}
    unknown = [device for device in devices if device not in uuids]
    after = loaders.renamed(text, uuids, path)
    if path.rpartition("/")[2] == "grubenv":
        after = _block(text, after)
    notes = [f"{path} names {device}, which is no file system of this image" for device in unknown]
    if path == "/etc/fstab" and unknown:
        after, notes = _optional(after, unknown), []
    notes += [f"{path} names {device} {why}; it is left as it is" for device, why in others.items()]
    if path.endswith((".swap", "lilo.conf", "zipl.conf", "elilo.conf")):
        return ChangePlan(notes=(f"{path} names {', '.join(devices)} and is left as it is",))
    why = f"names {', '.join(devices)}, which another machine may not have"
    return _changed(path, text, after, why) + ChangePlan(notes=tuple(notes))


def _other_kinds(guest: LinuxGuest, text: str) -> dict[str, str]:
    """Devices whose place has another kind of file system than fstab says, and how they differ.

    The guest may count its disks in another order than the machine has them. Then its names must not become UUIDs.
    """
    others = {}
    for words in (line.split() for line in text.splitlines() if not line.lstrip().startswith("#")):
        volume = _volume(guest, words[0]) if len(words) > 2 else None
        if volume is not None and not _is_kind(words[2], volume.kind):
            others[words[0]] = f"as {words[2]}, and there is {volume.kind}"
    return others


def _is_kind(said: str, kind: str) -> bool:
    family = ("ext2", "ext3", "ext4")
    return any(word in ("auto", kind) or (word in family and kind in family) for word in said.split(","))


def _uuid(guest: LinuxGuest, device: str) -> str:
    """The UUID of the file system that the guest calls so; "" when it cannot be known."""
    volume = _volume(guest, device)
    return volume.uuid if volume is not None else ""


def _volume(guest: LinuxGuest, device: str) -> FileSystem | None:
    """What is at the place that the guest calls so; None when it cannot be known."""
    here = _here(guest, device)
    return None if here is None else guest.volumes.get(here)


def _here(guest: LinuxGuest, device: str) -> str | None:
    """libguestfs's name of a device of the guest: its disks are /dev/sda, /dev/sdb, in the machine's order."""
    if match := _DEVICE.fullmatch(device):
        place = int(match["unit"]) if match["unit"] else _place(match["letters"])
        part = match["slice"] if match["unit"] else match["part"]
    elif (match := _BY_PLACE.fullmatch(device)) and guest.disks == 1:
        place, part = 0, match["part"]
    else:
        return None
    return f"/dev/sd{_letters(place)}{part or ''}" if place < guest.disks else None


def _place(letters: str) -> int:
    place = 0
    for letter in letters:
        place = place * 26 + ord(letter) - ord("a") + 1
    return place - 1


def _letters(place: int) -> str:
    first, last = divmod(place, 26)
    return (chr(ord("a") + first - 1) if first else "") + chr(ord("a") + last)


def _optional(text: str, devices: Sequence[str]) -> str:
    """fstab, in which file systems on disks that are not in the image do not stop the start: they get `nofail`."""
    lines = text.splitlines(keepends=True)
    return "".join(
        _nofail(line) if line.split()[:1] and line.split()[0] in devices else line for line in lines
    )


def _nofail(line: str) -> str:
    match = re.match(r"(\s*\S+\s+\S+\s+\S+\s+)(\S+)(.*)", line, re.DOTALL)
    if match is None or "nofail" in match[2].split(",") or "noauto" in match[2].split(","):
        return line
    return f"{match[1]}{match[2]},nofail{match[3]}"


def _block(before: str, after: str) -> str:
    """GRUB's environment has exactly the size that it had, filled with #."""
    return after.rstrip("#").ljust(len(before), "#") if len(after.rstrip("#")) <= len(before) else before


def _removable_path(guest: LinuxGuest) -> ChangePlan:
    """A machine without the source's firmware settings starts EFI/BOOT/BOOTX64.EFI."""
    if guest.firmware != "efi":
        return ChangePlan()
    folders = [
        (point, home)
        for point in _ESPS
        if point in guest.mounts and (home := _folder(guest.files, point, "EFI"))
    ]
    if not folders:
        return ChangePlan(
            notes=(
                "its EFI system partition is not mounted by fstab: check that it has EFI/BOOT/BOOTX64.EFI",
            )
        )
    efi = f"{folders[0][0]}/{folders[0][1]}"
    boot = f"{efi}/{_folder(guest.files, efi, 'BOOT') or 'BOOT'}"
    if any(name.upper() == "BOOTX64.EFI" for name in _names(guest.files, boot)):
        return ChangePlan()
    for vendor in _names(guest.files, efi):
        present = {name.lower(): name for name in _names(guest.files, f"{efi}/{vendor}")}
        starter = next((name for name in _STARTERS if name in present), None)
        if starter is not None:
            beside = {name: present[name] for name in _BESIDE if name in present and name != starter}
            copied = {"BOOTX64.EFI": present[starter]} | beside
            return ChangePlan(
                tuple(
                    _copied(guest.files, f"{efi}/{vendor}/{old}", f"{boot}/{new}")
                    for new, old in copied.items()
                )
            )
    return ChangePlan(notes=("its EFI system partition has no boot loader that is known",))


def _folder(files: Files, directory: str, name: str) -> str | None:
    """The name in a directory as it is written there: FAT does not tell large letters from small ones."""
    return next((entry for entry in _names(files, directory) if entry.upper() == name), None)


_ESPS: Final = ("/boot/efi", "/efi", "/boot")  # where distributions mount it
_STARTERS: Final = ("shimx64.efi", "grubx64.efi", "systemd-bootx64.efi")
_BESIDE: Final = ("grubx64.efi", "mmx64.efi")  # shim starts these, from its own directory


def _copied(files: Files, source: str, path: str) -> FileChange:
    why = f"a firmware without settings starts it; a copy of {source}"
    return FileChange(path, None, files.read(source, _LARGEST_LOADER), why)


def _vmware_tools(guest: LinuxGuest) -> ChangePlan:
    """VMware's own tools look for its hardware at each start. They are named, not removed: only their uninstaller knows them."""
    names = _names(guest.files, "/etc/vmware-tools")
    if "locations" in names:  # the installer of VMware's own tools writes it; open-vm-tools do not
        return ChangePlan(
            notes=(
                "VMware's own tools are installed: remove them with vmware-uninstall-tools.pl when convenient",
            )
        )
    return ChangePlan()


STEPS: Final[tuple[Callable[[LinuxGuest], ChangePlan], ...]] = (_device_names, _removable_path, _vmware_tools)


def _changed(path: str, before: str | None, after: str, why: str) -> ChangePlan:
    if before == after:
        return ChangePlan()
    old = None if before is None else before.encode("utf-8", "surrogateescape")
    return ChangePlan((FileChange(path, old, after.encode("utf-8", "surrogateescape"), why),))


def _line_ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _names(files: Files, directory: str) -> list[str]:
    try:
        return sorted(files.names(directory))
    except Missing:
        return []


def _text(files: Files, path: str) -> str | None:
    """A file's text; None when it does not exist, or is too large for a configuration."""
    try:
        data = files.read(path, _LONGEST_TEXT + 1)
    except Missing:
        return None
    return data.decode("utf-8", "surrogateescape") if len(data) <= _LONGEST_TEXT else None
