"""An answer shows a row only through a view, and each view lists its fields, so no secret is shown by accident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from connector.control.domain import definition, jobs
from connector.control.domain.allowed_events import allowed, must_power_on, read_by
from connector.control.domain.entities import Job, Json, Pass, Source, Task, TrackedResource
from connector.control.store.write_count import WritePosition
from connector.model import Credential


def order(
    row: Job,
    machine: Source,
    attempt: Pass,
    credential: Credential | None,
    resources: list[TrackedResource],
    attempts: Sequence[Pass] = (),
    disk_set: Sequence[Json] = (),
    *,
    alone: bool = True,
    now: float = 0.0,
    lineage: Json | None = None,
) -> Json:
    """The order for an appliance; it contains the appliance's private key.

    `attempts`: earlier attempts at the same pass. `disk_set`: the disk set of the last finished pass. A power task has no
    instance and no key. `alone`: the pass belongs to no cohort, so its machine may be shut down at once. `lineage`: what
    the targets must show (see `control.store.lineage`).
    """
    return {
        "pass_id": attempt.id,
        "job_id": row.id,
        "source_id": machine.id,
        "moref": machine.moref,
        "instance_uuid": machine.instance_uuid,
        "name": machine.name,
        "task": attempt.task,
        "final": attempt.final,
        "instance": asdict(row.instance) if row.instance else None,
        "credential": asdict(credential) if credential else None,
        "objects": [resource(t) for t in resources],
        "attempts": [earlier.id for earlier in attempts],
        "shutdown_deadline": row.shutdown_deadline,
        "allow_power_off": row.allow_power_off,
        "audit": row.audit,
        "accept_removed_disks": row.accept_removed_disks,
        "left_out": list(row.left_out),
        "replication": definition.shown(row.definition, final=attempt.final),
        "power_on": must_power_on(row),
        "settling": max(0.0, row.settles - now),
        "may_shut_down": alone or attempt.task is Task.SHUTDOWN,
        "keep_cbt": row.keep_cbt,
        "quiesce": row.quiesce,
        "reader": definition.reader(row.definition),
        "read_by": read_by(attempts),
        "disk_set": disk_set,
        "lineage": lineage or {},
    }


def resource(row: TrackedResource) -> Json:
    """A tracked resource in vCenter."""
    return {
        "token": row.token,
        "kind": row.kind,
        "moref": row.reference,
        "removed": row.removed,
        "trouble": row.trouble,
    }


def leftover(machine: Source, row: TrackedResource) -> Json:
    """An order to remove a resource of a job that does not read now."""
    where = {"machine": machine.moref, "instance_uuid": machine.instance_uuid, "name": machine.name}
    return resource(row) | where | {"job_id": row.job_id, "pass_id": row.pass_id or ""}


def remembered(machine: Source, row: TrackedResource, status: jobs.JobStatus, in_use: bool) -> Json:
    """A resource that may still be in vCenter, and whether a job still needs it: its own, or another one of the machine."""
    over = (jobs.JobStatus.FINISHED, jobs.JobStatus.EXPIRED, jobs.JobStatus.DELETING, jobs.JobStatus.DELETED)
    where = {"machine": machine.moref, "instance_uuid": machine.instance_uuid, "name": machine.name}
    return (
        resource(row)
        | where
        | {"busy": status is jobs.JobStatus.RUNNING, "over": status in over and not in_use}
    )


def open_cutover(machine: Source, row: Job) -> Json:
    """A cutover that has shut its machine down and has not ended. `busy`: it is under way. `resumable`: a start is allowed."""
    where = {"machine": machine.moref, "instance_uuid": machine.instance_uuid, "name": machine.name}
    return where | {
        "job": row.name,
        "since": row.down_since,
        "busy": row.status is jobs.JobStatus.RUNNING,
        "resumable": jobs.JobEvent.START in allowed(row),
    }


#: The state of a disk that is read and compared, as an appliance reports it.
PROVED: Final = "proved"


def percent(row: Job, passes: list[Pass]) -> float:
    """How much of the newest pass is done, from 0 to 100."""
    if row.status is jobs.JobStatus.FINISHED:
        return 100.0
    disks: list[dict[str, Any]] = passes[-1].disks if passes else []
    planned = sum(int(disk["wanted"]) for disk in disks)
    if disks and not planned and all(disk.get("state") == PROVED for disk in disks):
        return 100.0  # nothing had changed
    return round(100.0 * sum(int(disk["done"]) for disk in disks) / planned, 1) if planned else 0.0


def epoch(point: WritePosition) -> Json:
    """The epoch and how far the database is in it. `restored`: why the state is held; empty if it is not."""
    return {
        "epoch": point.epoch,
        "number": point.number,
        "sequence": point.sequence,
        "began": point.began,
        "restored": point.restored,
        "restored_at": point.restored_at,
    }
