"""A job changes its state inside the caller's transaction, together with everything that belongs to the new state."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain import jobs as machine
from connector.control.domain.entities import Job, Json, TagKind
from connector.control.domain.jobs import BusinessStatus, JobEvent, JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal, UnknownObject
from connector.control.domain.sources import SourceEvent
from connector.control.store import hand_overs, sources, tables, tags
from connector.control.store.database import Database
from connector.errors import Conflict
from connector.model import InstanceAddress

_JOBS: Final = tables.jobs


def move(database: Database, connection: sa.Connection, job: Job, event: JobEvent, **changes: Any) -> Job:
    """Move one job along `TRANSITIONS` inside the caller's transaction, with everything that belongs to the new state."""
    target = machine.follow(job.state, event, job.id)
    now = database.now()
    values: Json = {"next_run": None} if job.state == machine.WAITING else {}
    if "error" in changes:
        error = changes["error"] or {}
        values["error_code"] = error.get("code") or error.get("error", "")
    if event is JobEvent.EXPIRED:
        values["expired"] = now
    if event is JobEvent.ROLLBACK and job.status is JobStatus.FINISHED:
        _must_be_the_only_one(connection, job)
        sources.move(connection, job.source_id, SourceEvent.RETAKEN, last_job=job.id)
    updated = connection.execute(
        _JOBS.update()
        .where(_JOBS.c.id == job.id, _JOBS.c.status == job.status, _JOBS.c.business == job.business)
        .values(status=target.status, business=target.business, changed=now, **values | changes)
    )
    if updated.rowcount != 1:
        raise Conflict("another request changed this job first", on=job.id, remedy="look again")
    if event is JobEvent.FINISHED or (event is JobEvent.DELETE and job.status is not JobStatus.FINISHED):
        sources.move(connection, job.source_id, SourceEvent.FREED)
    if event is JobEvent.DELETED:
        tags.forget(connection, TagKind.JOB, job.id)
        _name_last_job(connection, job)
    reason = changes.get("error")
    text = f"{job.state} -> {target}" + (f": {reason['what']}" if reason else "")
    database.log(connection, job.id, str(event), text)
    return to_job(connection.execute(sa.select(_JOBS).where(_JOBS.c.id == job.id)).one())


def _must_be_the_only_one(connection: sa.Connection, job: Job) -> None:
    """Raise StateRefusal if another job has the source of this finished one, which a rollback takes again."""
    c = _JOBS.c
    others = sa.and_(c.source_id == job.source_id, c.id != job.id, c.status.in_(machine.UNFINISHED))
    other = connection.execute(sa.select(c.id, c.name).where(others)).first()
    if other is not None:
        raise StateRefusal(
            RefusalCode.SOURCE_UNFINISHED,
            f"{job.name} cannot be rolled back: the job {other.name} ({other.id}) has its source now",
            on=job.id,
            remedy="finish or delete that job first",
        )


def _name_last_job(connection: sa.Connection, deleted: Job) -> None:
    """If the deleted job was its source's last one, the newest job that still exists is."""
    others = sa.and_(_JOBS.c.source_id == deleted.source_id, _JOBS.c.status != JobStatus.DELETED)
    newest = sa.select(_JOBS.c.id).where(others).order_by(_JOBS.c.created.desc(), _JOBS.c.id.desc()).limit(1)
    last = connection.execute(newest).scalar()
    c = tables.sources.c
    connection.execute(
        tables.sources.update()
        .where(c.id == deleted.source_id, c.last_job == deleted.id)
        .values(last_job=last)
    )


def demand_compare(
    database: Database, connection: sa.Connection, reason: str, condition: sa.ColumnElement[bool]
) -> None:
    """Make the next pass of the jobs that match `condition` compare, inside the caller's transaction."""
    query = sa.select(_JOBS.c.id).where(condition).order_by(_JOBS.c.id).with_for_update(key_share=True)
    ids = list(connection.execute(query).scalars())
    connection.execute(_JOBS.update().where(_JOBS.c.id.in_(ids)).values(compare_reason=reason))
    for job_id in ids:
        database.log(connection, job_id, "compare", f"the next pass compares: {reason}")


def locked(connection: sa.Connection, job_id: str) -> Job:
    """One job, locked until the caller's transaction ends."""
    row = connection.execute(
        sa.select(_JOBS).where(_JOBS.c.id == job_id).with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise unknown(job_id)
    return to_job(row)


def delete(database: Database, connection: sa.Connection, job: Job) -> Job:
    """Begin the deletion of a job, inside the caller's transaction.

    After a cutover the image has replaced the source. A job that is being deleted does not say any more that it was Finished.
    """
    hand_overs.must_keep_nothing(connection, job.id)
    replaced = job.status is JobStatus.FINISHED
    return move(database, connection, job, JobEvent.DELETE, **({"down_since": None} if replaced else {}))


def jobs_of(connection: sa.Connection, source_id: str) -> list[Job]:
    """The jobs of a source that are not deleted, locked."""
    query = sa.select(_JOBS).where(_JOBS.c.source_id == source_id, _JOBS.c.status != JobStatus.DELETED)
    rows = connection.execute(query.order_by(_JOBS.c.id).with_for_update(key_share=True))
    return [to_job(row) for row in rows.all()]


def to_job(row: Any) -> Job:
    """The job of a row of the table."""
    values = dict(row._mapping)
    values["status"] = JobStatus(values["status"])
    values["business"] = BusinessStatus(values["business"])
    values["instance"] = InstanceAddress(**values["instance"]) if values["instance"] else None
    values["disk_order"] = tuple(values["disk_order"] or ())
    return Job(**values)


def unknown(job_id: str) -> UnknownObject:
    """The error for an id that no job has."""
    return UnknownObject(RefusalCode.JOB_UNKNOWN, "no such job", on=job_id, remedy="list the jobs")
