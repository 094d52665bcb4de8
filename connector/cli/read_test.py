"""A read test opens a real disk with each reader, through a snapshot of ours, and reads a little of it.

It is the only proof that a reader works at a site: tickets, ports, certificates and the rate between them.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice

from connector.cli.deep import agree
from connector.cli.deep_snapshots import FileLedger, first_disk, held, owner
from connector.errors import ConnectorError, one_line
from connector.model import DiskAccess, Extent, Machine, MachineDisk
from connector.settings import VCenterSettings
from connector.sources.factory import Readers
from connector.sources.reader import Reader
from connector.transfer import extents as ranges
from connector.transfer.source import BlockSource
from connector.vcenter.client import Snapshot, VCenter

DEPTH = 8  # reads in flight, as in a pass
PROOF = 1 << 20  # bytes that are read in any case
MOST = 64  # blocks
SECONDS = 5.0  # after which no further block is waited for


@dataclass(frozen=True, slots=True)
class ReadTest:
    """What one reader did with one disk. `rate` is in bytes a second; `trouble` says why it cannot read."""

    reader: str
    disk: str
    opened: float = 0.0  # seconds until it was open
    read: int = 0
    rate: float = 0.0
    trouble: str = ""

    def to_json(self) -> dict[str, object]:
        return {"event": "read", **asdict(self)}


def read_tests(access: VCenterSettings, name: str, readers: Readers, yes: bool) -> list[ReadTest]:
    """One test for each reader that `auto` may take, on the machine's first disk. Asks before the snapshot, unless `yes`.

    Raises what vCenter refuses: the machine, or its snapshot.
    """
    with VCenter(access, owner=owner(), ledger=FileLedger()) as vcenter:
        machine = vcenter.find(name)
        agree([machine], yes, "--read")
        with held(vcenter, machine) as snapshot:
            disk = first_disk(snapshot, machine)
            version = vcenter.about.version
            return [_tested(reader, version, vcenter, machine, snapshot, disk) for reader in readers.chosen()]


def _tested(
    reader: Reader, version: str, vcenter: VCenter, machine: Machine, snapshot: Snapshot, disk: MachineDisk
) -> ReadTest:
    began = time.monotonic()
    try:
        reader.check(version)
        access = vcenter.disk_access(machine.moref, snapshot, disk)
        with closing(reader.open(access, DEPTH)) as source:
            opened = time.monotonic() - began
            return _read(reader.name, access, source, opened)
    except ConnectorError as failed:
        return ReadTest(reader.name, disk.path, trouble=one_line(str(failed)))


def _read(name: str, access: DiskAccess, source: BlockSource, opened: float) -> ReadTest:
    began, count = time.monotonic(), 0
    with closing(_lengths(source)) as lengths:
        for length in lengths:
            count += length
            if count >= PROOF and time.monotonic() - began > SECONDS:
                break
    took = time.monotonic() - began
    return ReadTest(name, access.path, opened, count, count / took if took > 0 else 0.0)


def _lengths(source: BlockSource) -> Generator[int]:
    """The lengths of blocks as they come, from what is allocated, or from the beginning of a disk where nothing is."""
    allocated = source.allocated(Extent(0, source.capacity))
    blocks = islice(ranges.blocks(allocated or [Extent(0, min(PROOF, source.capacity))]), MOST)
    for block in source.read(blocks):
        length = len(block.data)
        block.release()
        yield length
