"""Finds the files in which boot loaders and Linux roots name devices, in any file system, and the devices named by place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from connector.offline.window import Files, Missing, UnreadableStructure

_MOST: Final = 64  # files of one folder

#: Below /boot, or the root of a boot partition: a folder, and its files by name or by the end of the name.
_CONFIGURATIONS: Final = (
    ("/grub", ("grub.cfg", "grubenv", "menu.lst", "grub.conf", "custom.cfg", "user.cfg")),
    ("/grub2", ("grub.cfg", "grubenv", "custom.cfg", "user.cfg")),
    ("/loader/entries", (".conf",)),  # Boot Loader Specification
    ("/extlinux", ("extlinux.conf",)),
    ("/syslinux", ("syslinux.cfg",)),
    ("", ("extlinux.conf", "syslinux.cfg", "cmdline.txt", "refind_linux.conf")),
)
_OF_VENDORS: Final = ("grub.cfg", "grubenv", "elilo.conf", "refind_linux.conf")  # in each folder of /EFI

#: In a Linux root: files that name devices at start, and sources of the configurations above.
_SETTINGS: Final = (
    ("/etc", ("fstab", "crypttab", "lilo.conf", "zipl.conf", "elilo.conf")),
    ("/etc/default", ("grub",)),
    ("/etc/default/grub.d", (".cfg",)),
    ("/etc/initramfs-tools/conf.d", ("resume",)),
    ("/etc/kernel", ("cmdline",)),
    ("/etc/cmdline.d", (".conf",)),
    ("/etc/dracut.conf.d", (".conf",)),
    ("/etc/systemd/system", (".mount", ".swap")),
)

#: Devices by a place or a serial number that another machine does not have. Names of LVM and RAID in by-id are valid anywhere.
_PLACE: Final = re.compile(
    r"/dev/(?:(?:s|h|v|xv)d[a-z]+[0-9]*|nvme\d+n\d+(?:p\d+)?|mmcblk\d+(?:p\d+)?|dasd[a-z]+\d*"
    r"|(?:cciss|ida|rd)/c\d+d\d+(?:p\d+)?|block/\d+:\d+"
    r"|disk/by-(?:path|diskseq)/[^\s\"'\\,;]+|disk/by-id/(?!dm-|md-|lvm-)[^\s\"'\\,;]+)"
)
#: Such a device within a line: it is a whole word of a configuration or of a kernel's command line.
_WITHIN: Final = re.compile(rf"(?:^|[\s\"'=,:;({{|])({_PLACE.pattern})(?=$|[\s\"'\\,:;)}}|])")
#: A kernel's root by the number of its device, as LILO writes it: root=802, root=8:2.
_NUMBERED: Final = re.compile(r"\broot=(?:0x)?([0-9a-fA-F]{3,4}|\d+:\d+)(?=$|[\s\"'])")
#: Where a device may be named as UUID=...: the first word of these tables, and after these words of a kernel's command line.
_TABLES: Final = ("/etc/fstab", "/etc/crypttab")
_TAGGED: Final = re.compile(r"\b(?:root|resume|RESUME)=$")
_TITLE: Final = re.compile(r"\s*(?:menuentry|submenu|title|menu\s+label)\s", re.IGNORECASE)


class UnreadableFolder(NamedTuple):
    """A folder that exists and cannot be read, or not in full."""

    path: str
    why: str


def configurations(files: Files, folder: str) -> Iterator[str | UnreadableFolder]:
    """The boot loader's files. `folder`: "/boot" in a root, "" in a boot partition or an EFI system partition."""
    for below, names in _CONFIGURATIONS:
        yield from _listed(files, folder + below, names)
    for efi in (f"{folder}/EFI", f"{folder}/efi/EFI"):
        for vendor in _listed(files, efi, ("",)):
            yield from (
                [vendor] if isinstance(vendor, UnreadableFolder) else _listed(files, vendor, _OF_VENDORS)
            )


def settings(files: Files) -> Iterator[str | UnreadableFolder]:
    """The files of a Linux root."""
    for folder, names in _SETTINGS:
        yield from _listed(files, folder, names)


def starts(files: Files) -> bool:
    """Whether there is a loader for UEFI below /EFI. Raises UnreadableStructure."""
    for vendor in _names(files, "/EFI"):
        try:
            if any(name.lower().endswith(".efi") for name in _names(files, f"/EFI/{vendor}")):
                return True
        except UnreadableStructure:  # a file beside the folders, or a damaged one
            continue
    return False


def places(text: str) -> list[str]:
    """Devices that a configuration file or a kernel's command line names by place, in order, each once.

    Comments and the titles of a menu are ignored.
    """
    devices: dict[str, None] = {}
    for line in text.splitlines():
        if _TITLE.match(line):
            continue
        words = re.split(r"(?:^|\s)#", line, maxsplit=1)[0]
        devices |= dict.fromkeys(match[1] for match in _WITHIN.finditer(words))
        devices |= dict.fromkeys(f"root={match[1]}" for match in _NUMBERED.finditer(words))
    return list(devices)


def renamed(text: str, names: Mapping[str, str], path: str) -> str:
    """The text with each of these devices named by its UUID, where `places` sees them. `names`: UUID by device."""
    lines = text.splitlines(keepends=True)
    return "".join(line if _TITLE.match(line) else _renamed(line, names, path) for line in lines)


def _renamed(line: str, names: Mapping[str, str], path: str) -> str:
    comment = re.search(r"(?:^|\s)#", line)
    end = comment.start() if comment else len(line)

    def by_uuid(match: re.Match[str]) -> str:
        device, before = match[1], line[: match.start(1)]
        if device not in names:
            return match[0]
        takes_tag = (path in _TABLES and not before.strip()) or _TAGGED.search(before)
        name = f"UUID={names[device]}" if takes_tag else f"/dev/disk/by-uuid/{names[device]}"
        return match[0][: match.start(1) - match.start()] + name

    return _WITHIN.sub(by_uuid, line[:end]) + line[end:]


def _listed(files: Files, folder: str, patterns: tuple[str, ...]) -> Sequence[str | UnreadableFolder]:
    """The files of a folder with one of these names; a name that begins with a dot means the end of a name."""
    try:
        names = _names(files, folder or "/")
    except UnreadableStructure as why:
        return [UnreadableFolder(folder, str(why))]
    paths = [f"{folder}/{name}" for name in sorted(names) if any(_is(name, pattern) for pattern in patterns)]
    if len(paths) <= _MOST:
        return paths
    left = f"it has {len(paths)} such files, and only the first {_MOST} were read"
    return [*paths[:_MOST], UnreadableFolder(folder, left)]


def _is(name: str, pattern: str) -> bool:
    return name == pattern or (pattern[:1] in ("", ".") and name.endswith(pattern))


def _names(files: Files, folder: str) -> list[str]:
    try:
        return files.names(folder)
    except Missing:
        return []
