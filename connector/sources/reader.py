"""A reader opens disks of snapshots as block sources; other rooms depend on this protocol and on nothing below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from connector.errors import ConnectorError, ReaderFailed
from connector.model import DiskAccess
from connector.transfer.source import BlockSource

DepthLimit = Callable[[int], int]
"""Returns how many reads, of at most that many, may be in flight now; 0 pauses. Called before each read, by its thread."""


def full_pace(depth: int) -> int:
    """The pace without a limit."""
    return depth


class Reader(Protocol):
    """One way to read disks. Thread-safe. Raises ReaderFailed and the host's errors as ours."""

    @property
    def name(self) -> str:
        """The reader's name in evidence."""

    def check(self, vsphere: str) -> str:
        """The reader's version, if it works with this version of vSphere. Raises ReaderFailed or BadInput."""

    def open(self, access: DiskAccess, depth: int, pace: DepthLimit = full_pace) -> BlockSource:
        """One disk of one snapshot, with at most `depth` reads in flight."""

    def release(self, access: DiskAccess) -> int:
        """Undo what a killed reader of this disk left on its machine; returns how many leftovers of anybody remain.

        The disk must not be open anywhere meanwhile.
        """


class _OfReader(ReaderFailed):
    """In messages to other processes it is a ReaderFailed."""

    @property
    def id(self) -> str:
        return ReaderFailed.__name__


class HostOverloaded(_OfReader):
    """The host had no memory for a read: fewer reads in flight help more than another try."""

    by: ClassVar[str] = "the host, which had no NFC memory or connections left"


class ServerBusy(HostOverloaded):
    """The server of a datastore's files is busy. It is vCenter or a host."""

    by = "the server of its files, which was busy"


class HostUnavailable(_OfReader):
    """The machine's host does not serve it now (maintenance, disconnected): it will run elsewhere, or there again."""


class HostClosed(_OfReader):
    """The host accepts no connection now: its agents restart, or a firewall is in between."""


class SourceChanged(_OfReader):
    """The files under a disk may have changed while they were read: what was read counts for nothing.

    Reading on helps as little as opening again. The next attempt compares the disk.
    """


def changed(what: str, on: str) -> SourceChanged:
    """The error after which nothing that was read counts."""
    return SourceChanged(
        f"{what}: what was read cannot be trusted",
        on=on,
        remedy="the next attempt compares the disk; look for who removes snapshots of this machine or moves it",
    )


def is_overloaded(error: ConnectorError) -> bool:
    """Whether a read failed because whoever serves it had too much to do; it may succeed with fewer reads in flight."""
    return refused_by(error) != ""


def refused_by(error: ConnectorError) -> str:
    """Who had too much to do for a read, and why, in words; empty when a read failed for another reason."""
    return error.by if error.retryable and isinstance(error, HostOverloaded) else ""


def is_source_changed(error: ConnectorError) -> bool:
    """Whether what was read from the disk, by this and earlier openings of its snapshot, must not be trusted."""
    return isinstance(error, SourceChanged)


def is_closed(error: ConnectorError) -> bool:
    """Whether the host accepted no connection. It may pass, or need a person: the error alone does not say."""
    return isinstance(error, HostClosed)


def is_unplaced(error: ConnectorError) -> bool:
    """Whether no host serves the machine's disks now."""
    return isinstance(error, HostUnavailable)
