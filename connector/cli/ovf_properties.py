"""What vCenter asks when the appliance's image is deployed, and how the appliance reads the answers: OVF properties.

The table is the only place that lists them: the image's descriptor, the documentation and the first boot are made from it.
vCenter hands the answers over as `ovf-env.xml` on a CD (DSP0243 and DSP8027, "ISO transport"). They are typed by people and
kept by vCenter, so the document is read with bounds and an unknown key means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as xml

from connector.errors import BadInput

CLASS: Final = "connector"  # the first part of each key, as in connector.vcenter_url
FILE: Final = "ovf-env.xml"
_LIMIT: Final = 1 << 20
_NAMESPACE: Final = "{http://schemas.dmtf.org/ovf/environment/1}"


@dataclass(frozen=True, slots=True)
class OvfProperty:
    """One question. `is_secret`: vCenter hides it while it is typed, but keeps it, and administrators can read it there."""

    key: str
    category: str
    label: str
    description: str
    is_secret: bool = False


PROPERTIES: Final = (
    OvfProperty("address", "Network", "Address", "With its prefix length, as 192.0.2.10/24. Empty: DHCP."),
    OvfProperty("gateway", "Network", "Gateway", "Of the fixed address."),
    OvfProperty(
        "name_servers", "Network", "Name servers", "Addresses with blanks between. Empty: those of DHCP."
    ),
    OvfProperty(
        "time_servers",
        "Network",
        "Time servers",
        "Names with blanks between. Empty: those of DHCP, else Debian's.",
    ),
    OvfProperty("host_name", "Network", "Host name", "Empty: connector."),
    OvfProperty(
        "name", "Appliance", "Name of the appliance", "As the control plane lists it. Empty: the host name."
    ),
    OvfProperty("vcenter", "vCenter", "vCenter", "As https://vcenter.example.com."),
    OvfProperty("thumbprint", "vCenter", "Thumbprint of vCenter", "SHA-256 of its certificate."),
    OvfProperty("user", "vCenter", "User", "With the privileges that docs/operating.md lists."),
    OvfProperty("vcenter_password", "vCenter", "Password", "Of that user.", is_secret=True),
    OvfProperty("control", "Control plane", "Control plane", "As https://control.example.com:8443."),
    OvfProperty("control_thumbprint", "Control plane", "Thumbprint", "SHA-256 of its certificate."),
    OvfProperty("activation_code", "Control plane", "Activation code", "It is needed once.", is_secret=True),
    OvfProperty(
        "console_password",
        "Console",
        "Password of root",
        "For the console. Empty: nobody logs in.",
        is_secret=True,
    ),
)
_KEYS: Final = frozenset(entry.key for entry in PROPERTIES)


def answers(document: bytes) -> Mapping[str, str]:
    """The answers in `ovf-env.xml`, by key; without those that are empty. Raises BadInput."""
    # As text: in another encoding, which the document could name, a document type would not be seen.
    text = document.decode("utf-8-sig", "replace")
    if len(document) > _LIMIT or "<!" in text:  # a document type could name entities that never end
        raise BadInput("is no environment that vCenter writes", on=FILE, remedy="configure it on the console")
    try:
        root = xml.fromstring(text)  # noqa: S314 # nosec B314 - bounded, and without a document type
    except xml.ParseError as broken:
        raise BadInput(f"is no XML: {broken}", on=FILE, remedy="configure it on the console") from None
    typed: dict[str, str] = {}
    for section in root.findall(f"{_NAMESPACE}PropertySection"):
        for entry in section.findall(f"{_NAMESPACE}Property"):
            name, value = entry.get(f"{_NAMESPACE}key", ""), entry.get(f"{_NAMESPACE}value", "").strip()
            key = name.removeprefix(f"{CLASS}.")
            if key in _KEYS and value:
                typed[key] = value
    return typed
