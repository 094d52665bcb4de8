"""The formats that an image's files may have: their names, `qemu-img`'s words for them, and which disks they can hold. Data only.

The field ImageFormat, the options `--format`, the instance that writes images, the readers of images and the page about formats
are made from `FORMATS`. No format changes the capacity of a disk: what a format cannot hold is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from connector.errors import BadInput

_GIB: Final = 1 << 30

#: OVF's names of formats of disks. Importers know no name for VHDX and qcow2.
_OVF_VMDK: Final = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_OVF_VHD: Final = "http://go.microsoft.com/fwlink/?LinkId=137171"


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """One format.

    `name`: in the public API and in every other place where a user says it. `suffix`: of its files, without the dot.
    `driver`: `qemu-img`'s word. `options`: what `qemu-img convert` needs beside it. `largest`: bytes of the largest disk;
    `alignment`: every capacity is a multiple of it. `compressed`: its data are compressed. `ovf`: OVF's name of it; empty: no OVF
    is written. `libvirt`: libvirt can run a machine on its files. `help`: what it is for.
    """

    name: str
    suffix: str
    driver: str
    help: str
    largest: int
    options: tuple[str, ...] = ()
    alignment: int = 512
    compressed: bool = False
    ovf: str = ""
    libvirt: bool = True

    def trouble(self, capacity: int) -> str:
        """Why a disk of `capacity` bytes cannot have this format; empty if it can."""
        if capacity > self.largest:
            most = f"{self.largest // _GIB} GiB ({self.largest} bytes)"
            return f"it has {capacity} bytes, and {self.name} holds at most {most}"
        if capacity % self.alignment:
            return f"it has {capacity} bytes, and {self.name} holds whole sectors of {self.alignment} bytes"
        return ""


#: 32-bit numbers of sectors say where a grain is, and data that cannot be compressed grow by a sector for each 64 KiB.
_LARGEST_VMDK: Final = 2031 * _GIB
#: A place in the file is a 32-bit number of sectors, too. qemu-img, Hyper-V and Azure have this limit.
_LARGEST_VHD: Final = 2040 * _GIB
#: More than any target takes.
UNLIMITED: Final = 1 << 51

RAW: Final = ImageFormat(
    "raw",
    "raw",
    "raw",
    "plain bytes, written sparse; no tool is needed to read it",
    UNLIMITED,
    alignment=1,
)
DEFAULT: Final = ImageFormat("qcow2", "qcow2", "qcow2", "for QEMU, KVM, Proxmox and OpenStack", UNLIMITED)
FORMATS: Final = (
    DEFAULT,
    RAW,
    ImageFormat(
        "qcow2-compressed", "qcow2", "qcow2", "qcow2 for the archive or for a slow line: smaller, and slower to make",
        UNLIMITED, options=("-c",), compressed=True,
    ),
    ImageFormat(
        "vmdk", "vmdk", "vmdk", "for VMware and VirtualBox, by import: the stream-optimized kind, which no machine can run on",
        _LARGEST_VMDK, options=("-o", "subformat=streamOptimized,adapter_type=lsilogic,compat6"), compressed=True,
        ovf=_OVF_VMDK, libvirt=False,
    ),
    ImageFormat(
        "vhd", "vhd", "vpc", "for older Hyper-V, Xen and VirtualBox: a dynamic disk", _LARGEST_VHD,
        options=("-o", "subformat=dynamic,force_size=on"), ovf=_OVF_VHD,
    ),
    ImageFormat(
        "vhdx", "vhdx", "vhdx", "for Hyper-V: a dynamic disk", 64 << 40, options=("-o", "subformat=dynamic"), libvirt=False,
    ),
)  # fmt: skip

BY_NAME: Final = {form.name: form for form in FORMATS}
NAMES: Final = tuple(BY_NAME)
SUFFIXES: Final = frozenset(form.suffix for form in FORMATS)
DRIVERS: Final = tuple(dict.fromkeys(form.driver for form in FORMATS))


def named(name: str) -> ImageFormat:
    """The format of that name. Raises BadInput."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise BadInput(
            f"image format {name[:120]!r} is not known", remedy=f"use {', '.join(NAMES[:-1])} or {NAMES[-1]}"
        ) from None


def alternatives(capacities: Iterable[int]) -> tuple[str, ...]:
    """The names of the formats that can hold disks of all these capacities."""
    sizes = tuple(capacities)
    return tuple(form.name for form in FORMATS if not any(form.trouble(size) for size in sizes))
