"""An open disk as a block source: several reads are in flight, and every failure of the disk becomes an error of ours.

The disks of `vddk` and of `nfc` have the same interface, so one source serves both.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from connector.errors import ConnectorError, Interrupted, ReaderFailed
from connector.model import Extent
from connector.sources.reader import DepthLimit, full_pace
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK
from connector.transfer.source import PATIENCE, Block

SPARE = 16  # buffers besides the reads in flight: coding and sending use them
SILENCE = 180.0  # seconds that reads in flight may take to end after reading has stopped


class HasCapacity(Protocol):
    """What a disk says about itself, as far as a source asks."""

    @property
    def capacity(self) -> int:
        """Bytes."""


class EndedRead(Protocol):
    """The end of one submitted read."""

    @property
    def token(self) -> int: ...
    @property
    def error(self) -> Exception | None: ...


class OpenDisk(Protocol):
    """What a source needs of an open disk; see `vddk.spec.Disk` and `nfc.disk.NfcDisk`."""

    @property
    def info(self) -> HasCapacity: ...
    def buffers(self, count: int, size: int) -> Sequence[memoryview]: ...
    def submit(self, offset: int, buffer: memoryview, token: int) -> None: ...
    def completions(self, timeout: float | None = None) -> Sequence[EndedRead]: ...
    def allocated(self, start: int, length: int) -> Iterable[tuple[int, int]]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Errors of ours for the errors of one room: `base` is the root of its tree, `meaning` the exceptions to ReaderFailed.

    Each error of that room has an attribute `retryable`.
    """

    base: type[Exception]
    meaning: Mapping[type[Exception], type[ConnectorError]]

    def explain(self, error: Exception, path: str) -> ConnectorError:
        """Our error. Whether a retry can help is kept; an expired session can be logged in again, which a reader cannot do."""
        kind = next((self.meaning[c] for c in type(error).__mro__ if c in self.meaning), ReaderFailed)
        return kind(str(error), on=path, retryable=getattr(error, "retryable", False) or kind.retryable)

    @contextmanager
    def translated(self, path: str) -> Iterator[None]:
        """Turn errors of that room into ours."""
        try:
            yield
        except self.base as error:
            raise self.explain(error, path) from error


class DiskSource:
    """See `BlockSource`. Owns the disk and closes it."""

    def __init__(
        self, disk: OpenDisk, path: str, errors: ErrorTable, depth: int, pace: DepthLimit = full_pace
    ) -> None:
        self._disk, self._path, self._errors, self._depth, self._pace = disk, path, errors, depth, pace
        self.capacity = disk.info.capacity
        with self._errors.translated(path):
            self._free = list(disk.buffers(depth + SPARE, BLOCK))
        self._changed = threading.Condition()

    def allocated(self, extent: Extent) -> list[Extent]:
        inside = ranges.clip([extent], self.capacity)
        with self._errors.translated(self._path):
            return ranges.clip(
                (Extent(*area) for start, length in inside for area in self._disk.allocated(start, length)),
                self.capacity,
            )

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        pending = ranges.blocks(ranges.normalise(extents))
        flying: dict[int, tuple[int, int, memoryview]] = {}
        upcoming = next(pending, None)
        try:
            while upcoming is not None or flying:
                if halt is not None and halt.is_set():
                    raise Interrupted("reading was stopped", on=self._path)
                allowed = self._pace(self._depth)
                if not allowed and not flying:
                    (halt or threading.Event()).wait(PATIENCE)
                while upcoming is not None and len(flying) < allowed:
                    buffer = self._take(0 if flying else PATIENCE)
                    if buffer is None:
                        break
                    self._submit(upcoming, buffer, flying)
                    upcoming = next(pending, None)
                yield from self._arrived(flying)
        finally:
            self._drain(flying)

    def close(self) -> None:
        with self._errors.translated(self._path):
            self._disk.close()

    def give(self, buffer: memoryview) -> None:
        """Take the buffer of a released block back; from any thread."""
        with self._changed:
            self._free.append(buffer)
            self._changed.notify()

    def _take(self, timeout: float) -> memoryview | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._free, timeout):
                return None
            return self._free.pop()

    def _submit(
        self, extent: Extent, buffer: memoryview, flying: dict[int, tuple[int, int, memoryview]]
    ) -> None:
        flying[extent.start] = (extent.start, extent.length, buffer)
        with self._errors.translated(self._path):
            self._disk.submit(extent.start, buffer[: extent.length], extent.start)

    def _arrived(self, flying: dict[int, tuple[int, int, memoryview]]) -> Iterator[Block]:
        if not flying:
            return
        with self._errors.translated(self._path):
            completions = self._disk.completions(PATIENCE)
        blocks = []
        failed: Exception | None = None
        for completion in completions:
            offset, length, buffer = flying.pop(completion.token)
            failed = failed or completion.error
            blocks.append(Block(offset, buffer[:length], self, buffer))
        if failed is not None:
            for block in blocks:
                block.release()
            raise self._errors.explain(failed, self._path) from failed
        try:
            while blocks:
                yield blocks.pop(0)
        finally:
            for block in blocks:
                block.release()

    def _drain(self, flying: dict[int, tuple[int, int, memoryview]]) -> None:
        """Wait for the reads in flight, because they still write into their buffers, unless the disk is gone."""
        try:
            while flying:
                completions = self._disk.completions(SILENCE)
                if not completions:
                    break
                for completion in completions:
                    self.give(flying.pop(completion.token)[2])
        except self._errors.base:
            flying.clear()
