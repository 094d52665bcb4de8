"""What was seen around an appliance, before anybody judges it. `trouble` says why something could not be seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from connector.vcenter.facts import Grant


class FactKind(StrEnum):
    """Whom a fact is about."""

    VCENTER = "vCenter"
    HOST = "ESXi host"
    IDLE_HOST = "ESXi host that no machine needs"
    HOST_TLS = "ESXi host, TLS"
    CONTROL = "control plane"
    INSTANCE = "instance"
    STATE = "state directory"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class NameFact:
    """A name that must lead to an address."""

    kind: FactKind
    on: str
    addresses: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class PortFact:
    """A port that was tried; `greeting` is what it said by itself."""

    kind: FactKind
    on: str
    greeting: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFact:
    """The thumbprint that a server shows, beside the one that was given for it."""

    kind: FactKind
    on: str
    given: str
    seen: str


@dataclass(frozen=True, slots=True)
class LoginFact:
    """Whether a partner accepts who we are."""

    kind: FactKind
    on: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ClockFact:
    """Seconds by which our clock is ahead of vCenter's, and how far that measurement may be off."""

    on: str
    skew: float
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class LibraryFact:
    """A VDDK installation; its trouble is that it is missing, does not load, or does not fit `vsphere`."""

    on: str
    vsphere: str
    version: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class SpaceFact:
    """Bytes of a file system."""

    kind: FactKind
    on: str
    free: int = 0
    size: int = 0
    trouble: str = ""


Fact = NameFact | PortFact | CertificateFact | LoginFact | ClockFact | LibraryFact | SpaceFact | Grant
