"""The files beside an image that say which machine it belongs in: `machine.json` for us, `machine.xml` for libvirt.

`machine.json` names files relative to its own directory, so an image may be moved. Their format is qemu-img's word: a VHD is
`vpc`. libvirt wants absolute paths: `machine.xml` has the place where the image was made. It is written for the formats that
libvirt can run a machine on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as xml

from connector.cloud.provider import ImageRequest
from connector.errors import BadInput
from connector.specification.image_formats import FORMATS

NAME: Final = "machine.json"
LIBVIRT: Final = "machine.xml"
CONVERTED: Final = "converted"  # the directory of a converted copy, below that of the image
CONVERSION: Final = "conversion.json"  # what a conversion changed; beside the converted copy
VERSION: Final = 1
_LIBVIRT_FORMATS: Final = frozenset(form.driver for form in FORMATS if form.libvirt)
_ARCHITECTURES: Final = {"arm64": "aarch64", "i386": "i686"}  # libvirt's words, where they differ


@dataclass(frozen=True, slots=True)
class NetworkCard:
    """A network card of the source, in the order of its slots."""

    mac: str
    network: str = ""


@dataclass(frozen=True, slots=True)
class ImageDisk:
    """A disk of the image. `file` is relative to the image's directory; `format` is qemu-img's word; `capacity` in bytes."""

    file: str
    format: str
    capacity: int


@dataclass(frozen=True, slots=True)
class MachineDescription:
    """The machine that an image was made of. The first disk is the one to start from. `memory` in bytes.

    `firmware`: bios or efi; `guest_id` and `architecture`: as in `ImageRequest`.
    """

    name: str
    disks: tuple[ImageDisk, ...]
    firmware: str = "bios"
    secure_boot: bool = False
    guest_id: str = ""
    architecture: str = "x86_64"
    cpus: int = 1
    memory: int = 1 << 30
    cards: tuple[NetworkCard, ...] = ()

    def to_json(self) -> dict[str, object]:
        return {
            "version": VERSION,
            "name": self.name,
            "firmware": self.firmware,
            "secure_boot": self.secure_boot,
            "guest_id": self.guest_id,
            "architecture": self.architecture,
            "cpus": self.cpus,
            "memory": self.memory,
            "disks": [{"file": d.file, "format": d.format, "capacity": d.capacity} for d in self.disks],
            "cards": [{"mac": card.mac, "network": card.network} for card in self.cards],
        }


def described(request: ImageRequest, name: str, disks: tuple[ImageDisk, ...]) -> MachineDescription:
    """The machine that this image with these disks was ordered for."""
    return MachineDescription(
        name=name,
        disks=disks,
        firmware=request.firmware,
        secure_boot=request.secure_boot,
        guest_id=request.guest_id,
        architecture=request.architecture,
        cpus=request.cpus,
        memory=request.memory,
        cards=tuple(NetworkCard(mac, network) for mac, network in request.cards),
    )


def files(machine: MachineDescription, directory: Path) -> dict[str, bytes]:
    """Name and content of each file. `directory`: where the image will be."""
    document = json.dumps(machine.to_json(), indent=2, ensure_ascii=False) + "\n"
    described = {NAME: document.encode()}
    if all(disk.format in _LIBVIRT_FORMATS for disk in machine.disks):
        described[LIBVIRT] = libvirt(machine, directory)
    return described


def read(directory: Path) -> MachineDescription | None:
    """The description in an image's directory; None when there is none. Raises BadInput."""
    path = directory / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read ({error})", on=str(path)) from error
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    return description(row, path)


def description(row: Any, origin: Path = Path(NAME)) -> MachineDescription:
    """The machine that a document of `machine.json` describes. `origin`: where it is from. Raises BadInput."""
    try:
        return _parsed(row, origin)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(origin, f"{type(error).__name__}: {error}") from error


def _damaged(path: Path, why: str) -> BadInput:
    return BadInput(
        f"is no description of a machine ({why})",
        on=str(path),
        remedy="name the image's disk files instead of their directory",
    )


def _parsed(row: Mapping[str, Any], path: Path) -> MachineDescription:
    if row["version"] != VERSION:
        raise _damaged(path, f"version {row['version']!r}; this release reads version {VERSION}")
    disks = tuple(ImageDisk(str(d["file"]), str(d["format"]), int(d["capacity"])) for d in row["disks"])
    if not disks or any(_is_outside(disk.file) for disk in disks):
        raise _damaged(path, "its disks are not files of its directory")
    if row["firmware"] not in ("bios", "efi"):
        raise _damaged(path, f"firmware {row['firmware']!r}")
    return MachineDescription(
        name=str(row["name"]),
        disks=disks,
        firmware=row["firmware"],
        secure_boot=bool(row.get("secure_boot", False)),
        guest_id=str(row.get("guest_id", "")),
        architecture=str(row.get("architecture", "x86_64")),
        cpus=max(int(row["cpus"]), 1),
        memory=int(row["memory"]),
        cards=tuple(NetworkCard(str(c["mac"]), str(c.get("network", ""))) for c in row.get("cards", ())),
    )


def _is_outside(name: str) -> bool:
    return not name or "/" in name or name in (".", "..")


def libvirt(machine: MachineDescription, directory: Path) -> bytes:
    """A domain for libvirt: `virsh define machine.xml`. Format: libvirt's domain XML."""
    domain = xml.Element("domain", type="kvm")
    _text(domain, "name", machine.name)
    _text(domain, "memory", str(machine.memory // 1024), unit="KiB")
    _text(domain, "vcpu", str(machine.cpus))
    system = xml.SubElement(domain, "os", {"firmware": "efi"} if machine.firmware == "efi" else {})
    _text(system, "type", "hvm", arch=_ARCHITECTURES.get(machine.architecture, machine.architecture))
    if machine.firmware == "efi":
        enrolled = "yes" if machine.secure_boot else "no"
        xml.SubElement(xml.SubElement(system, "firmware"), "feature", name="secure-boot", enabled=enrolled)
    features = xml.SubElement(domain, "features")
    xml.SubElement(features, "acpi")
    devices = xml.SubElement(domain, "devices")
    _disks(devices, machine.disks, directory)
    for card in machine.cards:
        interface = xml.SubElement(devices, "interface", type="network")
        xml.SubElement(interface, "mac", address=card.mac)
        xml.SubElement(interface, "source", network="default")
        xml.SubElement(interface, "model", type="virtio")
    xml.SubElement(devices, "serial", type="pty")
    xml.SubElement(devices, "video").append(xml.Element("model", type="vga"))
    xml.SubElement(devices, "graphics", type="vnc", port="-1", listen="127.0.0.1")
    xml.indent(domain)
    document: bytes = xml.tostring(domain, encoding="utf-8")
    return document + b"\n"


def _disks(devices: xml.Element, disks: Sequence[ImageDisk], directory: Path) -> None:
    for place, disk in enumerate(disks):
        element = xml.SubElement(devices, "disk", type="file", device="disk")
        xml.SubElement(element, "driver", name="qemu", type=disk.format)
        xml.SubElement(element, "source", file=str(directory / disk.file))
        xml.SubElement(element, "target", dev=_device(place), bus="virtio")
        xml.SubElement(element, "boot", order=str(place + 1))


def _device(place: int) -> str:
    """vda, vdb, ... vdz, vdaa: as the kernel counts."""
    letters = ""
    place += 1
    while place:
        place, letter = divmod(place - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return f"vd{letters}"


def _text(parent: xml.Element, tag: str, text: str, **attributes: str) -> None:
    xml.SubElement(parent, tag, attributes).text = "".join(c for c in text if c.isprintable())
