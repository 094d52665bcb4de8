"""A fact is what a probe found around an appliance, not yet judged; `trouble` says why the probe failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from connector.vcenter.facts import Grant


class FactKind(StrEnum):
    """The subject of a fact."""

    VCENTER = "vCenter"
    HOST = "ESXi host"
    IDLE_HOST = "ESXi host that no machine needs"
    HOST_TLS = "ESXi host, TLS"
    HOST_FILES = "ESXi host, files of disks"
    CONTROL = "control plane"
    INSTANCE = "instance"
    STATE = "state directory"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class NameFact:
    """A name that must resolve to an address."""

    kind: FactKind
    on: str
    addresses: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class PortFact:
    """A port that was tried; `greeting` is what the server sent first."""

    kind: FactKind
    on: str
    greeting: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFact:
    """The thumbprint that a server shows (`seen`), and the configured one (`given`)."""

    kind: FactKind
    on: str
    given: str
    seen: str


@dataclass(frozen=True, slots=True)
class PinFact:
    """The SHA-256 of the certificate that a host shows, and the pin that the reader `nfc` has for it; empty: none."""

    kind: FactKind
    on: str
    pin: str
    seen: str


@dataclass(frozen=True, slots=True)
class LoginFact:
    """Whether a peer accepts our credential."""

    kind: FactKind
    on: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ClockFact:
    """Seconds by which our clock is ahead of vCenter's; `latency` says how far `skew` may be off."""

    on: str
    skew: float
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class LibraryFact:
    """A VDDK installation. It has trouble when it is missing, does not load, or does not fit the version `vsphere`."""

    on: str
    vsphere: str
    version: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class SpaceFact:
    """Free and total bytes of a file system."""

    kind: FactKind
    on: str
    free: int = 0
    size: int = 0
    trouble: str = ""


Fact = (
    NameFact | PortFact | CertificateFact | PinFact | LoginFact | ClockFact | LibraryFact | SpaceFact | Grant
)
