"""Probes look around an appliance: names, ports, certificates, clock, VDDK, disk space, peers. They change nothing.

Every probe runs, whatever fails before. A failure is a fact too.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from connector import pasted
from connector.appliance.doctor.facts import (
    CertificateFact,
    ClockFact,
    Fact,
    FactKind,
    LibraryFact,
    LoginFact,
    NameFact,
    PinFact,
    PortFact,
    SpaceFact,
)
from connector.errors import BadInput, ConnectorError, Unreachable
from connector.settings import VCenterSettings
from connector.sources.factory import VDDK, HostUse, ReaderSettings, readers
from connector.sources.nfc import NfcSettings
from connector.vcenter.endpoint import VCenterAddress
from connector.vcenter.facts import HostPort, VCenterFacts
from connector.vcenter.trust import presented, thumbprint

REACH: Final = 5.0  # seconds that a connection may take, and a greeting
SHOWN: Final = 5  # names of machines in one finding
ABREAST: Final = 32  # hosts that are probed at a time
_INSTANCE: Final = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<name>[^\s:/?#@\[\]]+))(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of services; they differ behind a forwarder."""

    nfc: int = 902
    host: int = 443
    instance: tuple[int, ...] = (8080, 8703)


def before_login(settings: VCenterSettings) -> Iterator[Fact]:
    """Facts about a vCenter without a login."""
    endpoint = VCenterAddress.parse(settings.url)
    yield resolved(FactKind.VCENTER, endpoint.host)
    on = f"{endpoint.host}:{endpoint.port}"
    try:
        certificate = presented(endpoint, reach=REACH)
    except Unreachable as silent:
        yield PortFact(FactKind.VCENTER, on, trouble=_what(silent))
        return
    yield PortFact(FactKind.VCENTER, on)
    yield _beside(FactKind.VCENTER, on, settings.thumbprint, certificate)


def after_login(
    on: str,
    facts: VCenterFacts,
    ports: Ports = Ports(),
    pins: NfcSettings | None = None,
    use: HostUse = HostUse(),  # noqa: B008 - frozen
) -> Iterator[Fact]:
    """Clock, every host as far as readers use it, and the privileges. `pins`: what knows the hosts' pins; None: no reader
    needs them.
    """
    yield ClockFact(on, facts.skew, facts.latency)
    if use.host:
        yield from _abreast([lambda host=host: list(_host(host, ports, pins, use)) for host in facts.hosts])  # type: ignore[misc]
    yield from facts.grants


def instance(address: str, ports: Ports = Ports()) -> Iterator[Fact]:
    """An intermediate instance, by `HOST` (both its ports) or `HOST:PORT`. Raises `BadInput`."""
    host, port = instance_address(address)
    yield (name := resolved(FactKind.INSTANCE, host))
    if not name.trouble:
        for each in (port,) if port else ports.instance:
            yield knocked(FactKind.INSTANCE, host, each)


def instance_address(text: str) -> tuple[str, int | None]:
    """Host and port. Accepts IPv6 in brackets, and without them if there is no port. Raises `BadInput`."""
    try:
        return str(ip_address(text)), None
    except ValueError:
        match = _INSTANCE.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 1 << 16):
        raise BadInput(
            "this is no address of an instance", on=text, remedy="write HOST, HOST:PORT or [IPV6]:PORT"
        )
    return match["six"] or match["name"], port


def installation(path: Path, versions: Sequence[str]) -> Iterator[Fact]:
    """Whether a VDDK fits each vSphere version that it must serve; vCenter's version comes first."""
    library = readers(ReaderSettings(path, preferred=VDDK))
    for vsphere in dict.fromkeys(version for version in versions if version):
        try:
            yield LibraryFact(str(path), vsphere, version=library.check(vsphere)[VDDK])
        except ConnectorError as unfit:
            yield LibraryFact(str(path), vsphere, trouble=_what(unfit))
            return


def room(kind: FactKind, path: Path) -> SpaceFact:
    """The file system of a directory, or of its nearest parent that exists."""
    existing = next(
        (candidate for candidate in (path, *path.absolute().parents) if candidate.exists()), Path("/")
    )
    try:
        usage = shutil.disk_usage(existing)
    except OSError as failed:
        return SpaceFact(kind, str(path), trouble=failed.strerror or type(failed).__name__)
    denied = "" if os.access(existing, os.W_OK | os.X_OK) else f"this user may not write to {existing}"
    return SpaceFact(kind, str(path), usage.free, usage.total, denied)


def welcome(kind: FactKind, on: str, call: Callable[[], object]) -> LoginFact:
    """Whether a call that needs our credential is answered."""
    try:
        call()
    except ConnectorError as refused:
        return LoginFact(kind, on, _what(refused))
    return LoginFact(kind, on)


def resolved(kind: FactKind, host: str) -> NameFact:
    """The addresses of a name, as this machine resolves it."""
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as unknown:
        return NameFact(
            kind, host, trouble=f"does not resolve ({getattr(unknown, 'strerror', None) or unknown})"
        )
    return NameFact(kind, host, tuple(dict.fromkeys(str(address[4][0]) for address in addresses)))


def knocked(kind: FactKind, host: str, port: int, *, listen: bool = False) -> PortFact:
    """Whether a port accepts a connection, and, with `listen`, what the server sends first."""
    on = f"{host}:{port}"
    greeting = b""
    try:
        with socket.create_connection((host, port), timeout=REACH) as connection:
            if listen:
                with suppress(OSError):
                    greeting = connection.recv(128)
    except OSError as closed:
        return PortFact(kind, on, trouble=f"no connection ({closed.strerror or closed})")
    return PortFact(kind, on, greeting.decode("ascii", "replace"))


def _host(host: HostPort, ports: Ports, pins: NfcSettings | None, use: HostUse) -> Iterator[Fact]:
    kind = FactKind.HOST if host.machines else FactKind.IDLE_HOST
    name = resolved(kind, host.name)
    if name.trouble:
        trouble = f"{name.trouble}{_goes_on(use.without_host)}; {_affected(host.machines)}"
        yield replace(name, trouble=trouble)
        return
    yield name
    if use.port:
        port = knocked(kind, host.name, ports.nfc, listen=True)
        yield replace(port, trouble=port.trouble and port.trouble + _goes_on(use.without_port))
    tls = use.files or ports.host
    on = f"{host.name}:{tls}"
    try:
        certificate = presented(VCenterAddress(host.name, tls), reach=REACH)
    except Unreachable as silent:
        blocks = use.files and host.machines
        yield PortFact(FactKind.HOST_FILES if blocks else FactKind.HOST_TLS, on, trouble=_what(silent))
    else:
        yield _beside(kind, on, host.thumbprint, certificate)
        if pins is not None:
            pin = pasted.thumbprint(pins.pin(host.name) or "")
            shown = pasted.thumbprint(thumbprint(certificate, "sha256"))
            if pin or pins.authority is None:  # an authority is asked when a disk is opened
                yield PinFact(kind, on, pin.lower(), shown.lower())


def _goes_on(reader: str) -> str:
    """What remains for disks of a host that others than this reader need."""
    return f"; only the reader {reader} is left, for fewer kinds of disks and slower" if reader else ""


def _affected(machines: Sequence[str]) -> str:
    """The machines that cannot be read when this host is unreachable, in words."""
    if not machines:
        return "no machine that is to be migrated runs there"
    more = f" and {len(machines) - SHOWN} more" if len(machines) > SHOWN else ""
    return f"it runs {', '.join(machines[:SHOWN])}{more}"


def _beside(kind: FactKind, on: str, given: str, certificate: bytes) -> CertificateFact:
    """Both thumbprints in one spelling, by the digest of the configured one."""
    bare = pasted.thumbprint(given).upper()
    digest = "sha256" if len(bare) == 64 else "sha1"
    pairs = ":".join(bare[at : at + 2] for at in range(0, len(bare), 2))
    return CertificateFact(kind, on, pairs, thumbprint(certificate, digest))


def _abreast(works: Sequence[Callable[[], list[Fact]]]) -> Iterator[Fact]:
    with ThreadPoolExecutor(ABREAST, thread_name_prefix="probe") as pool:
        for facts in pool.map(lambda work: work(), works):
            yield from facts


def _what(error: ConnectorError) -> str:
    return str(error).split("\n", 1)[0]
