"""`machine.ovf` describes an image for VMware and VirtualBox: OVF 1.1, with the source's hardware and the disks' files.

It is written beside vmdk and vhd only. Those two have a name in OVF that importers know; an OVF of raw, qcow2 or vhdx would
be valid, and no product would import it. What an importer should not guess is said: firmware, order of the disks, addresses of
network cards. The source's controllers and kinds of cards are not kept: most guests have drivers for LSI Logic and E1000.
Names of the source are hostile: `ElementTree` escapes them, and characters that XML cannot hold are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree as xml

from connector.cloud.machine_files import ImageDisk, MachineDescription
from connector.specification.image_formats import ImageFormat

NAME: Final = "machine.ovf"

_OVF: Final = "http://schemas.dmtf.org/ovf/envelope/1"
_CIM: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
_NAMESPACES: Final = {
    "xmlns": _OVF,
    "xmlns:ovf": _OVF,
    "xmlns:rasd": f"{_CIM}CIM_ResourceAllocationSettingData",
    "xmlns:vssd": f"{_CIM}CIM_VirtualSystemSettingData",
    "xmlns:vmw": "http://www.vmware.com/schema/ovf",
}

#: Resource types of CIM.
_CPU, _MEMORY, _SCSI, _NETWORK_CARD, _DISK = 3, 4, 6, 10, 17
#: A SCSI controller has the places 0 to 15; the controller itself is at 7.
_PLACES: Final = tuple(place for place in range(16) if place != 7)
_MIB: Final = 1 << 20
#: Virtual hardware of ESXi 6.5, the first that knows secure boot.
_HARDWARE: Final = "vmx-13"
_NO_NETWORK: Final = (
    "VM Network"  # of a card without a name; ESXi has one of this name after its installation
)

#: CIM's numbers of operating systems, for 32 and 64 bits, by the beginning of vCenter's guest identifier.
_SYSTEMS: Final = {
    "rhel": (79, 80),
    "ubuntu": (93, 94),
    "debian": (95, 96),
    "centos": (106, 107),
}
_LINUX: Final = (36, 101)
_OTHER: Final = (1, 102)
_LINUX_WORDS: Final = (
    "linux",
    "sles",
    "suse",
    "fedora",
    "oracle",
    "coreos",
    "photon",
    "rocky",
    "alma",
    "amazon",
    "asianux",
)


def files(machine: MachineDescription, form: ImageFormat, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Name and content of the descriptor; nothing for a format without one. `sizes`: bytes of each file of the image."""
    return {NAME: document(machine, form.ovf, sizes)} if form.ovf else {}


def document(machine: MachineDescription, name: str, sizes: Mapping[str, int]) -> bytes:
    """The descriptor. `name`: OVF's name of the disks' format."""
    envelope = xml.Element("Envelope", _NAMESPACES)
    references = xml.SubElement(envelope, "References")
    section = _section(envelope, "DiskSection", "The disks of the machine, in the order of its boot")
    for number, disk in enumerate(machine.disks, 1):
        _file(references, number, disk, sizes)
        _disk(section, number, disk, name)
    if machine.cards:
        networks = _section(envelope, "NetworkSection", "The networks of the source")
        for network in dict.fromkeys(_networks(machine)):
            xml.SubElement(networks, "Network", _attributes(name=network))
    _system(envelope, machine)
    xml.indent(envelope)
    content: bytes = xml.tostring(envelope, encoding="UTF-8", xml_declaration=True)
    return content + b"\n"


def _file(references: xml.Element, number: int, disk: ImageDisk, sizes: Mapping[str, int]) -> None:
    about = _attributes(id=f"file{number}", href=quote(disk.file), size=str(sizes[disk.file]))
    xml.SubElement(references, "File", about)


def _disk(section: xml.Element, number: int, disk: ImageDisk, name: str) -> None:
    about = _attributes(
        diskId=f"disk{number}",
        fileRef=f"file{number}",
        capacity=str(disk.capacity),
        capacityAllocationUnits="byte",
        format=name,
    )
    xml.SubElement(section, "Disk", about)


def _system(envelope: xml.Element, machine: MachineDescription) -> None:
    system = xml.SubElement(envelope, "VirtualSystem", _attributes(id=machine.name or "machine"))
    _text(system, "Info", "The machine that was migrated")
    _text(system, "Name", machine.name)
    about = _attributes(id=str(_system_number(machine)))
    if machine.guest_id:
        about["vmw:osType"] = _clean(machine.guest_id)
    _section(system, "OperatingSystemSection", "The guest operating system", about)
    hardware = _section(system, "VirtualHardwareSection", "The virtual hardware")
    _settings(hardware, machine)
    for item in _items(machine):
        _item(hardware, item)
    for key, value in _configuration(machine):
        about = {"ovf:required": "false", "vmw:key": key, "vmw:value": value}
        xml.SubElement(hardware, "vmw:Config", about)


def _settings(hardware: xml.Element, machine: MachineDescription) -> None:
    settings = xml.SubElement(hardware, "System")
    for tag, text in (
        ("ElementName", "Virtual Hardware Family"),
        ("InstanceID", "0"),
        ("VirtualSystemIdentifier", machine.name),
        ("VirtualSystemType", _HARDWARE),
    ):
        _text(settings, f"vssd:{tag}", text)


def _configuration(machine: MachineDescription) -> Iterator[tuple[str, str]]:
    yield "firmware", machine.firmware
    if machine.secure_boot:
        yield "bootOptions.efiSecureBootEnabled", "true"


def _items(machine: MachineDescription) -> Iterator[dict[str, str]]:
    """The devices, each as the elements of its item. `InstanceID` is a number of its own."""
    numbers = map(str, count(1))
    yield _resource(
        _CPU, next(numbers), "Processors", AllocationUnits="hertz * 10^6", VirtualQuantity=str(machine.cpus)
    )
    memory = str(max(machine.memory // _MIB, 1))
    yield _resource(_MEMORY, next(numbers), "Memory", AllocationUnits="byte * 2^20", VirtualQuantity=memory)
    yield from _storage(machine.disks, numbers)
    for place, (card, network) in enumerate(zip(machine.cards, _networks(machine), strict=True)):
        yield _resource(
            _NETWORK_CARD, next(numbers), f"Network card {place + 1}", Address=card.mac, AddressOnParent=str(place),
            AutomaticAllocation="true", Connection=network, ResourceSubType="E1000",
        )  # fmt: skip


def _storage(disks: Sequence[ImageDisk], numbers: Iterator[str]) -> Iterator[dict[str, str]]:
    controller = ""
    for place, _ in enumerate(disks):
        bus, unit = divmod(place, len(_PLACES))
        if not unit:
            controller = next(numbers)
            yield _resource(
                _SCSI, controller, f"SCSI controller {bus}", Address=str(bus), ResourceSubType="lsilogic"
            )
        yield _resource(
            _DISK, next(numbers), f"Disk {place + 1}", AddressOnParent=str(_PLACES[unit]),
            HostResource=f"ovf:/disk/disk{place + 1}", Parent=controller,
        )  # fmt: skip


def _resource(kind: int, number: str, name: str, **elements: str) -> dict[str, str]:
    return {"ElementName": name, "InstanceID": number, "ResourceType": str(kind)} | elements


def _item(hardware: xml.Element, elements: Mapping[str, str]) -> None:
    """OVF's schema wants the elements of an item in the order of their names."""
    item = xml.SubElement(hardware, "Item")
    for tag in sorted(elements):
        _text(item, f"rasd:{tag}", elements[tag])


def _networks(machine: MachineDescription) -> list[str]:
    """The network of each card."""
    return [_clean(card.network).strip() or _NO_NETWORK for card in machine.cards]


def _system_number(machine: MachineDescription) -> int:
    guest = machine.guest_id.lower()
    family = next((numbers for word, numbers in _SYSTEMS.items() if guest.startswith(word)), None)
    if family is None:
        family = _LINUX if any(word in guest for word in _LINUX_WORDS) else _OTHER
    return family[machine.architecture != "i386"]


def _section(parent: xml.Element, tag: str, info: str, about: Mapping[str, str] | None = None) -> xml.Element:
    section = xml.SubElement(parent, tag, dict(about or {}))
    _text(section, "Info", info)
    return section


def _attributes(**values: str) -> dict[str, str]:
    return {f"ovf:{name}": _clean(value) for name, value in values.items()}


def _text(parent: xml.Element, tag: str, text: str) -> None:
    xml.SubElement(parent, tag).text = _clean(text)


def _clean(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
