"""What notifications are decided from, read inside the caller's transaction by a bounded number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.conditions import (
    SLOW_DELTAS,
    FreeSpace,
    JobAtRisk,
    JobMoment,
    OpenSnapshot,
    Readings,
    ReadingTime,
    SilentAppliance,
)
from connector.control.domain.entities import ApplianceStatus, Json, Outcome, PassState, Task
from connector.control.domain.jobs import EXPIRING, BusinessStatus, JobEvent, JobState, JobStatus
from connector.control.domain.notified_events import DAY, EXPIRES, FREE_AGAIN, OPEN, SILENT, SubjectKind
from connector.control.domain.notifying import EventSubject
from connector.control.store import tables
from connector.kinds import PassKind

_JOBS: Final = tables.jobs.c
_PASSES: Final = tables.passes.c
_OBJECTS: Final = tables.objects.c
_EVENTS: Final = tables.events.c
_POSITION: Final = tables.log_position

#: Entries of the log that are read again: one with a lower id may be committed after one with a higher id.
AGAIN: Final = 1000
#: Seconds. What happened longer ago is not told, for example after notifications were off for a week.
OLD_NEWS: Final = DAY
#: Entries of one look, at most; more than are read again. The others come with the next looks.
MOST: Final = 2 * AGAIN

_MOMENTS: Final = {str(JobEvent.FINISHED): "job-finished", str(JobEvent.FAILED): "job-failed"}

#: What says which job it is, and who may be told of it.
_NAMED: Final = (_JOBS.id, _JOBS.name, tables.sources.c.workgroup_id)
_WITH_SOURCE: Final = tables.jobs.join(tables.sources, tables.sources.c.id == _JOBS.source_id)


def held(connection: sa.Connection) -> bool:
    """Whether a restored state waits for its confirmation."""
    c = tables.epochs.c
    return bool(connection.execute(sa.select(c.restored).where(c.ended.is_(None))).scalar_one())


def down(connection: sa.Connection) -> list[JobAtRisk]:
    """Jobs whose source a cutover has shut down."""
    over = (JobStatus.FINISHED, JobStatus.DELETED)
    return _at_risk(connection, _JOBS.down_since.is_not(None), _JOBS.status.not_in(over))


def expiring(connection: sa.Connection, now: float) -> list[JobAtRisk]:
    """Jobs that expire soon; a job that has expired is no longer in one of these states."""
    return _at_risk(connection, _JOBS.status.in_(EXPIRING), _JOBS.valid_until <= now + EXPIRES)


def snapshots(connection: sa.Connection, now: float) -> list[OpenSnapshot]:
    """Jobs with a snapshot of ours that is open for too long."""
    oldest = sa.func.min(_OBJECTS.created).label("created")
    is_open = (_OBJECTS.place == "vcenter", _OBJECTS.kind == "snapshot", _OBJECTS.removed.is_(False))
    query = sa.select(*_NAMED, oldest).select_from(
        tables.objects.join(_WITH_SOURCE, _JOBS.id == _OBJECTS.job_id)
    )
    query = query.where(*is_open, _OBJECTS.created < now - OPEN).group_by(*_NAMED)
    return [OpenSnapshot(_job(row), row.created) for row in connection.execute(query)]


def space(connection: sa.Connection) -> list[FreeSpace]:
    """Running passes under whose snapshot a datastore is short of space."""
    query = sa.select(*_NAMED, _PASSES.free).select_from(
        tables.passes.join(_WITH_SOURCE, _JOBS.id == _PASSES.job_id)
    )
    query = query.where(_PASSES.state == PassState.TAKEN, _PASSES.free < FREE_AGAIN)
    return [FreeSpace(_job(row), row.free) for row in connection.execute(query)]


def appliances(connection: sa.Connection, now: float) -> list[SilentAppliance]:
    """Approved appliances that are silent."""
    c = tables.appliances.c
    query = sa.select(c.id, c.name, c.workgroup_id, c.heartbeat).where(
        c.state == ApplianceStatus.APPROVED, c.heartbeat < now - SILENT
    )
    return [
        SilentAppliance(
            EventSubject(SubjectKind.APPLIANCE, row.id, row.name, row.workgroup_id or ""), row.heartbeat
        )
        for row in connection.execute(query)
    ]


def readings(connection: sa.Connection) -> list[Readings]:
    """The newest readings of incremental jobs that are synced and not being cut over; of none that has fewer than count."""
    synced = (
        _JOBS.status.in_((JobStatus.WAITING, JobStatus.RUNNING)),
        _JOBS.run_once.is_(False),
        _JOBS.cutover.is_(False),
    )
    earlier = tables.passes.alias()
    oldest = (  # of those that count; passes are never removed, so an index leads to the newest ones
        sa.select(earlier.c.taken)
        .where(earlier.c.job_id == _JOBS.id, *_is_reading(earlier.c))
        .order_by(earlier.c.taken.desc())
        .offset(SLOW_DELTAS)
        .limit(1)
        .correlate(tables.jobs)
        .scalar_subquery()
    )
    rows = _WITH_SOURCE.join(tables.passes, _PASSES.job_id == _JOBS.id)
    query = sa.select(*_NAMED, _PASSES.taken, _PASSES.result).select_from(rows)
    query = query.where(*synced, *_is_reading(_PASSES), _PASSES.taken >= oldest)
    query = query.order_by(_JOBS.id, _PASSES.taken)
    found: dict[EventSubject, list[ReadingTime]] = {}
    for row in connection.execute(query):
        found.setdefault(_job(row), []).append(_reading(row.taken, row.result))
    return [Readings(subject, tuple(times)) for subject, times in found.items()]


def moments(connection: sa.Connection, now: float) -> list[JobMoment]:
    """Jobs that finished or failed since the last look, some of them once more. The first look only notes where the log ends."""
    newest = connection.execute(sa.select(sa.func.max(_EVENTS.id))).scalar() or 0
    position = connection.execute(sa.select(_POSITION)).one_or_none()
    if position is None:
        connection.execute(_POSITION.insert().values(id=1, first=newest, entry=newest))
        return []
    query = (
        sa.select(*_NAMED, _JOBS.error, _EVENTS.id.label("entry"), _EVENTS.kind, _EVENTS.at)
        .select_from(tables.events.join(_WITH_SOURCE, _JOBS.id == _EVENTS.job_id))
        .where(_EVENTS.id > max(position.first, position.entry - AGAIN), _EVENTS.kind.in_(_MOMENTS))
    )
    rows = connection.execute(query.order_by(_EVENTS.id).limit(MOST)).all()
    last = rows[-1].entry if len(rows) == MOST else newest
    if last > position.entry:
        connection.execute(_POSITION.update().values(entry=last))
    return [
        JobMoment(_job(row), row.entry, _MOMENTS[row.kind], _error(connection, row))
        for row in rows
        if row.at > now - OLD_NEWS
    ]


def _is_reading(c: Any) -> tuple[sa.ColumnElement[bool], ...]:
    return (c.outcome == Outcome.DONE, c.task == Task.READ, c.taken.is_not(None))


def _at_risk(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[JobAtRisk]:
    columns = (_JOBS.status, _JOBS.business, _JOBS.run_once, _JOBS.valid_until)
    times = (_JOBS.down_since, _JOBS.predicted_downtime)
    query = sa.select(*_NAMED, *columns, *times).select_from(_WITH_SOURCE).where(*conditions)
    return [_job_at_risk(row) for row in connection.execute(query)]


def _job_at_risk(row: Any) -> JobAtRisk:
    status = JobStatus(row.status)
    return JobAtRisk(
        _job(row),
        status,
        JobState(status, BusinessStatus(row.business)),
        row.run_once,
        row.valid_until,
        row.down_since,
        row.predicted_downtime,
    )


def _job(row: Any) -> EventSubject:
    return EventSubject(SubjectKind.JOB, row.id, row.name, row.workgroup_id or "")


def _error(connection: sa.Connection, row: Any) -> str:
    """The id of the failure: of the job, or of its newest run that failed if the job was started again meanwhile."""
    error = row.error
    if row.kind == JobEvent.FAILED and not error:
        c = tables.runs.c
        query = sa.select(c.error).where(c.job_id == row.id, c.outcome == Outcome.FAILED)
        error = connection.execute(query.order_by(c.number.desc()).limit(1)).scalar()
    return str((error or {}).get("error", ""))


def _reading(taken: float, result: Json | None) -> ReadingTime:
    """The figures of one pass. What an appliance left out counts as nothing."""
    found = (result or {}).get("disks")
    disks: Sequence[Json] = [disk for disk in found or () if isinstance(disk, dict)]
    return ReadingTime(
        taken,
        changed=int(sum(_number(disk, "planned") for disk in disks)),
        read=int(sum(_number(disk, "read") for disk in disks)),
        seconds=max((_number(disk, "seconds") for disk in disks), default=0.0),
        is_delta=bool(disks) and all(disk.get("kind") == PassKind.DELTA for disk in disks),
    )


def _number(disk: Json, figure: str) -> float:
    value = disk.get(figure)
    return float(value) if isinstance(value, int | float) else 0.0
