"""The evidence of a pass: what the instance says of every byte, who was read when, signed with the appliance's key."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector import __version__
from connector.appliance.order import Order
from connector.model import Machine
from connector.transfer import evidence
from connector.transfer.endpoint import InstanceEndpoint
from connector.transfer.evidence import Signer
from connector.vcenter.client import About, Snapshot

Deliver = Callable[[str, bytes], None]
"""Give the manifest of a pass to the control plane. May be repeated. Raises ConnectorErrors."""


@dataclass(frozen=True, slots=True)
class Notary:
    """Signs for one appliance. Thread-safe."""

    signer: Signer
    vddk: str  # its version
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


def attest(notary: Notary, about: About, done: Reading, endpoint: InstanceEndpoint) -> dict[str, Any]:
    """Seal the evidence, leave it with the instance and the control plane; answers what identifies it."""
    sections = {
        "pass": _pass(done),
        "machine": _machine(done.machine, about),
        "versions": {
            "connector": __version__,
            "vcenter": f"{about.version} {about.build}",
            "vddk": notary.vddk,
        },
        "disks": {str(row["key"]): _disk(row, endpoint.account(str(row["key"]))) for row in done.rows},
    }
    manifest = evidence.seal(sections, notary.signer)
    endpoint.put_evidence(done.reading, manifest)
    notary.deliver(done.order.pass_id, manifest)
    return {"size": len(manifest), "key": evidence.fingerprint(notary.signer.public)}


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
    }


def _machine(machine: Machine, about: About) -> dict[str, Any]:
    return {
        "name": machine.name,
        "moref": machine.moref,
        "instance_uuid": machine.instance_uuid,
        "bios_uuid": machine.bios_uuid,
        "vcenter": about.instance_uuid,
    }


def _disk(row: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
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
        "proved": utc(float(told["proved"])),
        **told["account"],
    }


def utc(seconds: float) -> str:
    """A time as people and programs read it, to the millisecond."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
