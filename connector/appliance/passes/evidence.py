"""Makes the evidence of a pass: the instance's account of every byte, and what was read when, signed by the appliance."""

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
"""Gives the manifest of a pass to the control plane. May be repeated. Raises ConnectorErrors."""


@dataclass(slots=True)
class EvidenceWriter:
    """Signs for one appliance. Thread-safe. A rotation replaces the signer."""

    signer: Signer
    reader_versions: Mapping[str, str]  # by the readers' names, for the section `versions`
    deliver: Deliver


@dataclass(frozen=True, slots=True)
class Reading:
    """A finished reading. Times are seconds since the epoch; `rows` are the figures of the disks."""

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
    reading: Reading,
    endpoint: InstanceEndpoint,
    stop: threading.Event,
) -> dict[str, Any]:
    """Sign the evidence and give it to the instance and the control plane; returns its size and the key's fingerprint."""
    sections = {
        "pass": _pass(reading),
        "machine": _machine(reading.machine, about),
        "versions": {
            "connector": __version__,
            "vcenter": f"{about.version} {about.build}",
            **_versions(evidence_writer, reading.rows),
        },
        "disks": {
            str(row["key"]): _disk(reading, row, endpoint.account(str(row["key"]), stop))
            for row in reading.rows
        },
    }
    signer = evidence_writer.signer
    manifest = evidence.seal(sections, signer)
    endpoint.put_evidence(reading.reading, manifest)
    evidence_writer.deliver(reading.order.pass_id, manifest)
    return {"size": len(manifest), "key": evidence.fingerprint(signer.public)}


def _versions(evidence_writer: EvidenceWriter, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The versions of the readers that read these disks. Of a reader of an earlier attempt, elsewhere, only the name is known."""
    names = dict.fromkeys(name for row in rows for name in row["readers"])
    return {name: evidence_writer.reader_versions.get(name, "unknown") for name in names}


def _pass(reading: Reading) -> dict[str, Any]:
    created = (node.created for node in reading.machine.snapshots if node.moref == reading.snapshot.moref)
    return {
        "id": reading.order.pass_id,
        "job": reading.order.job_id,
        "reading": reading.reading,
        "final": reading.order.final,
        "began": utc(reading.began),
        "ended": utc(reading.ended),
        "snapshot": {
            "moref": reading.snapshot.moref,
            "token": reading.snapshot.token,
            "created": utc(next(created, reading.began)),
            "adopted": reading.snapshot.adopted,
        },
        "dropped": [dict(disk) for disk in reading.dropped],
        "previous": None if (previous := reading.order.lineage.previous) is None else dict(previous),
    }


def _machine(machine: Machine, about: About) -> dict[str, Any]:
    return {
        "name": machine.name,
        "moref": machine.moref,
        "instance_uuid": machine.instance_uuid,
        "bios_uuid": machine.bios_uuid,
        "vcenter": about.instance_uuid,
    }


def _disk(reading: Reading, row: Mapping[str, Any], proved: Mapping[str, Any]) -> dict[str, Any]:
    _require_this_reading(reading, row, proved)
    copied = ("label", "path", "uuid", "kind", "note", "change_id", "base_change_id")
    counted = ("planned", "read", "zero", "sent", "same", "wire")
    audited = row["audit"] and {
        **row["audit"],
        "share": f"{row['audit']['share']:g}",
    }  # numbers in evidence are whole
    return {
        **{name: row[name] for name in copied},
        "audit": audited,
        "readers": list(row["readers"]),
        "bytes": {name: int(row[name]) for name in counted},
        "milliseconds": int(row["seconds"] * 1000),
        "proved": utc(float(proved["proved"])),
        "lineage": {
            name: proved[name] for name in ("target", "generation", "root", "previous_root", "reading")
        },
        **proved["account"],
    }


def _require_this_reading(reading: Reading, row: Mapping[str, Any], proved: Mapping[str, Any]) -> None:
    """Raises Conflict unless the proof is of this reading: a change id is signed only for its own bytes (invariant 14)."""
    expected = {"reading": reading.reading, "change_id": row["change_id"], "snapshot": reading.snapshot.token}
    for name, value in expected.items():
        if proved[name] != value:
            raise Conflict(
                f"the instance proved {name.replace('_', ' ')} {proved[name]}, not {value}: it is not signed",
                on=f"{reading.order.name} {row['label']}",
                remedy="start the job again: the next pass compares this disk",
            )
    if proved["account"]["root"]["target"] != proved["root"]:
        raise Conflict(
            "the instance proved another root than its journal names: it is not signed",
            on=f"{reading.order.name} {row['label']}",
            remedy="start the job again; if it happens again, replace the instance",
        )


def utc(seconds: float) -> str:
    """A time in ISO 8601, in UTC, to the millisecond."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
