"""What goes out over HTTP, made from frozen rows. Nothing secret passes here: each view lists its fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from connector.control.domain import definition, jobs
from connector.control.domain.entities import Job, Json, Pass, Source, Task, TrackedResource
from connector.control.store.write_count import WritePosition
from connector.model import Credential


def allowed(row: Job) -> list[jobs.JobEvent]:
    """What a person may ask of this job now."""
    return [event for event in jobs.allowed(row.state) if event not in impossible(row)]


def impossible(row: Job) -> set[jobs.JobEvent]:
    """What never applies to this job, whatever its state: the members of an application go to and fro together, what runs
    once has no cutover, and there is no way back for what never cut over.
    """
    never: set[jobs.JobEvent] = set()
    if row.run_once or row.application:
        never |= {jobs.JobEvent.CUTOVER, jobs.JobEvent.CLOSE}
    if row.application or not (row.cutover or row.last_sync):
        never.add(jobs.JobEvent.ROLLBACK)
    return never


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
    """What an appliance needs in order to carry out a pass; holds the appliance's key.

    `attempts`: those at the same pass before this one; `disk_set`: the disks that the last finished pass found. A pass
    that reads nothing has no instance and no key. `alone`: it belongs to no cohort, whose machines are shut down first.
    `lineage`: what the targets must show (see `control.lineage`).
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
        "power_on": row.down_since is not None,
        "settling": max(0.0, row.settles - now),
        "may_shut_down": alone or attempt.task is Task.SHUTDOWN,
        "keep_cbt": row.keep_cbt,
        "quiesce": row.quiesce,
        "disk_set": disk_set,
        "lineage": lineage or {},
    }


def resource(row: TrackedResource) -> Json:
    """Something in vCenter, as appliances speak of it."""
    return {
        "token": row.token,
        "kind": row.kind,
        "moref": row.reference,
        "removed": row.removed,
        "trouble": row.trouble,
    }


def leftover(machine: Source, row: TrackedResource) -> Json:
    """An order to remove something of a job that does not read now."""
    where = {"machine": machine.moref, "instance_uuid": machine.instance_uuid, "name": machine.name}
    return resource(row) | where | {"job_id": row.job_id, "pass_id": row.pass_id or ""}


def remembered(machine: Source, row: TrackedResource, status: jobs.JobStatus) -> Json:
    """Something that may still be in vCenter, and whether its job still needs it."""
    over = (jobs.JobStatus.FINISHED, jobs.JobStatus.EXPIRED, jobs.JobStatus.DELETING, jobs.JobStatus.DELETED)
    where = {"machine": machine.moref, "instance_uuid": machine.instance_uuid, "name": machine.name}
    return resource(row) | where | {"busy": status is jobs.JobStatus.RUNNING, "over": status in over}


def percent(row: Job, passes: list[Pass]) -> float:
    """How much of what the newest pass wants is done, 0 to 100."""
    if row.status is jobs.JobStatus.FINISHED:
        return 100.0
    disks: list[dict[str, Any]] = passes[-1].disks if passes else []
    planned = sum(int(disk["wanted"]) for disk in disks)
    return round(100.0 * sum(int(disk["done"]) for disk in disks) / planned, 1) if planned else 0.0


def epoch(point: WritePosition) -> Json:
    """How far the database is in which epoch; `restored` says why nothing is begun, empty when all is well."""
    return {
        "epoch": point.epoch,
        "number": point.number,
        "sequence": point.sequence,
        "began": point.began,
        "restored": point.restored,
        "restored_at": point.restored_at,
    }
