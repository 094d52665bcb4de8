"""The words of this room: what to open and what a disk tells about itself. Offsets and lengths are bytes.

Secrets never appear in a ``repr``.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nfc.codec import wanted
from nfc.errors import BadSetting, NfcError

SECTOR: Final = 512
DEPTH: Final = 8
"""Reads kept in flight per disk; with 1 MiB each this hides the latency of one session."""
DEEPEST: Final = 256
REQUEST: Final = 1 << 20
"""Bytes per read where this package chooses."""
CHUNK: Final = 1 << 16
"""The finest granularity in which allocation is asked for."""
SESSION_MEMORY: Final = 16 << 20
"""Bytes of buffers that one session may take on a host; above this the host refuses [P]."""
METADATA: Final = (
    "adapterType",
    "uuid",
    "geometry.cylinders",
    "geometry.heads",
    "geometry.sectors",
    "virtualHWVersion",
    "longContentID",
    "thinProvisioned",
    "toolsVersion",
)
"""Keys that disks of ESXi have. A host answers for each whether this disk has it."""

Memory = memoryview | bytearray


class Extent(NamedTuple):
    """A range of a disk in bytes."""

    start: int
    length: int


class Completion(NamedTuple):
    """The end of a submitted read; without an error the whole buffer is filled."""

    token: int
    error: NfcError | None


class DiskInfo(NamedTuple):
    """What the host says when it opens a disk."""

    capacity: int
    logical_sector_size: int


def digits_of(name: str, digest: str, count: int) -> str:
    """The hexadecimal digits of a digest, in small letters without colons."""
    digits = digest.replace(":", "").lower()
    if not re.fullmatch(f"[0-9a-f]{{{count}}}", digits):
        raise BadSetting(name, f"{digest!r} has not {count} hexadecimal digits")
    return digits


@dataclass(frozen=True)
class Ticket:
    """What vCenter or the host gave for one connection, over verified TLS. ``thumbprint`` is the SHA-1 of the certificate.

    ``service`` is the name without TLS, as the ticket has it: ``vpxa-nfc``, or ``ha-nfc`` on a bare host.
    """

    host: str
    thumbprint: str
    session_id: str = field(repr=False)
    port: int = 902
    service: str = "vpxa-nfc"

    def __post_init__(self) -> None:
        digits_of("ticket's thumbprint", self.thumbprint, 40)


@dataclass(frozen=True)
class Patience:
    """Seconds. ``answer`` bounds each wait for the host before the disk is open, ``opening`` all of them together.

    ``silence`` bounds how long nothing may come while answers are due, ``closing`` how long closing may take.
    """

    connect: float = 20.0
    answer: float = 60.0
    opening: float = 180.0
    silence: float = 180.0
    closing: float = 60.0


@dataclass(frozen=True)
class DiskSpec:
    """One disk: ``path`` is ``[datastore] dir/name.vmdk`` exactly as the snapshot lists it, not as the machine does.

    ``pin`` is the SHA-256 of the host's certificate, where the user gave one; ``authority`` is a PEM file with authorities, one
    of which must have signed it for the host's name (the first TLS layer). ``buffer`` x ``buffers`` is the memory that the
    session takes on the host; 0 leaves it to the host. ``chunk`` is the granularity in which allocation is asked for.
    """

    ticket: Ticket
    path: str
    pin: str | None = None
    authority: str | None = None
    compression: str = "none"
    buffer: int = 1 << 20
    buffers: int = 4
    depth: int = DEPTH
    chunk: int = CHUNK
    patience: Patience = Patience()

    def __post_init__(self) -> None:
        wanted(self.compression)
        if self.pin is not None:
            digits_of("pin", self.pin, 64)
        if not 0 < self.depth <= DEEPEST:
            raise BadSetting("depth", f"{self.depth} is not from 1 to {DEEPEST}")
        if self.chunk < CHUNK or self.chunk & (self.chunk - 1):
            raise BadSetting("chunk", f"{self.chunk} is not a power of two from {CHUNK} bytes up")
        if self.buffer < 0 or self.buffers < 0 or self.buffer % SECTOR:
            raise BadSetting("buffer", f"{self.buffers} buffers of {self.buffer} bytes are no whole sectors")
        if self.buffer * self.buffers > SESSION_MEMORY:
            raise BadSetting("buffer x buffers", f"must be at most {SESSION_MEMORY >> 20} MiB together")
        if not self.path or "\0" in self.path:
            raise BadSetting("path", f"{self.path!r} is no path of a disk")
