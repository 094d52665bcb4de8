"""The evidence of a pass: what the instance says of every byte, who was read when, signed with the appliance's key."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector import __version__
from connector.appliance.passes.order import Order
from connector.clients.endpoint import InstanceEndpoint
from connector.errors import Conflict
from connector.model import Machine
from connector.transfer import evidence
from connector.transfer.evidence import Signer
from connector.vcenter.client import About, Snapshot

Deliver = Callable[[str, bytes], None]
"""Give the manifest of a pass to the control plane. May be repeated. Raises ConnectorErrors."""


@dataclass(slots=True)
class EvidenceWriter:
    """Signs for one appliance. Thread-safe. The signer is another one after a rotation."""

    signer: Signer
    reader: str  # its name, as `versions` of the evidence has it
    reader_version: str
    deliver: Deliver


@dataclass(frozen=True, slots=True)
class Reading:
    """What a finished pass has read. Times are seconds since the epoch; `rows` are the figures of the disks."""

    order: Order
    machine: Machine
    snapshot: Snapshot
    reading: str
    began: float
    ended: float
    rows: Sequence[Mapping[str, Any]]
    dropped: Sequence[Mapping[str, Any]]


def attest(
    evidence_writer: EvidenceWriter,
    about: About,
    done: Reading,
    endpoint: InstanceEndpoint,
    stop: threading.Event,
) -> dict[str, Any]:
    """Seal the evidence, leave it with the instance and the control plane; answers what identifies it."""
    sections = {
        "pass": _pass(done),
        "machine": _machine(done.machine, about),
        "versions": {
            "connector": __version__,
            "vcenter": f"{about.version} {about.build}",
            evidence_writer.reader: evidence_writer.reader_version,
        },
        "disks": {
            str(row["key"]): _disk(done, row, endpoint.account(str(row["key"]), stop)) for row in done.rows
        },
    }
    signer = evidence_writer.signer
    manifest = evidence.seal(sections, signer)
    endpoint.put_evidence(done.reading, manifest)
    evidence_writer.deliver(done.order.pass_id, manifest)
    return {"size": len(manifest), "key": evidence.fingerprint(signer.public)}


def _pass(done: Reading) -> dict[str, Any]:
    taken = (node.created for node in done.machine.snapshots if node.moref == done.snapshot.moref)
    return {
        "id": done.order.pass_id,
        "job": done.order.job_id,
        "reading": done.reading,
        "final": done.order.final,
        "began": utc(done.began),
        "ended": utc(done.ended),
        "snapshot": {
            "moref": done.snapshot.moref,
            "token": done.snapshot.token,
            "created": utc(next(taken, done.began)),
            "adopted": done.snapshot.adopted,
        },
        "dropped": [dict(disk) for disk in done.dropped],
        "previous": None if (previous := done.order.lineage.previous) is None else dict(previous),
    }


def _machine(machine: Machine, about: About) -> dict[str, Any]:
    return {
        "name": machine.name,
        "moref": machine.moref,
        "instance_uuid": machine.instance_uuid,
        "bios_uuid": machine.bios_uuid,
        "vcenter": about.instance_uuid,
    }


def _disk(done: Reading, row: Mapping[str, Any], proved: Mapping[str, Any]) -> dict[str, Any]:
    _require_this_reading(done, row, proved)
    kept = ("label", "path", "uuid", "kind", "note", "change_id", "base_change_id")
    counted = ("planned", "read", "zero", "sent", "same", "wire")
    audited = row["audit"] and {
        **row["audit"],
        "share": f"{row['audit']['share']:g}",
    }  # numbers here are whole ones
    return {
        **{name: row[name] for name in kept},
        "audit": audited,
        "bytes": {name: int(row[name]) for name in counted},
        "milliseconds": int(row["seconds"] * 1000),
        "proved": utc(float(proved["proved"])),
        "lineage": {
            name: proved[name] for name in ("target", "generation", "root", "previous_root", "reading")
        },
        **proved["account"],
    }


def _require_this_reading(done: Reading, row: Mapping[str, Any], proved: Mapping[str, Any]) -> None:
    """A change id is signed only for the bytes that were read under it (invariant 14). Raises Conflict."""
    wanted = {"reading": done.reading, "change_id": row["change_id"], "snapshot": done.snapshot.token}
    for name, value in wanted.items():
        if proved[name] != value:
            raise Conflict(
                f"the instance proved {name.replace('_', ' ')} {proved[name]}, not {value}: it is not signed",
                on=f"{done.order.name} {row['label']}",
                remedy="start the job again: the next pass compares this disk",
            )
    if proved["account"]["root"]["target"] != proved["root"]:
        raise Conflict(
            "the instance proved another root than its journal names: it is not signed",
            on=f"{done.order.name} {row['label']}",
            remedy="start the job again; if it happens again, replace the instance",
        )


def utc(seconds: float) -> str:
    """A time as people and programs read it, to the millisecond."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
