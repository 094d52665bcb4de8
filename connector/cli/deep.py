"""`vm check --deep` reads the disks of each machine through a snapshot of ours, and removes the snapshot afterwards.

If a deep check is killed, its snapshot is removed by the next deep check of the same machine, user and host.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from connector import amounts
from connector.cli.deep_snapshots import FileLedger, held, owner
from connector.errors import BadInput, ConnectorError, one_line
from connector.model import Extent, Finding, Machine, Severity
from connector.offline import rules
from connector.offline.inspection import GuestFacts, Inspection
from connector.offline.window import DiskReader
from connector.settings import VCenterSettings
from connector.sources.factory import ReaderSettings, readers
from connector.sources.reader import Reader
from connector.transfer.source import BlockSource
from connector.vcenter.client import VCenter
from connector.vcenter.disk_order import as_in

log = logging.getLogger(__name__)

DEPTH: Final = 2  # reads in flight
UNCHECKED: Final = "O0"  # the id of the finding that a deep check was not possible


def agree(machines: Sequence[Machine], yes: bool, option: str = "--deep") -> None:
    """Ask before a snapshot of these machines is taken for `option`. Raises BadInput if there is no terminal."""
    if yes or not machines:
        return
    if not sys.stdin.isatty():
        raise BadInput("it takes a snapshot of each machine", on=option, remedy="give --yes")
    names = ", ".join(machine.name for machine in machines[:5]) + (", ..." if len(machines) > 5 else "")
    order = ", one after the other," if len(machines) > 1 else ""
    click.confirm(f"Take a snapshot of {names}{order} and remove it again?", abort=True, err=True)


def findings(
    access: VCenterSettings,
    machines: Sequence[Machine],
    vddk: Path | None,
    transports: str,
    forbidden: Sequence[str],
) -> dict[str, tuple[Finding, ...]]:
    """The findings inside each machine, by moref. A machine that cannot be checked has a finding that says why.

    `forbidden`: morefs of blocked machines; they are not checked.
    """
    findings_of: dict[str, tuple[Finding, ...]] = {}
    with VCenter(access, owner=owner(), ledger=FileLedger()) as vcenter:
        disk_reader = readers(ReaderSettings(vddk, transports)).chosen()[0]
        disk_reader.check(vcenter.about.version)
        for machine in machines:
            if machine.moref in forbidden:
                findings_of[machine.moref] = (
                    _unseen(machine, "something blocks it: see the other findings"),
                )
                continue
            try:
                findings_of[machine.moref] = rules.judge(_facts(vcenter, machine, disk_reader))
            except ConnectorError as failed:
                findings_of[machine.moref] = (_unseen(machine, str(failed)),)
    return findings_of


def _unseen(machine: Machine, why: str) -> Finding:
    return Finding(
        UNCHECKED, Severity.WARN, machine.name, f"not checked inside: {why}", "run it again", "its disks"
    )


def _facts(vcenter: VCenter, machine: Machine, disk_reader: Reader) -> GuestFacts:
    inspection = Inspection(machine.name, machine.firmware)
    with held(vcenter, machine) as snapshot:
        for disk in as_in(snapshot.disks, machine.disks):  # the first is the system disk
            access = vcenter.disk_access(machine.moref, snapshot, disk)
            with closing(disk_reader.open(access, DEPTH)) as source:
                inspection.disk(disk.label, DiskReader(_fetch(source), source.capacity))
    facts = inspection.facts()
    click.echo(one_line(f"{machine.name}: {amounts.size(facts.fetched)} read"), err=True)
    return facts


def _fetch(source: BlockSource) -> Callable[[int, int], bytes]:
    def fetch(offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        for block in source.read([Extent(offset, length)]):
            at = block.offset - offset
            buffer[at : at + len(block.data)] = block.data
            block.release()
        return bytes(buffer)

    return fetch
