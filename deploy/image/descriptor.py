"""The OVF descriptor of the appliance's image, for vSphere: one machine, one disk, and the questions of the first boot.

OVF 1.1 (DSP0243). The answers come back on a CD, so the machine has a drive (`transport="iso"`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.etree import ElementTree as xml

from connector.cli.ovf_properties import CLASS, PROPERTIES

_OVF: Final = "http://schemas.dmtf.org/ovf/envelope/1"
_CIM: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
_NAMESPACES: Final = {
    "xmlns": _OVF,
    "xmlns:ovf": _OVF,
    "xmlns:rasd": f"{_CIM}CIM_ResourceAllocationSettingData",
    "xmlns:vssd": f"{_CIM}CIM_VirtualSystemSettingData",
}
_FORMAT: Final = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_CPUS, _MEMORY = 2, 2048  # cores and MiB, measured in docs/operating.md
_MIB: Final = 1 << 20


def text(disk: Path, capacity: int, version: str) -> bytes:
    """The descriptor for this file of a stream-optimized disk with `capacity` bytes."""
    envelope = xml.Element("Envelope", _NAMESPACES)
    references = xml.SubElement(envelope, "References")
    xml.SubElement(
        references, "File", {"ovf:id": "disk", "ovf:href": disk.name, "ovf:size": str(disk.stat().st_size)}
    )
    disks = _section(envelope, "DiskSection", "Disks")
    about = {
        "ovf:diskId": "system",
        "ovf:fileRef": "disk",
        "ovf:capacity": str(capacity // _MIB),
        "ovf:capacityAllocationUnits": "byte * 2^20",
        "ovf:format": _FORMAT,
    }
    xml.SubElement(disks, "Disk", about)
    networks = _section(envelope, "NetworkSection", "Networks")
    _described(
        xml.SubElement(networks, "Network", {"ovf:name": "Management"}),
        "Reaches vCenter, its hosts and the target.",
    )
    system = xml.SubElement(envelope, "VirtualSystem", {"ovf:id": "connector-appliance"})
    xml.SubElement(system, "Info").text = "A migration appliance"
    xml.SubElement(system, "Name").text = "connector-appliance"
    guest = _section(system, "OperatingSystemSection", "Debian", {"ovf:id": "96"})
    _described(guest, "Debian GNU/Linux 12 (64-bit)")
    _hardware(system)
    _product(system, version)
    xml.indent(envelope)
    return bytes(xml.tostring(envelope, encoding="utf-8", xml_declaration=True))


def _hardware(system: xml.Element) -> None:
    hardware = _section(system, "VirtualHardwareSection", "Hardware", {"ovf:transport": "iso"})
    about = xml.SubElement(hardware, "System")
    for name, value in (("ElementName", "Hardware"), ("InstanceID", "0"), ("VirtualSystemType", "vmx-13")):
        xml.SubElement(about, f"vssd:{name}").text = value
    _item(hardware, 1, "Processors", 3, VirtualQuantity=str(_CPUS))
    _item(hardware, 2, "Memory", 4, AllocationUnits="byte * 2^20", VirtualQuantity=str(_MEMORY))
    _item(hardware, 3, "SCSI controller", 6, Address="0", ResourceSubType="VirtualSCSI")
    _item(hardware, 4, "IDE controller", 5, Address="0")
    _item(hardware, 5, "Disk", 17, AddressOnParent="0", HostResource="ovf:/disk/system", Parent="3")
    _item(hardware, 6, "CD drive", 15, AddressOnParent="0", AutomaticAllocation="false", Parent="4")
    _item(
        hardware,
        7,
        "Network card",
        10,
        AutomaticAllocation="true",
        Connection="Management",
        ResourceSubType="VmxNet3",
    )


def _item(hardware: xml.Element, number: int, name: str, kind: int, **more: str) -> None:
    """One device. The order of the elements is the schema's: by name."""
    entry = xml.SubElement(hardware, "Item")
    facts = {**more, "ElementName": name, "InstanceID": str(number), "ResourceType": str(kind)}
    for key in sorted(facts):
        xml.SubElement(entry, f"rasd:{key}").text = facts[key]


def _product(system: xml.Element, version: str) -> None:
    product = _section(system, "ProductSection", "Questions", {"ovf:class": CLASS})
    xml.SubElement(product, "Product").text = "Migration appliance"
    xml.SubElement(product, "Vendor").text = "agentless-connector"
    xml.SubElement(product, "Version").text = version
    category = ""
    for entry in PROPERTIES:
        if entry.category != category:
            category = entry.category
            xml.SubElement(product, "Category").text = category
        about = {"ovf:key": entry.key, "ovf:type": "string", "ovf:userConfigurable": "true", "ovf:value": ""}
        question = xml.SubElement(
            product, "Property", about | ({"ovf:password": "true"} if entry.is_secret else {})
        )
        xml.SubElement(question, "Label").text = entry.label
        _described(question, entry.description)


def _section(
    parent: xml.Element, name: str, info: str, attributes: dict[str, str] | None = None
) -> xml.Element:
    section = xml.SubElement(parent, name, attributes or {})
    xml.SubElement(section, "Info").text = info
    return section


def _described(element: xml.Element, description: str) -> None:
    xml.SubElement(element, "Description").text = description
