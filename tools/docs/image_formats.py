"""docs/user-guide/image-formats.md is made from the table of formats. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from connector.specification.image_formats import DEFAULT, FORMATS, UNLIMITED, ImageFormat

_INTRODUCTION: Final = """# Image formats

This page is generated from `connector/specification/image_formats.py`; a test compares them.

The provider `local` delivers the disks of an image as files. Their format is the field `ImageFormat` of a job (`--format` on the
command line, `imageFormat` in a manifest). It may be changed while the job rests; the next image has it. The provider `alibaba`
keeps its images in ECS and refuses every format but the default.
"""

_CAPACITY: Final = """
The capacity of a disk is never changed: an image has as many bytes as the source's disk, also when the disk ends in the middle of
a MiB. After each conversion the instance asks `qemu-img info` for the capacity, and delivers nothing if it differs. What a format
cannot hold is refused before the copying begins, and the refusal names the formats that can hold it. That happens when the job is
created (a data disk, which may be left out, when the job is started), at each start and cutover, and before the pass of each
run, because a disk may have grown.

- **vhd**: a VHD says its capacity twice, in bytes and as the geometry of an old disk. The geometry cannot say most capacities:
  by it `qemu-img` would round a disk of 3,146,240 bytes up to 3,168,256. The connector makes it count in bytes. QEMU, libvhdi
  and 7-Zip read these bytes; Hyper-V, Xen and VirtualBox were not tried. Azure takes only VHDs of a fixed size and of whole MiB:
  convert the image with `qemu-img convert -O vpc -o subformat=fixed,force_size=on`.
- **vhdx**: QEMU and libvhdi read every number of whole sectors. 7-Zip does not open a VHDX with an odd number of them; that is a
  fault of 7-Zip. Hyper-V was not tried.
- **vmdk**: 32-bit numbers say where data are, and data that cannot be compressed grow. A disk of up to 2031 GiB fits whatever
  it holds. A larger one might fail while the source is down, so it is refused. QEMU and libvmdk read these files; 7-Zip does not.
- A capacity that is no multiple of 512 bytes does not exist in vSphere. Only raw can hold it.

If `qemu-img` (Debian package `qemu-utils`) is not installed on the instance, the image is raw, whatever was asked for, and its
details say so.
"""

_BESIDE: Final = """
## What is beside the disks

| file | beside | for |
|---|---|---|
| `machine.json` | every format | the [boot check](../booting.md); it has `qemu-img`'s words, `vpc` for a VHD |
| `machine.xml` | {libvirt} | libvirt: `virsh define machine.xml` |
| `machine.ovf` | {ovf} | VMware and VirtualBox: `govc import.ovf machine.ovf`, `ovftool`, *Deploy OVF Template* |
| `evidence.json`, `*.digests` | every format | the check of the bytes without network ([evidence](../evidence.md)) |

`machine.ovf` has the processors, memory, firmware and secure boot of the source, its disks in the order of their boot, its
network cards with their addresses and networks, and its guest operating system. Controllers and kinds of network cards are not
the source's: it has LSI Logic controllers and E1000 cards. An importer may give a card another address. An import by govc into
vcsim is tested; imports into a real vCenter and into VirtualBox are not. It has no manifest (`.mf`): to make one, each image
would have to be read once more while the source is down.

A qcow2, VHD or VHDX can be attached to a machine as it is. A stream-optimized VMDK cannot: import it.

## What a format adds to the downtime

An image is made after the last pass of a cutover, while the source is down. Making it reads, converts and writes all data of the
disks once. One GiB of programs and libraries, with qemu-img 7.2 on two processors that had other work too:

| format | seconds | MiB written |
|---|---|---|
| raw, qcow2, vhd | 1 to 2 | 1020 |
| vhdx | 5 | 1020 |
| qcow2-compressed | 29 | 420 |
| vmdk | 42 | 400 |

Compression takes the processor of the instance: up to four processors for qcow2-compressed, one for vmdk. At that rate a machine
with 200 GiB of data is down one and a half hours longer with `qcow2-compressed` than with `qcow2`. When every minute counts, cut
over with `qcow2` or `raw`, and compress afterwards: `qemu-img convert -O qcow2 -c`. The predicted downtime contains the time that
making the job's last image took; after a change of the format, let the job make one image before the cutover. The proof after it
takes the same time for all formats.
"""


def document() -> str:
    """The whole page."""
    head = ("format", "files", "largest disk", "compressed", "what it is for")
    beside = _BESIDE.format(
        libvirt=", ".join(form.name for form in FORMATS if form.libvirt),
        ovf=", ".join(form.name for form in FORMATS if form.ovf),
    )
    return "\n".join([_INTRODUCTION, *_table(head, map(_row, FORMATS))]) + "\n" + _CAPACITY + beside


def _row(form: ImageFormat) -> tuple[str, ...]:
    default = ", the default" if form is DEFAULT else ""
    most = "as the target" if form.largest == UNLIMITED else f"{form.largest >> 30} GiB"
    return (
        f"`{form.name}`{default}",
        f"`KEY.{form.suffix}`",
        most,
        "yes" if form.compressed else "",
        form.help,
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(line) + " |"
