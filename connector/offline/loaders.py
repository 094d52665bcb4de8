"""Where boot loaders and a Linux root keep the names of devices, in any file system that is read here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from connector.offline.window import Files, Missing, UnreadableStructure

_MOST: Final = 64  # files of one folder

#: Below /boot, or the root of a boot partition: a folder, and the files of it, by name or by how their names end.
_CONFIGURATIONS: Final = (
    ("/grub", ("grub.cfg", "grubenv", "menu.lst", "grub.conf", "custom.cfg", "user.cfg")),
    ("/grub2", ("grub.cfg", "grubenv", "custom.cfg", "user.cfg")),
    ("/loader/entries", (".conf",)),  # Boot Loader Specification
    ("/extlinux", ("extlinux.conf",)),
    ("/syslinux", ("syslinux.cfg",)),
    ("", ("extlinux.conf", "syslinux.cfg", "cmdline.txt", "refind_linux.conf")),
)
_OF_VENDORS: Final = ("grub.cfg", "grubenv", "elilo.conf", "refind_linux.conf")  # in each folder of /EFI

#: In the root of a Linux: what names devices at start, and what the configurations above are made from.
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
    """A folder that is there and cannot be read."""

    path: str
    why: str


def configurations(files: Files, folder: str) -> Iterator[str | UnreadableFolder]:
    """The boot loader's files. `folder`: "/boot" in a root, "" in a boot partition or an EFI system partition."""
    for below, wanted in _CONFIGURATIONS:
        yield from _listed(files, folder + below, wanted)
    for efi in (f"{folder}/EFI", f"{folder}/efi/EFI"):
        for vendor in _listed(files, efi, ("",)):
            yield from (
                [vendor] if isinstance(vendor, UnreadableFolder) else _listed(files, vendor, _OF_VENDORS)
            )


def settings(files: Files) -> Iterator[str | UnreadableFolder]:
    """The files of a root."""
    for folder, wanted in _SETTINGS:
        yield from _listed(files, folder, wanted)


def starts(files: Files) -> bool:
    """Whether UEFI has something to start here: a loader below /EFI. Raises Unreadable."""
    for vendor in _names(files, "/EFI"):
        try:
            if any(name.lower().endswith(".efi") for name in _names(files, f"/EFI/{vendor}")):
                return True
        except UnreadableStructure:  # a file beside the folders, or a damaged one
            continue
    return False


def _listed(files: Files, folder: str, wanted: tuple[str, ...]) -> Sequence[str | UnreadableFolder]:
    """The files of a folder with one of these names, or whose names end like that when it begins with a dot."""
    try:
        names = _names(files, folder or "/")
    except UnreadableStructure as why:
        return [UnreadableFolder(folder, str(why))]
    return [f"{folder}/{name}" for name in sorted(names) if any(_is(name, one) for one in wanted)][:_MOST]


def _is(name: str, wanted: str) -> bool:
    return name == wanted or (wanted[:1] in ("", ".") and name.endswith(wanted))


def _names(files: Files, folder: str) -> list[str]:
    try:
        return files.names(folder)
    except Missing:
        return []
