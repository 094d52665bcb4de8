"""`connector record --nfc` records, besides vCenter's answers, how a host gives the first disk of a machine over NFC.

The disk is read through a snapshot of ours. Both files have the same pseudonyms. Nothing is written before both are complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from connector.cli.deep import agree
from connector.cli.deep_snapshots import FileLedger, first_disk, held, owner
from connector.errors import one_line
from connector.settings import VCenterSettings
from connector.sources import nfc_recording
from connector.vcenter import record
from connector.vcenter.client import VCenter
from connector.vcenter.record import Recording


@dataclass(frozen=True, slots=True)
class BothRecordings:
    """What was recorded. `trouble`: what went wrong over NFC, which is recorded too."""

    vcenter: Recording
    nfc: Path
    connections: int
    trouble: str


def record_both(access: VCenterSettings, directory: Path, name: str, yes: bool) -> BothRecordings:
    """Record into two new files. Asks before the snapshot, unless `yes`.

    Raises what vCenter refuses: the machine, its snapshot, or a ticket.
    """
    record.require_new(directory, record.FILE, nfc_recording.FILE)
    with VCenter(access, owner=owner(), ledger=FileLedger()) as vcenter:
        machine = vcenter.find(name)
        agree([machine], yes, "--nfc")
        scrubber = record.new_scrubber()
        tape = record.converse(access, scrubber, machine.moref)
        with held(vcenter, machine) as snapshot:
            disk = first_disk(snapshot, machine)
            recording = nfc_recording.record(vcenter.disk_access(machine.moref, snapshot, disk), scrubber)
    record.write(directory, {record.FILE: tape.text, nfc_recording.FILE: recording.text})
    answers = Recording(directory / record.FILE, len(tape.interactions), tape.machines)
    return BothRecordings(
        answers, directory / nfc_recording.FILE, recording.connections, one_line(recording.trouble)
    )
