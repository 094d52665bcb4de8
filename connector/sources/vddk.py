"""A VDDK disk as a block source: a worker process has several reads in flight; every VDDK failure becomes our error."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import vddk.errors
import vddk.worker
from connector import errors
from connector.errors import ConnectorError, Interrupted, ReaderFailed
from connector.model import DiskAccess, Extent
from connector.sources.reader import HostOverloaded, HostUnavailable, Pace, full_pace
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK
from connector.transfer.source import PATIENCE, Block
from vddk.spec import ConnectionSpec, Disk, DiskSpec, Installation, SessionCookie, UserPassword
from vddk.worker import open_in_worker

SPARE = 16  # buffers besides the reads in flight: coding and sending use them
SILENCE = 180.0  # seconds that one call into the library may take before its process is killed

MEANING: dict[type[vddk.errors.VddkError], type[ConnectorError]] = {
    vddk.errors.BadSetting: errors.BadInput,
    vddk.errors.AuthenticationFailed: errors.AuthenticationFailed,
    vddk.errors.SessionExpired: errors.SessionExpired,
    vddk.errors.AccessDenied: errors.NotPermitted,
    vddk.errors.UntrustedServer: errors.TrustFailed,
    vddk.errors.LicenseMissing: errors.Ineligible,
    vddk.errors.EncryptedDisk: errors.Ineligible,
    vddk.errors.Unsupported: errors.Ineligible,
    vddk.errors.OutOfResources: HostOverloaded,
    vddk.errors.HostUnavailable: HostUnavailable,
}


class VddkSource:
    """See `BlockSource`. Owns the disk and closes it."""

    def __init__(self, disk: Disk, path: str, depth: int, pace: Pace = full_pace) -> None:
        self._disk, self._path, self._depth, self._pace = disk, path, depth, pace
        self.capacity = disk.info.capacity
        with _explained(path):
            self._free = list(disk.buffers(depth + SPARE, BLOCK))
        self._changed = threading.Condition()

    def allocated(self, extent: Extent) -> list[Extent]:
        inside = ranges.clip([extent], self.capacity)
        with _explained(self._path):
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
        with _explained(self._path):
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
        with _explained(self._path):
            self._disk.submit(extent.start, buffer[: extent.length], extent.start)

    def _arrived(self, flying: dict[int, tuple[int, int, memoryview]]) -> Iterator[Block]:
        if not flying:
            return
        with _explained(self._path):
            completions = self._disk.completions(PATIENCE)
        blocks = []
        failed: vddk.errors.VddkError | None = None
        for token, error in completions:
            offset, length, buffer = flying.pop(token)
            failed = failed or error
            blocks.append(Block(offset, buffer[:length], self, buffer))
        if failed is not None:
            for block in blocks:
                block.release()
            raise explain(failed, self._path) from failed
        try:
            while blocks:
                yield blocks.pop(0)
        finally:
            for block in blocks:
                block.release()

    def _drain(self, flying: dict[int, tuple[int, int, memoryview]]) -> None:
        """Wait for the reads in flight, because they still write into their buffers, unless the worker is gone."""
        try:
            while flying:
                completions = self._disk.completions(SILENCE)
                if not completions:
                    break
                for token, _ in completions:
                    self.give(flying.pop(token)[2])
        except vddk.errors.VddkError:
            flying.clear()


class VddkReader:
    """See `Reader`. Each disk is opened in a worker process of its own; only workers load the library."""

    name = "vddk"

    def __init__(
        self, installation: Path, transports: str = "nbdssl", silence: float | None = SILENCE
    ) -> None:
        self._installation, self._transports, self._silence = Installation(installation), transports, silence

    def check(self, vsphere: str) -> str:
        """The version of the library, if a process of its own can load it and it fits the vSphere version.

        Raises ReaderFailed or BadInput that names the missing library or symbol, or the versions that do not fit.
        """
        with _explained(str(self._installation.directory)):
            library = vddk.worker.probe(self._installation.directory)
            vddk.errors.check_versions(library.version, vsphere)
        return library.version

    def open(self, access: DiskAccess, depth: int = 8, pace: Pace = full_pace) -> VddkSource:
        """Open a disk. Raises ReaderFailed and the errors of `MEANING`."""
        with _explained(access.path):
            spec = DiskSpec(_connection(access, self._transports), access.path)
            disk = open_in_worker(self._installation, spec, depth, self._silence)
            try:
                return VddkSource(disk, access.path, depth, pace)
            except BaseException:
                disk.close()
                raise

    def release(self, access: DiskAccess) -> int:
        """See `Reader.release`. Raises the errors of `MEANING`, and ReaderFailed for everything else."""
        with _explained(access.path):
            spec = DiskSpec(_connection(access, self._transports), access.path)
            return vddk.worker.release_in_worker(self._installation, spec)


def _connection(access: DiskAccess, transports: str) -> ConnectionSpec:
    if access.secret_is_cookie:
        secret: SessionCookie | UserPassword = SessionCookie(access.secret, access.user)
    else:
        secret = UserPassword(access.user, access.secret)
    return ConnectionSpec(
        access.server,
        access.thumbprint,
        secret,
        access.vm,
        access.snapshot,
        access.port,
        transports=transports,
    )


def explain(error: vddk.errors.VddkError, path: str) -> ConnectorError:
    """Our error for an error of VDDK, by `MEANING`; ReaderFailed for everything else.

    Whether a retry can help is kept. An expired session can be logged in again, which VDDK itself cannot do.
    """
    kind = next((MEANING[c] for c in type(error).__mro__ if c in MEANING), ReaderFailed)
    return kind(str(error), on=path, retryable=error.retryable or kind.retryable)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except vddk.errors.VddkError as error:
        raise explain(error, path) from error
