"""An order is one machine's pass, as the control plane hands it out: frozen, complete, and safe to carry out twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connector.errors import ControlFailed
from connector.model import Credential, InstanceAddress


@dataclass(frozen=True, slots=True)
class SourceObject:
    """Something that an earlier attempt may have created in vCenter; `token` was recorded before the call."""

    token: str
    kind: str
    moref: str | None
    removed: bool


@dataclass(frozen=True, slots=True)
class Order:
    """Copy this machine to that instance. `final` means: shut it down first, this is the cutover."""

    pass_id: str
    job_id: str
    moref: str
    instance_uuid: str
    name: str
    final: bool
    instance: InstanceAddress
    credential: Credential
    objects: tuple[SourceObject, ...]
    shutdown_deadline: float
    allow_power_off: bool
    audit: float | None = None  # share of what CBT calls unchanged; None: as the appliance is configured
    accept_removed_disks: bool = False


def order_from_json(body: dict[str, Any]) -> Order:
    """Read an order off the wire. Raises ControlFailed when a field is missing or of the wrong type."""
    try:
        instance, credential = body["instance"], body["credential"]
        return Order(
            pass_id=str(body["pass_id"]),
            job_id=str(body["job_id"]),
            moref=str(body["moref"]),
            instance_uuid=str(body["instance_uuid"]),
            name=str(body["name"]),
            final=bool(body["final"]),
            instance=InstanceAddress(
                str(instance["host"]), int(instance["control_port"]), int(instance["block_port"])
            ),
            credential=Credential(
                str(credential["authority"]), str(credential["certificate"]), str(credential["key"])
            ),
            objects=tuple(_object(entry) for entry in body.get("objects", ())),
            shutdown_deadline=float(body.get("shutdown_deadline", 300.0)),
            allow_power_off=bool(body.get("allow_power_off", False)),
            accept_removed_disks=bool(body.get("accept_removed_disks", False)),
            audit=None if body.get("audit") is None else min(1.0, max(0.0, float(body["audit"]))),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as broken:
        raise ControlFailed(f"the order cannot be read: {broken!r}", on="control plane") from None


def _object(entry: dict[str, Any]) -> SourceObject:
    moref = entry.get("moref")
    return SourceObject(
        token=str(entry["token"]),
        kind=str(entry["kind"]),
        moref=None if moref is None else str(moref),
        removed=bool(entry.get("removed", False)),
    )
