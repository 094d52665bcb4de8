"""Disks straight from the ESXi hosts over NFC, without VMware's library. Each open asks vCenter for a ticket of its own.

Neither ticket nor connection names a snapshot: a host opens the file that has the path now. So vCenter is asked, after opening
and when reading has ended, whether the snapshot still has this file. If not, nothing counts that was read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import nfc.connection
import nfc.disk
import nfc.errors
from connector import __version__, errors
from connector.errors import (
    BadInput,
    Conflict,
    ConnectorError,
    ReaderFailed,
    SessionExpired,
    Unreachable,
    VCenterFault,
)
from connector.model import DiskAccess, Extent
from connector.sources.disk_source import SILENCE, DiskSource, ErrorTable
from connector.sources.reader import (
    DepthLimit,
    HostClosed,
    HostOverloaded,
    HostUnavailable,
    changed,
    full_pace,
)
from connector.transfer.source import Block
from nfc.spec import DiskSpec, Patience, Ticket

log = logging.getLogger(__name__)

MEANING: Final[Mapping[type[Exception], type[ConnectorError]]] = {
    nfc.errors.BadSetting: errors.BadInput,
    nfc.errors.UntrustedHost: errors.TrustFailed,
    nfc.errors.BufferRefused: HostOverloaded,
    nfc.errors.OutOfMemory: HostOverloaded,
    nfc.errors.Unreachable: HostClosed,
}


#: Lines of our configuration, which the room `nfc` does not know, by what names an expected certificate.
_SETTINGS: Final = {nfc.errors.PIN: "nfc.pins[{host}]", nfc.errors.AUTHORITY: "nfc.authority"}


class _NfcErrors(ErrorTable):
    """Certificates that the user named are named by the line of the configuration."""

    def explain(self, error: Exception, path: str) -> ConnectorError:
        explained = super().explain(error, path)
        if isinstance(error, nfc.errors.UntrustedHost) and error.source in _SETTINGS:
            key = _SETTINGS[error.source].format(host=error.host.rpartition(":")[0])
            explained.remedy = f"compare with the host's own certificate, then correct {key} in the appliance's configuration"
        return explained


ERRORS: Final = _NfcErrors(nfc.errors.NfcError, MEANING)


@dataclass(frozen=True, slots=True)
class NfcSettings:
    """How disks are read over NFC.

    `pins`: SHA-256 of the certificates of hosts, by the host's name as tickets have it. `authority`: a PEM file with the
    authorities that sign for hosts; without it, hosts without a pin are known by the ticket's SHA-1 only. `buffer` x `buffers` is
    the memory that a connection takes on the host, in bytes. `compression` is what the host is asked for: none, zlib or skipz.
    `silence`: seconds that a host may be silent while reads are in flight.
    """

    pins: Mapping[str, str] = field(default_factory=dict)
    authority: Path | None = None
    compression: str = "none"
    buffer: int = 1 << 20
    buffers: int = 4
    silence: float = SILENCE

    def pin(self, host: str) -> str | None:
        """The pin of a host. Host names are compared without regard to capitals."""
        wanted = host.lower()
        return next((pin for name, pin in self.pins.items() if name.lower() == wanted), None)


class SnapshotFileSource(DiskSource):
    """See `BlockSource`. Reading ends with the question whether the snapshot still has the file: only then its bytes count."""

    def __init__(self, disk: nfc.disk.NfcDisk, access: DiskAccess, depth: int, pace: DepthLimit) -> None:
        super().__init__(disk, access.path, ERRORS, depth, pace)
        self._access = access

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        yield from super().read(extents, halt)
        _require_snapshot(self._access)


class NfcReader:
    """See `Reader`. One connection per open disk, with a thread of its own; no foreign code runs."""

    name = "nfc"

    def __init__(self, settings: NfcSettings | None = None) -> None:
        self._settings = settings or NfcSettings()

    def check(self, vsphere: str) -> str:  # noqa: ARG002 - what a host speaks is known when a disk is opened
        """The version of this connector, whose code reads. Raises BadInput when the authority's file cannot be used."""
        if (authority := self._settings.authority) is not None:
            with ERRORS.translated("nfc.authority"):
                nfc.connection.require_authority(str(authority))
        return __version__

    def open(self, access: DiskAccess, depth: int = 8, pace: DepthLimit = full_pace) -> SnapshotFileSource:
        """Open a disk with a new ticket.

        Raises ReaderFailed, the errors of `MEANING`, SourceChanged when the snapshot is gone, and what vCenter answers.
        """
        ticket = new_ticket(access)
        with ERRORS.translated(access.path):
            disk = nfc.disk.open_disk(self._spec(ticket, access.path, depth))
            try:
                _same_capacity(disk, access)
                _require_snapshot(access)  # after the host has opened the file, and keeps it
                if not disk.identity.pinned:
                    log.info("%s: only the ticket's SHA-1 vouches for the host %s", access.path, ticket.host)
                return SnapshotFileSource(disk, access, depth, pace)
            except BaseException:
                disk.close()
                raise

    def release(self, access: DiskAccess) -> int:  # noqa: ARG002 - nothing is ever left
        """Nothing: a reader that dies leaves a connection, which the host closes, and no lock on the machine."""
        return 0

    def _spec(self, ticket: Ticket, path: str, depth: int) -> DiskSpec:
        settings = self._settings
        return DiskSpec(
            ticket,
            path,
            pin=settings.pin(ticket.host),
            authority=None if settings.authority is None else str(settings.authority),
            compression=settings.compression,
            buffer=settings.buffer,
            buffers=settings.buffers,
            depth=depth,
            patience=Patience(silence=settings.silence),
        )


def new_ticket(access: DiskAccess) -> Ticket:
    """A new ticket. A machine whose host serves no tickets now will get another host, or this one back."""
    if access.routes is None:
        raise BadInput("its vCenter gives no tickets for NFC", on=access.path, remedy="use the reader vddk")
    try:
        ticket = access.routes.nfc_ticket()
    except (SessionExpired, Unreachable):
        raise
    except (Conflict, VCenterFault) as refused:
        if isinstance(refused, Conflict) or refused.retryable:
            raise HostUnavailable(
                refused.what, on=access.path, remedy=refused.remedy, retryable=True
            ) from refused
        raise
    with ERRORS.translated(access.path):
        return Ticket(ticket.host, ticket.thumbprint, ticket.session_id, ticket.port, ticket.service)


def _require_snapshot(access: DiskAccess) -> None:
    """Raises SourceChanged unless the snapshot still has the file. A machine that is off is read without a snapshot."""
    if access.snapshot is None or access.routes is None:
        return
    if access.routes.snapshot_file() != access.path:
        raise changed("the snapshot is gone, or its disk is in another file", access.path)


def _same_capacity(disk: nfc.disk.NfcDisk, access: DiskAccess) -> None:
    """Raises ReaderFailed when the host opened a disk of another size than vCenter has for this path."""
    capacity = disk.info.capacity
    if access.capacity and capacity != access.capacity:
        raise ReaderFailed(
            f"the host says that it has {capacity} bytes, vCenter says {access.capacity}",
            on=access.path,
            remedy="refresh the machine in vCenter; if they still differ, read it with the reader vddk",
        )
