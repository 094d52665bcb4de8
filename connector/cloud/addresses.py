"""Where local instances listen: each on a loopback address of its own, or on two ports of an address that others reach.

Loopback addresses have the real ports 8080 and 8703 and need no setting, but only appliances on this computer reach them.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import re
import socket
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from connector.errors import BadInput, PortInUse
from connector.model import InstanceAddress

_CANDIDATES: Final = 24
_RANGE: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):(\d{1,5})-(\d{1,5})")
_STOP: Final = "stop the program that listens there (ss -ltnp shows it)"


class AddressSpace(Protocol):
    """The addresses that instances may have."""

    def candidates(self, token: str) -> Iterator[InstanceAddress]:
        """Addresses for this token, always the same in the same order."""

    def exhausted(self) -> PortInUse:
        """The error when none of them is free."""


@dataclass(frozen=True, slots=True)
class LoopbackAddresses:
    """Addresses in 127.64.0.0/10, for appliances on this computer."""

    def candidates(self, token: str) -> Iterator[InstanceAddress]:
        for n in range(_CANDIDATES):
            digest = hashlib.sha256(f"{token}/{n}".encode()).digest()
            yield InstanceAddress(f"127.{64 + digest[0] % 64}.{digest[1]}.{1 + digest[2] % 254}")

    def exhausted(self) -> PortInUse:
        return PortInUse(
            f"port 8080 or 8703 is taken on all of {_CANDIDATES} loopback addresses",
            on="local provider",
            remedy="stop the program that listens on every address of this machine (ss -ltnp shows it)",
        )


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports `first` to `last` of an address of this computer, two for each instance."""

    host: str
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """HOST:FIRST-LAST, an IPv6 address in brackets. Raises BadInput."""
        parts = _RANGE.fullmatch(text.strip())
        first, last = (int(parts[2]), int(parts[3])) if parts else (0, 0)
        if parts is None or not 0 < first < last <= 65535:
            raise BadInput(
                f"{text!r} is no range of ports",
                on="--instance-ports",
                remedy="write HOST:FIRST-LAST, as 198.51.100.10:9100-9199",
            )
        host = parts[1].strip("[]")
        if not _is_ours_alone(host):
            raise BadInput(
                "appliances are told this address, so it must be one address of this computer",
                on=f"--instance-ports {host}",
                remedy="write an address that they reach, no name and no 0.0.0.0, as 198.51.100.10:9100-9199",
            )
        return cls(host, first, last)

    def candidates(self, token: str) -> Iterator[InstanceAddress]:
        pairs = (self.last - self.first + 1) // 2
        start = int.from_bytes(hashlib.sha256(token.encode()).digest()[:8], "big") % pairs
        for n in range(pairs):
            port = self.first + 2 * ((start + n) % pairs)
            yield InstanceAddress(self.host, port, port + 1)

    def exhausted(self) -> PortInUse:
        return PortInUse(
            f"all ports from {self.first} to {self.last} are taken",
            on=self.host,
            remedy=f"wait until a job ends, widen instance_ports, or {_STOP}",
        )


def choose(space: AddressSpace, token: str, used: Collection[InstanceAddress]) -> InstanceAddress:
    """The first address for this token on which both ports are free. Raises `PortInUse`."""
    taken = {end for address in used for end in _ends(address)}  # of another range, pairs may overlap
    for address in space.candidates(token):
        if taken.isdisjoint(_ends(address)) and not busy_ports(address):
            return address
    raise space.exhausted()


def _ends(address: InstanceAddress) -> tuple[tuple[str, int], ...]:
    return (address.host, address.control_port), (address.host, address.block_port)


def _is_ours_alone(host: str) -> bool:
    """Whether it is an address that means one computer, wherever it is written."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None or address.is_unspecified or address.is_multicast:
        return False
    return not (address.version == 6 and address.is_link_local)


def wait_free(address: InstanceAddress, seconds: float) -> None:
    """Wait until both ports of a known address are free. Raises `PortInUse` after `seconds`."""
    deadline = time.monotonic() + seconds
    while ports := busy_ports(address):
        if time.monotonic() > deadline:
            raise PortInUse(
                f"port {' and '.join(map(str, ports))} is taken by another program",
                on=address.host,
                remedy="stop that program (ss -ltnp shows it), then start the job again",
            )
        time.sleep(0.05)


def busy_ports(address: InstanceAddress) -> list[int]:
    """Which of the instance's ports are in use."""
    return [port for port in (address.control_port, address.block_port) if not _is_free(address.host, port)]


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise PortInUse(
                    f"port {port} cannot be used: {error.strerror or error}",
                    on=host,
                    remedy="name an address of this computer; without instance_ports, Linux loopback addresses are needed",
                ) from error
            return False
    return True
