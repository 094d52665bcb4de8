"""The address of a vCenter is brought into one spelling, because sheets, manifests and appliances write it differently. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def server_url(text: str) -> str:
    """`https://HOST[:PORT]`, the host in lower case, IPv6 in brackets, without the usual port and the API's path.

    A text that is no address is answered unchanged. So is an instance UUID, which names a vCenter too, in lower case.
    """
    bare = text.strip()
    if _UUID.fullmatch(bare):
        return bare.lower()
    try:
        host = bare if isinstance(ip_address(bare), IPv6Address) else ""
    except ValueError:
        host = ""
    try:
        parts = urlsplit(f"https://[{host}]" if host else bare if "://" in bare else f"https://{bare}")
        name, port = parts.hostname or "", parts.port or 443
    except ValueError:
        return bare
    if not name or parts.scheme.lower() != "https" or any(c.isspace() for c in name):
        return bare
    if ":" in name:
        name = f"[{_short(name)}]"
    return f"https://{name}" + ("" if port == 443 else f":{port}")


def _short(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return address
