"""The network of an appliance's image, for systemd-networkd: DHCP, or one fixed address on the first card.

The rule: nothing is written before everything was understood, so a typing error leaves the network that works.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.errors import BadInput

_NETWORK: Final = "etc/systemd/network/10-connector.network"
_TIME: Final = "etc/systemd/timesyncd.conf.d/connector.conf"
_HOST: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    re.IGNORECASE | re.ASCII,
)
_LONGEST_NAME: Final = 64  # of a computer, in Linux
DEFAULT_NAME: Final = "connector"


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """`address` with its prefix length; empty: DHCP. `gateway` belongs to it."""

    address: str = ""
    gateway: str = ""
    name_servers: tuple[str, ...] = ()
    time_servers: tuple[str, ...] = ()
    host_name: str = DEFAULT_NAME

    @classmethod
    def of(cls, typed: Mapping[str, str]) -> NetworkSettings:
        """The settings of what a person typed; `typed` has the keys of the OVF properties. Raises BadInput."""
        address, gateway = typed.get("address", "").strip(), typed.get("gateway", "").strip()
        if address.lower() in ("", "dhcp"):
            address = gateway = ""
        return cls(
            _interface(address) if address else "",
            _within(gateway, address) if gateway else "",
            tuple(_host_address(word, "name server") for word in _words(typed.get("name_servers", ""))),
            tuple(_time_server(word) for word in _words(typed.get("time_servers", ""))),
            _own_name(typed.get("host_name", "").strip() or DEFAULT_NAME),
        )

    def files(self) -> Mapping[str, str]:
        """Every file of the network, by its path below the root."""
        names = "".join(f"DNS={server}\n" for server in self.name_servers)
        place = f"Address={self.address}\n" if self.address else "DHCP=yes\n"
        if self.gateway:
            place += f"Gateway={self.gateway}\n"
        short = self.host_name.partition(".")[0]
        aliases = self.host_name if short == self.host_name else f"{self.host_name} {short}"
        files = {
            _NETWORK: f"[Match]\nType=ether\n\n[Network]\n{place}{names}",
            "etc/hostname": f"{self.host_name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {aliases}\n::1 localhost ip6-localhost\n",
        }
        if self.time_servers:
            files[_TIME] = f"[Time]\nNTP={' '.join(self.time_servers)}\n"
        return files

    def write(self, root: Path = Path("/")) -> None:
        """Write the files. An older choice of time servers goes."""
        files = self.files()
        (root / _TIME).unlink(missing_ok=True)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            (root / path).chmod(0o644)


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _interface(text: str) -> str:
    try:
        parsed = ipaddress.ip_interface(_without_zone(text))
    except ValueError:
        raise BadInput("is no address", on=f"address {text!r}", remedy="write it as 192.0.2.10/24") from None
    if "/" not in text or parsed.network.num_addresses == 1:
        raise BadInput("has no prefix length", on=f"address {text!r}", remedy="write it as 192.0.2.10/24")
    return str(parsed)


def _without_zone(text: str) -> str:
    """Nothing, which is no address, for one with a zone (fe80::1%eth0): Python takes any characters there, ends of lines too."""
    return "" if "%" in text else text


def _within(gateway: str, address: str) -> str:
    """The gateway. An IPv6 router is known by its link-local address as a rule, which is in no network."""
    parsed = _host_address(gateway, "gateway")
    network, router = ipaddress.ip_interface(address).network, ipaddress.ip_address(parsed)
    is_neighbour = network.version == router.version == 6 and router.is_link_local
    if router not in network and not is_neighbour:
        raise BadInput(
            f"is not in the network {network}", on=f"gateway {gateway!r}", remedy="correct one of the two"
        )
    return parsed


def _host_address(text: str, what: str) -> str:
    try:
        return str(ipaddress.ip_address(_without_zone(text)))
    except ValueError:
        raise BadInput("is no address", on=f"{what} {text!r}", remedy="write it as 192.0.2.1") from None


def _time_server(text: str) -> str:
    """A name or an address."""
    try:
        return str(ipaddress.ip_address(_without_zone(text)))
    except ValueError:
        return _host_name(text, "time server")


def _own_name(text: str) -> str:
    if len(text) > _LONGEST_NAME:
        raise BadInput(
            "is no name of a computer",
            on=f"host name {text[:80]!r}",
            remedy=f"at most {_LONGEST_NAME} characters",
        )
    return _host_name(text, "host name")


def _host_name(text: str, what: str) -> str:
    if not _HOST.fullmatch(text):
        raise BadInput(
            "is no name of a computer", on=f"{what} {text[:80]!r}", remedy="use letters, digits and hyphens"
        )
    return text.lower()
