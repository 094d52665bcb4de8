"""Finds the files in which boot loaders and Linux roots name devices, in any file system that is read here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class UnreadableFolder(NamedTuple):
    """A folder that exists and cannot be read."""

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


def _listed(files: Files, folder: str, patterns: tuple[str, ...]) -> Sequence[str | UnreadableFolder]:
    """The files of a folder with one of these names; a name that begins with a dot means the end of a name."""
    try:
        names = _names(files, folder or "/")
    except UnreadableStructure as why:
        return [UnreadableFolder(folder, str(why))]
    return [f"{folder}/{name}" for name in sorted(names) if any(_is(name, pattern) for pattern in patterns)][
        :_MOST
    ]


def _is(name: str, pattern: str) -> bool:
    return name == pattern or (pattern[:1] in ("", ".") and name.endswith(pattern))


def _names(files: Files, folder: str) -> list[str]:
    try:
        return files.names(folder)
    except Missing:
        return []
