"""What was seen around an appliance, before anybody judges it. `trouble` says why something could not be seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from connector.vcenter.standing import Grant


class Kind(StrEnum):
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
class Name:
    """A name that must lead to an address."""

    kind: Kind
    on: str
    addresses: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Door:
    """A port that was tried; `greeting` is what it said by itself."""

    kind: Kind
    on: str
    greeting: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The thumbprint that a server shows, beside the one that was given for it."""

    kind: Kind
    on: str
    given: str
    seen: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """Whether a partner accepts who we are."""

    kind: Kind
    on: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds by which our clock is ahead of vCenter's, and how far that measurement may be off."""

    on: str
    skew: float
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class Library:
    """A VDDK installation; its trouble is that it is missing, does not load, or does not fit `vsphere`."""

    on: str
    vsphere: str
    version: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes of a file system."""

    kind: Kind
    on: str
    free: int = 0
    size: int = 0
    trouble: str = ""


Fact = Name | Door | Certificate | Welcome | Clock | Library | Room | Grant
