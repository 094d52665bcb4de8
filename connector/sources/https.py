"""Disks as files of their datastores, over HTTPS from vCenter: for whoever can reach neither port 902 nor VDDK.

A flat file has the bytes of a snapshot only while that snapshot is the oldest of its machine and stays where it is. This reader
holds no lease on it: when all snapshots of the machine are removed, the file is rewritten. So vCenter is asked about both before
reading, at intervals, and when reading has ended. After any change nothing counts that was read.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Final

from connector import __version__, pasted
from connector.errors import BadInput, ConnectorError, ReaderFailed
from connector.model import DiskAccess, DiskBacking, DiskRoutes, Extent, FileRoute
from connector.sources.descriptor import LONGEST, SECTOR, FlatFile, flat_file, refused, unknown
from connector.sources.disk_source import DiskSource, ErrorTable
from connector.sources.file_connection import FileConnection, Way, whole_text
from connector.sources.ranged_file import RangedFile, ReadFailed
from connector.sources.reader import DepthLimit, changed, full_pace
from connector.transfer import extents as ranges
from connector.transfer.extents import CELL
from connector.transfer.source import Block

log = logging.getLogger(__name__)

#: Datastores whose disks are files.
STORES: Final = frozenset({"VMFS", "NFS", "NFS41"})
PROBES: Final = 16  # cells that CBT calls unused, and that are read all the same before it is believed
_KINDS: Final[Mapping[str, str]] = {
    "SeSparse": "it is a sparse file (SEsparse), no flat one",
    "SparseVer2": "it is a sparse file, no flat one",
    "RawDiskMappingVer1": "it is a raw device mapping",
    "LocalPMem": "it is in persistent memory",
}


class _Carried(ErrorTable):
    """The errors of `ranged_file` are errors of ours already."""

    def explain(self, error: Exception, path: str) -> ConnectorError:
        return error.error if isinstance(error, ReadFailed) else super().explain(error, path)


ERRORS: Final = _Carried(ReadFailed, {})


@dataclass(frozen=True, slots=True)
class HttpsSettings:
    """How files are read.

    `connections`: requests at once for each disk. `silence`: seconds that a server may be silent; an answer may take twice as
    long. `every`: seconds between two looks at snapshots and files while they are read. `host_port`: where hosts serve their
    files, 443 as a rule; 0 reads through vCenter, which is slower. `pins`: SHA-256 of the certificates of hosts, by their names
    in tickets.
    """

    connections: int = 4
    silence: float = 60.0
    every: float = 30.0
    host_port: int = 0
    pins: Mapping[str, str] = field(default_factory=dict)

    def route(self, routes: DiskRoutes, path: str) -> FileRoute:
        """The way to a file by these settings."""
        route = routes.file(path, self.host_port)
        pins = {name.lower(): pin for name, pin in self.pins.items()} if self.host_port else {}
        if (pin := pins.get(route.host.lower())) is None:
            return route
        if not (digest := pasted.thumbprint(pin)):
            raise BadInput("its pin is no thumbprint", on=route.host, remedy="write 64 hex digits (SHA-256)")
        setting = f"change the line of {route.host} under `https.pins` in the appliance's configuration"
        return replace(route, pin=digest, setting=setting)


class Watch:
    """Compares what vCenter says about a disk's files with what it said first. One thread at a time."""

    def __init__(self, routes: DiskRoutes, path: str, every: float) -> None:
        self._routes, self._path, self._every = routes, path, every
        self.first = routes.backing()
        self._looked = time.monotonic()

    def look(self) -> None:
        """Raises SourceChanged after any change, and when vCenter does not show the files any more."""
        try:
            now = self._routes.backing()
        except ConnectorError as hidden:
            if hidden.retryable:
                raise
            raise changed(f"vCenter does not show its files now ({hidden.what})", self._path) from hidden
        self._looked = time.monotonic()
        if now != self.first:
            raise changed(_difference(self.first, now), self._path)

    def look_when_due(self) -> None:
        if time.monotonic() - self._looked >= self._every:
            self.look()


class DatastoreFileSource(DiskSource):
    """See `BlockSource`. Reading ends with a last look at the files: only then its bytes count."""

    def __init__(self, file: RangedFile, watch: Watch, path: str, depth: int, pace: DepthLimit) -> None:
        super().__init__(file, path, ERRORS, depth, pace)
        self._watch = watch

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        yield from super().read(extents, halt)
        self._watch.look()


class HttpsReader:
    """See `Reader`. Several connections per open disk, each with a thread; no foreign code runs."""

    name = "https"

    def __init__(self, settings: HttpsSettings | None = None) -> None:
        self._settings = settings or HttpsSettings()

    def check(self, vsphere: str) -> str:  # noqa: ARG002 - what a vCenter serves is known when a disk is opened
        """The version of this connector, whose code reads."""
        return __version__

    def open(self, access: DiskAccess, depth: int = 8, pace: DepthLimit = full_pace) -> DatastoreFileSource:
        """Open a disk.

        Raises Ineligible with the reason for a disk whose bytes are in no flat file, SourceChanged when its snapshot is gone or
        its files moved, ReaderFailed, and what vCenter answers to the questions about them.
        """
        routes = _routes(access)
        watch = Watch(routes, access.path, self._settings.every)
        require_flat(watch.first, access)
        flat = self._flat(routes, access)
        file = self._file(routes, watch, access, flat, depth)
        try:
            file.fill(flat.length - SECTOR, memoryview(bytearray(SECTOR)))
            return DatastoreFileSource(file, watch, access.path, depth, pace)
        except BaseException:
            file.close()
            raise

    def release(self, access: DiskAccess) -> int:  # noqa: ARG002 - nothing is ever left
        """Nothing: a reader that dies leaves connections, which vCenter closes, and no lock on the machine."""
        return 0

    def _flat(self, routes: DiskRoutes, access: DiskAccess) -> FlatFile:
        """The flat file that the disk's descriptor names."""
        settings = self._settings
        way = Way(lambda: settings.route(routes, access.path))
        connection = FileConnection(way, access.path, settings.silence)
        try:
            flat = flat_file(whole_text(connection, LONGEST, access.path), access.path)
        finally:
            connection.close()
        if access.capacity and flat.length != access.capacity:
            what = f"its descriptor says {flat.length} bytes, vCenter says {access.capacity}"
            raise unknown(what, access.path)
        return flat

    def _file(
        self, routes: DiskRoutes, watch: Watch, access: DiskAccess, flat: FlatFile, depth: int
    ) -> RangedFile:
        path, settings = beside(access.path, flat.name), self._settings

        def in_use() -> Sequence[Extent]:
            return believed(routes.in_use(), flat.length, file.fill, access.path)

        file = RangedFile(
            lambda: settings.route(routes, path),
            path,
            flat.length,
            connections=min(depth, settings.connections),
            silence=settings.silence,
            in_use=in_use,
            look=watch.look_when_due,
            shared=not settings.host_port,
        )
        return file


def _routes(access: DiskAccess) -> DiskRoutes:
    if access.routes is None:
        raise BadInput("its vCenter serves no files", on=access.path, remedy="use the reader vddk")
    if access.snapshot is None:
        raise refused(
            "without a snapshot nobody knows whether its machine was started meanwhile", access.path
        )
    return access.routes


def require_flat(backing: DiskBacking, access: DiskAccess) -> None:
    """Raise unless the snapshot's bytes are those of one flat file that nobody writes to now."""
    on, files, live = access.path, backing.files, backing.live
    if not files or files[0] != access.path:
        raise changed("the snapshot or its disk is gone", on)
    for wrong, why in (
        (backing.encrypted, "it is encrypted"),
        (backing.kind != "FlatVer2", _KINDS.get(backing.kind, f"its backing is {backing.kind}")),
        (
            backing.store not in STORES,
            f"a datastore of the kind {backing.store or '(unknown)'} has no files of disks",
        ),
        (len(files) > 1, "older snapshots are beneath it, so its bytes are in several files"),
    ):
        if wrong:
            raise refused(why, on)
    if live == files:
        raise refused("the machine writes to it: the snapshot does not hold it", on)
    if not live or live[-1] != files[0]:
        raise changed("the machine's disk is not on top of the snapshot's file any more", on)
    if backing.work:
        raise ReaderFailed(backing.work, on=on, remedy="wait until it has ended", retryable=True)


def _difference(first: DiskBacking, now: DiskBacking) -> str:
    """What differs, in words."""
    names = [entry.name for entry in fields(first) if getattr(first, entry.name) != getattr(now, entry.name)]
    words = {
        "snapshots": "the machine's snapshots changed",
        "files": "the snapshot or its files are gone",
        "live": "the machine's disk is in other files",
        "work": now.work or first.work,
    }
    return "; ".join(words.get(name, f"{name} of the disk changed") for name in names)


def beside(path: str, name: str) -> str:
    """The path of a file in the folder of another."""
    end = max(path.rfind("/") + 1, path.find("] ") + 2)
    return path[:end] + name


def believed(
    areas: Sequence[Extent], capacity: int, fill: Callable[[int, memoryview], None], on: str
) -> Sequence[Extent]:
    """The areas in use, after some cells outside them were read: the whole disk when one of these is not all zeros."""
    cells = unused_cells(areas, capacity, PROBES)
    for cell in cells:
        room = memoryview(bytearray(cell.length))
        fill(cell.start, room)
        if any(room):
            log.warning("%s: CBT calls the bytes at %d unused, and they are not: all is read", on, cell.start)
            return [Extent(0, capacity)]
    return areas


def unused_cells(areas: Iterable[Extent], capacity: int, count: int) -> list[Extent]:
    """Some cells, drawn at random, of which no byte is in `areas`."""
    unused = ranges.subtract(ranges.whole(capacity), ranges.align(list(areas), capacity))
    ends = list(accumulate(-(-extent.length // CELL) for extent in unused))
    drawn = {secrets.randbelow(ends[-1]) for _ in range(count)} if ends else set()
    cells = []
    for number in sorted(drawn):
        at = bisect_right(ends, number)
        start = unused[at].start + (number - (ends[at - 1] if at else 0)) * CELL
        cells.append(Extent(start, min(CELL, capacity - start)))
    return cells
