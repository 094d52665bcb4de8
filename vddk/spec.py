"""The values of this room: what to open, the facts about a disk, and the interface of every open disk.

Offsets and lengths are bytes. Secrets never appear in a ``repr``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self
from zlib import crc32

from vddk.abi import COMPRESSION, MIN_CHUNK, SECTOR, TRANSPORTS
from vddk.errors import BadSetting, VddkError

DEPTH = 8
"""Reads kept in flight per disk. With 1 MiB each this hides the latency of one NFC session."""
REQUEST = 1 << 20
"""Bytes per read where this package chooses; larger requests gain nothing and can exhaust the host's NFC
memory.
"""

Memory = memoryview | bytearray
Compression = Literal["none", "zlib", "fastlz", "skipz"]


class Extent(NamedTuple):
    """A range of a disk in bytes."""

    start: int
    length: int


class Completion(NamedTuple):
    """The end of a submitted read; without an error the whole buffer is filled."""

    token: int
    error: VddkError | None


@dataclass(frozen=True)
class DiskInfo:
    """``capacity`` in bytes; ``links`` is the length of the snapshot chain. Sector sizes are 512 where VDDK <
    7 is silent.
    """

    capacity: int
    adapter: str
    links: int
    uuid: str | None
    logical_sector_size: int
    physical_sector_size: int
    parent_hint: str | None


@dataclass(frozen=True)
class UserPassword:
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class SessionCookie:
    """A live vCenter session: the value of ``vmware_soap_session``. The program that logged in keeps it alive."""

    cookie: str = field(repr=False)
    user: str
    key: str = field(repr=False, default="")


Credentials = UserPassword | SessionCookie


@dataclass(frozen=True)
class ConnectionSpec:
    """One machine at one snapshot. ``thumbprint`` is the SHA-1 of vCenter's (or the host's) certificate, as
    ``AA:BB:..``.

    ``transports`` are tried left to right; the default never sends blocks in clear text.
    """

    server: str
    thumbprint: str
    credentials: Credentials
    vm_moref: str
    snapshot_moref: str | None = None
    port: int = 443
    nfc_port: int = 902
    transports: str = "nbdssl"
    identity: str = "connector"

    def __post_init__(self) -> None:
        unknown = [name for name in self.transports.split(":") if name not in TRANSPORTS]
        if unknown:
            raise BadSetting(
                "transports", f"{self.transports!r} is not a colon-separated list of {TRANSPORTS}"
            )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets, which must never be logged."""
        if isinstance(self.credentials, UserPassword):
            return (self.credentials.password,)
        return (self.credentials.cookie, self.credentials.key)


@dataclass(frozen=True)
class DiskSpec:
    """One disk: ``path`` is ``[datastore] dir/name.vmdk`` exactly as the snapshot lists it, not as the
    machine does.

    ``chunk`` is the granularity in bytes in which allocation is asked for.
    """

    connection: ConnectionSpec
    path: str
    compression: Compression = "none"
    chunk: int = MIN_CHUNK * SECTOR

    @property
    def identity(self) -> str:
        """Under which the machine is locked against migration.

        One per disk, because the first EndAccess under a shared one would unlock the machine for all.
        """
        return f"{self.connection.identity}-{crc32(self.path.encode()):08x}"

    def __post_init__(self) -> None:
        if self.compression not in COMPRESSION:
            raise BadSetting("compression", f"{self.compression!r} is none of {tuple(COMPRESSION)}")
        if self.chunk < MIN_CHUNK * SECTOR or self.chunk & (self.chunk - 1):
            raise BadSetting(
                "chunk", f"{self.chunk} is not a power of two from {MIN_CHUNK * SECTOR} bytes up"
            )


@dataclass(frozen=True)
class Installation:
    """A VDDK directory and the values of the configuration file that InitEx is given.

    ``aio_buffer_64k`` x 64 KiB x ``aio_buffers`` is the NFC memory one disk takes on the host, 4 MiB by
    default; above 16 MiB every Open fails. Timeouts in milliseconds. ``extra`` adds or replaces lines of the
    file.
    """

    directory: Path
    aio_buffer_64k: int = 16
    aio_buffers: int = 4
    accept_timeout_ms: int = 180_000
    request_timeout_ms: int = 180_000
    read_timeout_ms: int = 60_000
    write_timeout_ms: int = 600_000
    log_level: int = 3
    tmp_directory: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.aio_buffer_64k * self.aio_buffers * 65536 <= 16 << 20:
            raise BadSetting("aio_buffer_64k x aio_buffers", "must be above 0 and at most 16 MiB together")
        if any("\n" in part for pair in self.extra.items() for part in pair):
            raise BadSetting("extra", "a line break is not allowed")

    def configuration(self, tmp: Path) -> str:
        """The text of the configuration file; spelling as VMware documents it."""
        values = {
            "tmpDirectory": str(self.tmp_directory or tmp),
            "vixDiskLib.transport.LogLevel": str(self.log_level),
            "vixDiskLib.nfc.AcceptTimeoutMs": str(self.accept_timeout_ms),
            "vixDiskLib.nfc.RequestTimeoutMs": str(self.request_timeout_ms),
            "vixDiskLib.nfc.ReadTimeoutMs": str(self.read_timeout_ms),
            "vixDiskLib.nfc.WriteTimeoutMs": str(self.write_timeout_ms),
            "vixDiskLib.nfcAio.Session.BufSizeIn64KB": str(self.aio_buffer_64k),
            "vixDiskLib.nfcAio.Session.BufCount": str(self.aio_buffers),
            **self.extra,
        }
        return "".join(f"{key}={value}\n" for key, value in values.items())


class Disk(Protocol):
    """An open disk, read-only. Every call comes from the thread that opened it; a context manager that
    closes.

    Reads are asynchronous inside even when `read_into` waits, because the two kinds must not be mixed on one
    handle.
    """

    @property
    def info(self) -> DiskInfo: ...

    @property
    def transport(self) -> str:
        """The transport in use, e.g. ``nbdssl``."""
        ...

    def buffers(self, count: int, size: int) -> Sequence[memoryview]:
        """Writable memory from which reads are fastest. Valid until the disk is closed."""
        ...

    def read_into(self, offset: int, buffer: Memory) -> None:
        """Fills the whole buffer. Raises what the first failing piece raised, after every piece has ended.

        Reads submitted before may end meanwhile; their completions are kept for `completions`.
        """
        ...

    def submit(self, offset: int, buffer: Memory, token: int) -> None:
        """Queues a read and returns at once. The buffer must stay alive and untouched until its completion.

        Raises `TooManyInFlight` beyond the depth, `Misaligned`, `OutOfRange`, `BadBuffer`. What the library
        has to say comes with the completion.
        """
        ...

    def completions(self, timeout: float | None = None) -> list[Completion]:
        """Waits for at least one submitted read to end, and returns all that have. Empty: none in flight, or
        timeout.
        """
        ...

    def allocated(self, start: int, length: int) -> Iterator[Extent]:
        """Ranges of the window that may hold data, ascending, coalesced, clipped. The rest of it reads as
        zeros.

        Rounded out to chunks; a storage that cannot tell yields one extent that covers everything asked for.
        """
        ...

    def metadata(self) -> dict[str, str]:
        """The disk's metadata; empty where the library or disk has none."""
        ...

    def close(self) -> None:
        """Waits for reads in flight, then closes. May be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
