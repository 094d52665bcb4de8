"""A disk as the host sees it: contents, change tracking and the log of every write, which always agree.

A write is logged, then tracked, then stored; snapshots fall between two writes, never into one.
"""

import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

from simulator.estate.areas import Area
from simulator.estate.chain import DiskChain
from simulator.estate.errors import FileFault, InvalidArgument
from simulator.estate.tracking import (
    DEFAULT_GRANULARITY,
    ChangeId,
    ExpiredChangeId,
    ForeignChangeId,
    MalformedChangeId,
    NotTracked,
    Tracking,
)

ALL_ALLOCATED = "*"
_RECORD = struct.Struct("<QQQ")


class Write(NamedTuple):
    """One line of the true log. `kind`: 0 write, 1 discard, 2 snapshot taken (offset = its number), 3
    reverted.
    """

    kind: int
    offset: int
    length: int


class Disk:
    """One virtual disk in one directory. Any thread."""

    def __init__(
        self, directory: Path, granularity: int = DEFAULT_GRANULARITY, keep: int | None = None
    ) -> None:
        self.directory = directory
        self.chain = DiskChain(directory)
        self.tracking = Tracking(directory / "tracking", self.chain.capacity, granularity, keep)
        self.tracking.extend(self.chain.capacity)  # a kill may have fallen between the two
        self._lock = threading.RLock()
        self._log = open(directory / "writes.log", "ab", buffering=0)  # noqa: SIM115 - lives as long as the disk

    @classmethod
    def create(
        cls,
        directory: Path,
        stem: str,
        capacity: int,
        base: Path | None = None,
        granularity: int = DEFAULT_GRANULARITY,
        keep: int | None = None,
    ) -> Self:
        """See DiskChain.create; `base` is moved into the directory."""
        DiskChain.create(directory, stem, capacity, base).close()
        return cls(directory, granularity, keep)

    def read(self, offset: int, length: int, point: str | None = None) -> bytes:
        """Bytes now, or at a snapshot."""
        return self.chain.read(offset, length, point)

    def write(self, offset: int, data: bytes, *, tracked: bool = True) -> None:
        """Whole sectors; ValueError outside the disk. Not `tracked`: change tracking misses it, as defects
        make it.
        """
        with self._lock:
            self._announce(0, offset, len(data), tracked)
            self.chain.write(offset, data)

    def discard(self, offset: int, length: int) -> None:
        """A guest's trim: reads as zeros afterwards and gives space back; counts as a change."""
        with self._lock:
            self._announce(1, offset, length)
            self.chain.discard(offset, length)

    def freeze(self, point: str) -> str | None:
        """Take a snapshot; the change id that names this instant, or None when not tracked."""
        with self._lock:
            self._append(2, int(point.rpartition("-")[2] or 0), 0)
            self.chain.freeze(point)
            change = self.tracking.advance()
            return None if change is None else str(change)

    def revert(self, point: str, uuid: UUID) -> None:
        """Go back to a snapshot. Tracking, when active, starts anew under `uuid`: older ids become
        foreign.
        """
        with self._lock:
            self._append(3, int(point.rpartition("-")[2] or 0), 0)
            if self.tracking.active:
                self.tracking.enable(uuid)
            self.chain.revert(point)

    def extend(self, capacity: int) -> None:
        with self._lock:
            self.chain.extend(capacity)
            self.tracking.extend(capacity)

    def changed(self, since: str, point: str | None, point_id: str | None) -> list[Area]:
        """Areas changed after `since` and up to the snapshot `point` (its id is `point_id`), or up to now.

        "*" answers what is allocated. Raises InvalidArgument for a foreign or malformed id, FileFault for an
        expired one or a disk that was not tracked.
        """
        if point is not None and point_id is None:
            raise FileFault(
                self.chain.name(point), "change tracking was not active when the snapshot was taken"
            )
        if since == ALL_ALLOCATED:
            return self.chain.allocated(point, self.tracking.granularity)
        try:
            upto = None if point_id is None or point is None else ChangeId.parse(point_id)
            return self.tracking.changed_between(ChangeId.parse(since), upto)
        except (ForeignChangeId, MalformedChangeId) as error:
            raise InvalidArgument("changeId") from error
        except (ExpiredChangeId, NotTracked) as error:
            raise FileFault(
                self.chain.name(point), f"Error caused by file {self.chain.name(point)}: {error}"
            ) from error

    def truth(self) -> Iterator[Write]:
        """Every write, discard, snapshot and revert since the disk was made, oldest first. For checks
        only.
        """
        data = (self.directory / "writes.log").read_bytes()
        for head, offset, length in _RECORD.iter_unpack(data[: len(data) // _RECORD.size * _RECORD.size]):
            yield Write(head, offset, length)

    def close(self) -> None:
        with self._lock:
            self.chain.close()
            self.tracking.close()
            self._log.close()

    def _announce(self, kind: int, offset: int, length: int, tracked: bool = True) -> None:
        if offset < 0 or offset + length > self.chain.capacity or length <= 0:
            raise ValueError(f"{self.chain.name()}: {length} bytes at {offset} of {self.chain.capacity}")
        self._append(kind, offset, length)
        if tracked:
            self.tracking.mark(offset, offset + length)

    def _append(self, kind: int, offset: int, length: int) -> None:
        self._log.write(_RECORD.pack(kind, offset, length))
