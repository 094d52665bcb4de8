"""What a monitoring system watches, in a bounded number of queries: counts of many rows, and rows of what is under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.entities import ApplianceStatus, PassState
from connector.control.domain.jobs import EXPIRING, BusinessStatus, JobState, JobStatus
from connector.control.domain.sources import SourceState
from connector.control.store import tables, write_count
from connector.control.store.database import Database
from connector.control.store.notifications import DeliveryState
from connector.control.store.write_count import WritePosition

_JOBS: Final = tables.jobs.c
_PASSES: Final = tables.passes.c
_OBJECTS: Final = tables.objects.c
#: Rows of one query that names jobs, at most; the first ones are the oldest.
MOST: Final = 1000
#: Seconds ahead in which jobs that expire are counted.
AHEAD: Final = (86_400, 604_800)
HOUR: Final = 3600.0

Rows = list[Any]
"""Rows of a query, by the names of its columns."""


@dataclass(frozen=True, slots=True)
class WatchedJob:
    """The part of a job that says whether its source is down."""

    id: str
    status: JobStatus
    state: JobState
    down_since: float | None
    predicted_downtime: float | None


@dataclass(frozen=True, slots=True)
class WatchedState:
    """The database at one moment, `now` by the store's clock. Rows have the columns that the queries below name."""

    now: float
    epoch: WritePosition
    jobs: Rows
    errors: Rows
    expiring: Mapping[int, int]
    next_expiry: float | None
    sources: Rows
    offered: Rows
    taken: Rows
    taken_counts: Rows
    runs: Rows
    snapshots: Rows
    open_snapshots: int
    leftovers: Rows
    down: list[WatchedJob]
    cutovers: list[WatchedJob]
    appliances: Rows
    drills: Rows
    pending_notifications: Rows
    ended_notifications: Rows
    names: Rows  # of the jobs that the others name


class Watched:
    """Reads a `WatchedState` in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def state(self) -> WatchedState:
        now = self._database.now()
        with self._database.read() as connection:

            def rows(query: sa.Select[Any]) -> Rows:
                return list(connection.execute(query).all())

            expiry = connection.execute(_expiry(now)).one()
            taken, snapshots = rows(_taken()), rows(_snapshots())
            down, cutovers = ([_job(row) for row in rows(query)] for query in (_down(), _cutovers()))
            named = dict.fromkeys([job.id for job in (*down, *cutovers)][:MOST])
            named |= dict.fromkeys(row.job_id for row in (*taken, *snapshots))
            return WatchedState(
                now=now,
                epoch=write_count.current(connection),
                jobs=rows(_jobs()),
                errors=rows(_errors()),
                expiring=dict(zip(AHEAD, expiry[1:], strict=True)),
                next_expiry=expiry[0],
                sources=rows(_sources()),
                offered=rows(_offered()),
                taken=taken,
                taken_counts=rows(_taken_counts()),
                runs=rows(_runs(now)),
                snapshots=snapshots,
                open_snapshots=connection.execute(_snapshot_count()).scalar_one(),
                leftovers=rows(_leftovers()),
                down=down,
                cutovers=cutovers,
                appliances=rows(_appliances()),
                drills=rows(_drills()),
                pending_notifications=rows(_pending_notifications()),
                ended_notifications=rows(_ended_notifications(now)),
                names=rows(sa.select(_JOBS.id, _JOBS.name).where(_JOBS.id.in_(list(named)))),
            )


def _job(row: Any) -> WatchedJob:
    status = JobStatus(row.status)
    state = JobState(status, BusinessStatus(row.business))
    return WatchedJob(row.id, status, state, row.down_since, row.predicted_downtime)


_COUNT: Final = sa.func.count().label("count")


def _jobs() -> sa.Select[Any]:
    query = sa.select(_JOBS.status, _JOBS.business, _COUNT).where(_JOBS.status != JobStatus.DELETED)
    return query.group_by(_JOBS.status, _JOBS.business)


def _errors() -> sa.Select[Any]:
    name = _JOBS.error["error"].as_string().label("error")
    return sa.select(name, _COUNT).where(_JOBS.status == JobStatus.IN_ERROR).group_by(name)


def _expiry(now: float) -> sa.Select[Any]:
    """The next expiry, and how many jobs expire within each span of `AHEAD`."""
    counts: list[sa.ColumnElement[Any]] = [
        sa.func.count(sa.case((_JOBS.valid_until <= now + span, 1))).label(f"within_{span}") for span in AHEAD
    ]
    # a job that never expires has a time far beyond any date
    never = now + 100 * 365 * 86_400
    next_one: sa.ColumnElement[Any] = sa.func.min(sa.case((_JOBS.valid_until < never, _JOBS.valid_until)))
    columns = [next_one, *counts]
    return sa.select(*columns).where(_JOBS.status.in_(EXPIRING))


def _sources() -> sa.Select[Any]:
    state = tables.sources.c.state
    return sa.select(state, _COUNT).where(state != SourceState.DELETED).group_by(state)


def _offered() -> sa.Select[Any]:
    """Passes that nobody has taken, by task and what their jobs wait for; `oldest`: when the oldest was offered."""
    oldest = sa.func.min(_PASSES.offered).label("oldest")
    query = sa.select(_PASSES.task, _JOBS.waiting, _COUNT, oldest).join(
        tables.jobs, _JOBS.id == _PASSES.job_id
    )
    return query.where(_PASSES.state == PassState.OFFERED).group_by(_PASSES.task, _JOBS.waiting)


def _taken() -> sa.Select[Any]:
    query = sa.select(_PASSES.job_id, _PASSES.task, _PASSES.taken, _PASSES.disks)
    return query.where(_PASSES.state == PassState.TAKEN).order_by(_PASSES.taken).limit(MOST)


def _taken_counts() -> sa.Select[Any]:
    return sa.select(_PASSES.task, _COUNT).where(_PASSES.state == PassState.TAKEN).group_by(_PASSES.task)


def _runs(now: float) -> sa.Select[Any]:
    c = tables.runs.c
    return sa.select(c.kind, c.outcome, _COUNT).where(c.ended > now - HOUR).group_by(c.kind, c.outcome)


def _open_snapshots() -> sa.ColumnElement[bool]:
    return sa.and_(_OBJECTS.place == "vcenter", _OBJECTS.kind == "snapshot", _OBJECTS.removed.is_(False))


def _snapshots() -> sa.Select[Any]:
    oldest = sa.func.min(_OBJECTS.created).label("created")
    query = sa.select(_OBJECTS.job_id, oldest).where(_open_snapshots()).group_by(_OBJECTS.job_id)
    return query.order_by(oldest).limit(MOST)


def _snapshot_count() -> sa.Select[Any]:
    return sa.select(_COUNT).select_from(tables.objects).where(_open_snapshots())


def _leftovers() -> sa.Select[Any]:
    query = sa.select(_OBJECTS.place, _COUNT).where(_OBJECTS.removed.is_(False), _OBJECTS.trouble != "")
    return query.group_by(_OBJECTS.place)


def _outages() -> sa.Select[Any]:
    return sa.select(_JOBS.id, _JOBS.status, _JOBS.business, _JOBS.down_since, _JOBS.predicted_downtime)


def _down() -> sa.Select[Any]:
    """Jobs whose source is down; the longest downtime first."""
    over = (JobStatus.FINISHED, JobStatus.DELETED)
    query = _outages().where(_JOBS.down_since.is_not(None), _JOBS.status.not_in(over))
    return query.order_by(_JOBS.down_since)


def _cutovers() -> sa.Select[Any]:
    """Jobs whose cutover is under way and has a forecast."""
    return _outages().where(
        _JOBS.status == JobStatus.RUNNING, _JOBS.cutover.is_(True), _JOBS.predicted_downtime.is_not(None)
    )


def _appliances() -> sa.Select[Any]:
    c = tables.appliances.c
    query = sa.select(c.id, c.state, c.heartbeat).where(c.state != ApplianceStatus.REVOKED)
    return query.order_by(c.heartbeat).limit(MOST)


def _drills() -> sa.Select[Any]:
    c = tables.drills.c
    return sa.select(c.state, _COUNT).where(c.ended.is_(None)).group_by(c.state)


def _pending_notifications() -> sa.Select[Any]:
    """Deliveries that wait, by recipient; `oldest`: when the oldest was decided."""
    c = tables.deliveries.c
    query = sa.select(c.recipient, _COUNT, sa.func.min(c.created).label("oldest"))
    return query.where(c.state == DeliveryState.PENDING).group_by(c.recipient)


def _ended_notifications(now: float) -> sa.Select[Any]:
    c = tables.deliveries.c
    return sa.select(c.recipient, c.state, _COUNT).where(c.ended > now - HOUR).group_by(c.recipient, c.state)
