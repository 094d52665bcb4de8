"""A reader opens disks of snapshots as block sources. Whoever reads depends on this protocol and on nothing below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from connector.errors import ConnectorError, ReaderFailed
from connector.model import DiskAccess
from connector.transfer.source import BlockSource

Pace = Callable[[int], int]
"""How many reads may be in flight now, of so many at most; 0 pauses. Asked before each read, from the reading thread."""


def full_pace(depth: int) -> int:
    """As many reads as there may be at most."""
    return depth


class Reader(Protocol):
    """One way to read disks. Thread-safe. Raises ReaderFailed and what its host answers, as our errors."""

    @property
    def name(self) -> str:
        """As evidence records it."""

    def check(self, vsphere: str) -> str:
        """Its version, once it is known to work with this version of vSphere. Raises ReaderFailed or BadInput."""

    def open(self, access: DiskAccess, depth: int, pace: Pace = full_pace) -> BlockSource:
        """One disk of one snapshot, with at most `depth` reads in flight."""

    def release(self, access: DiskAccess) -> int:
        """Undo what a killed reader of this disk left on its machine; answers how many leftovers of anybody remain.

        The disk must not be open anywhere meanwhile.
        """


class _OfReader(ReaderFailed):
    """Crosses borders as a ReaderFailed."""

    @property
    def id(self) -> str:
        return ReaderFailed.__name__


class HostOverloaded(_OfReader):
    """The host had no memory left for a read: asking for less helps more than asking again."""


class HostUnavailable(_OfReader):
    """The machine's host lets go of it (maintenance, disconnected): it will run elsewhere, or there again."""


def is_overloaded(error: ConnectorError) -> bool:
    """Whether a read failed for want of the host's memory, and may pass with fewer in flight."""
    return error.retryable and isinstance(error, HostOverloaded)


def is_unplaced(error: ConnectorError) -> bool:
    """Whether the machine has no host that serves its disks at the moment."""
    return isinstance(error, HostUnavailable)
