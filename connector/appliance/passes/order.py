"""An order is one attempt at one machine's pass; it is frozen and complete, and may be carried out twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter

from connector.cancellation import Cancellation
from connector.clients.heartbeat import replication_from_json
from connector.errors import ControlFailed
from connector.model import Credential, InstanceAddress, MachineDisk, Replication
from connector.sources.factory import AUTO
from connector.sources.factory import ORDER as READERS
from connector.transfer import lineage
from connector.transfer.lineage import Lineage
from connector.vcenter.client import Quiesce

_DISK: Final = TypeAdapter(MachineDisk)
UNKNOWN: Final = "unknown"  # a reader of an earlier attempt, by a name that this release does not know


@dataclass(frozen=True, slots=True)
class OrderResource:
    """A tracked resource that an earlier attempt may have created in vCenter; `token` was recorded before the call."""

    token: str
    kind: str
    moref: str | None
    removed: bool


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt at one machine's pass. `final`: this is the cutover, so the machine is shut down first.

    `replication` are the settings at the time of the order; heartbeats bring later ones (see `PassControl`). `attempts`
    are the ids of earlier attempts at the same pass: only their snapshots may be continued. A power task has no instance.
    `power_on`: a cutover of this job shut the machine down, so a rollback powers it on. For `settling` seconds the guest
    may still be shutting down. Without `may_shut_down` an earlier order shut the machine down, together with other
    machines, and it must not run.

    `disk_set`: the machine's disks at the last finished pass. `lineage`: what the targets must show before a pass
    continues from them. `reader`: which reader reads, or `auto`. `read_by`: the readers of earlier attempts, by the key of the
    disk.
    """

    pass_id: str
    job_id: str
    moref: str
    instance_uuid: str
    name: str
    final: bool
    instance: InstanceAddress | None
    credential: Credential | None
    objects: tuple[OrderResource, ...]
    shutdown_deadline: float
    allow_power_off: bool
    audit: float | None = None  # share of the bytes that CBT calls unchanged; None: the appliance's setting
    accept_removed_disks: bool = False
    attempts: tuple[str, ...] = ()
    left_out: frozenset[int] = frozenset()  # keys of disks that stay behind
    replication: Replication = field(default_factory=Replication)
    task: str = "read"
    power_on: bool = False
    keep_cbt: bool = False
    quiesce: Quiesce = Quiesce.OFF
    disk_set: tuple[MachineDisk, ...] = ()
    settling: float = 0.0
    may_shut_down: bool = True
    lineage: Lineage = field(default_factory=Lineage)
    reader: str = AUTO
    read_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class PassControl:
    """What is asked of a running pass: to stop, and how to use the link. Thread-safe."""

    def __init__(self, replication: Replication | None = None) -> None:
        self.stop = Cancellation()
        self.replication = replication or Replication()


def order_from_json(body: dict[str, Any]) -> Order:
    """An order from an answer of the control plane. Raises ControlFailed when a field is missing or of a wrong type."""
    try:
        instance, credential = body["instance"], body["credential"]
        return Order(
            pass_id=str(body["pass_id"]),
            job_id=str(body["job_id"]),
            moref=str(body["moref"]),
            instance_uuid=str(body["instance_uuid"]),
            name=str(body["name"]),
            final=bool(body["final"]),
            instance=None if instance is None else _address(instance),
            credential=None if credential is None else _credential(credential),
            objects=tuple(_object(entry) for entry in body.get("objects", ())),
            attempts=tuple(str(attempt) for attempt in body.get("attempts", ())),
            shutdown_deadline=float(body.get("shutdown_deadline", 300.0)),
            allow_power_off=bool(body.get("allow_power_off", False)),
            accept_removed_disks=bool(body.get("accept_removed_disks", False)),
            audit=None if body.get("audit") is None else min(1.0, max(0.0, float(body["audit"]))),
            left_out=frozenset(int(key) for key in body.get("left_out", ())),
            replication=replication_from_json(body.get("replication") or {}),
            task=str(body.get("task", "final" if body["final"] else "read")),
            power_on=bool(body.get("power_on", False)),
            keep_cbt=bool(body.get("keep_cbt", False)),
            quiesce=Quiesce(body.get("quiesce", "off")),
            disk_set=tuple(_DISK.validate_python(entry) for entry in body.get("disk_set", ())),
            settling=float(body.get("settling", 0.0)),
            may_shut_down=bool(body.get("may_shut_down", True)),
            lineage=lineage.from_json(body.get("lineage") or {}),
            reader=str(body.get("reader") or AUTO),
            read_by={
                str(key): tuple(str(name) if name in READERS else UNKNOWN for name in names)
                for key, names in (body.get("read_by") or {}).items()
            },
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as broken:
        raise ControlFailed(
            f"the order cannot be read: {broken!r}",
            on="control plane",
            remedy="run the same release on appliance and control plane",
        ) from None


def _address(body: dict[str, Any]) -> InstanceAddress:
    return InstanceAddress(str(body["host"]), int(body["control_port"]), int(body["block_port"]))


def _credential(body: dict[str, Any]) -> Credential:
    return Credential(str(body["authority"]), str(body["certificate"]), str(body["key"]))


def _object(entry: dict[str, Any]) -> OrderResource:
    moref = entry.get("moref")
    return OrderResource(
        token=str(entry["token"]),
        kind=str(entry["kind"]),
        moref=None if moref is None else str(moref),
        removed=bool(entry.get("removed", False)),
    )
