"""Figures over many rows at once: measured rates, planned bytes, counts and names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from connector.control.domain.entities import Json, Outcome
from connector.control.domain.jobs import BusinessStatus, JobState, JobStatus
from connector.control.store import tables
from connector.control.store.database import Database
from connector.control.store.runs import ROLLBACK

_PASSES: Final = tables.passes
_JOBS: Final = tables.jobs
_NEWEST: Final = 10


class Measured:
    """Figures that appliances reported at the end of their passes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rate(self, vcenters: Iterable[str]) -> float | None:
        """Bytes of plan per second in the newest passes of these vCenters; None if there are none."""
        condition = sa.and_(_PASSES.c.outcome == Outcome.DONE, _PASSES.c.vcenter.in_(list(vcenters)))
        query = sa.select(_PASSES.c.result).where(condition).order_by(_PASSES.c.ended.desc()).limit(_NEWEST)
        with self._database.read() as connection:
            results = connection.execute(query).scalars().all()
        passes = [disks for result in results if (disks := _disks(result))]
        planned = sum(size for disks in passes for size, _ in disks)
        seconds = sum(max(duration for _, duration in disks) for disks in passes)
        return planned / seconds if planned and seconds else None

    def planned(self, source_ids: Sequence[str]) -> dict[str, int]:
        """Bytes that the first pass of each source's newest job had to read, where they are known."""
        query = (
            sa.select(_JOBS.c.source_id, _PASSES.c.result)
            .join(_JOBS, _JOBS.c.id == _PASSES.c.job_id)
            .where(_JOBS.c.source_id.in_(source_ids), _PASSES.c.outcome == Outcome.DONE)
            .order_by(_JOBS.c.created, _PASSES.c.offered.desc())
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        planned = {row.source_id: sum(size for size, _ in _disks(row.result)) for row in rows}
        return {source_id: size for source_id, size in planned.items() if size}


def _disks(result: Json | None) -> list[tuple[int, float]]:
    """Planned bytes and seconds of each disk for which the appliance reported numbers."""
    disks = (result or {}).get("disks")
    pairs = [(d.get("planned"), d.get("seconds")) for d in disks or [] if isinstance(d, dict)]
    return [(n, float(s)) for n, s in pairs if isinstance(n, int) and isinstance(s, int | float)]


#: Tables of objects that have an id and a name. No two of them share an id.
_NAMED: Final = (
    tables.jobs,
    tables.sources,
    tables.workgroups,
    tables.appliances,
    tables.access_keys,
    tables.access_tokens,
)


@dataclass(frozen=True, slots=True)
class JobGlance:
    """The part of a job that other pages show."""

    id: str
    name: str
    state: JobState


class Overview:
    """Counts and names of many objects at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job_counts(self) -> dict[JobStatus, int]:
        """How many jobs are in each status; deleted ones are not counted."""
        status = tables.jobs.c.status
        query = (
            sa.select(status, sa.func.count().label("jobs"))
            .where(status != JobStatus.DELETED)
            .group_by(status)
        )
        with self._database.read() as connection:
            return {JobStatus(row.status): row.jobs for row in connection.execute(query)}

    def jobs(self, ids: Collection[str]) -> dict[str, JobGlance]:
        """These jobs by id; deleted ones are left out."""
        c = tables.jobs.c
        query = sa.select(c.id, c.name, c.status, c.business)
        with self._database.read() as connection:
            rows = connection.execute(query.where(c.id.in_(ids), c.status != JobStatus.DELETED)).all()
        return {
            r.id: JobGlance(r.id, r.name, JobState(JobStatus(r.status), BusinessStatus(r.business)))
            for r in rows
        }

    def down(self) -> list[JobGlance]:
        """Jobs whose cutover has shut the source down, until it or a rollback ends; the longest downtime first."""
        c = tables.jobs.c
        query = sa.select(c.id, c.name, c.status, c.business).order_by(c.down_since)
        over = (JobStatus.FINISHED, JobStatus.DELETED)
        with self._database.read() as connection:
            rows = connection.execute(query.where(c.down_since.is_not(None), c.status.not_in(over))).all()
        return [
            JobGlance(r.id, r.name, JobState(JobStatus(r.status), BusinessStatus(r.business))) for r in rows
        ]

    def rolled_back(self, ids: Collection[str]) -> set[str]:
        """Those of these jobs whose newest run rolled a cutover back."""
        c, others = tables.runs.c, tables.runs.alias().c
        newest = sa.select(sa.func.max(others.number)).where(others.job_id == c.job_id).scalar_subquery()
        query = sa.select(c.job_id).where(c.job_id.in_(ids), c.kind == ROLLBACK, c.number == newest)
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def source_names(self, ids: Collection[str]) -> dict[str, str]:
        """Names of sources by id, deleted ones too."""
        c = tables.sources.c
        with self._database.read() as connection:
            rows = connection.execute(sa.select(c.id, c.name).where(c.id.in_(ids)))
            return {row.id: row.name for row in rows}

    def names(self, ids: Collection[str]) -> dict[str, str]:
        """Names of the objects with these ids. Deleted objects are included as long as their row exists."""
        rows = [sa.select(t.c.id, t.c.name).where(t.c.id.in_(ids)) for t in _NAMED]
        with self._database.read() as connection:
            return {row.id: row.name for row in connection.execute(sa.union_all(*rows))}

    def group_names(self) -> dict[str, str]:
        """Names of all workgroups by id, in their order."""
        c = tables.workgroups.c
        with self._database.read() as connection:
            rows = connection.execute(sa.select(c.id, c.name).order_by(c.name))
            return {row.id: row.name for row in rows}

    def newest_entries(self, job_ids: Collection[str]) -> dict[str, int]:
        """The id of the newest line in each job's log: it grows with every line."""
        c = tables.events.c
        newest = sa.func.max(c.id).label("newest")
        query = sa.select(c.job_id, newest).where(c.job_id.in_(job_ids)).group_by(c.job_id)
        with self._database.read() as connection:
            return {row.job_id: row.newest for row in connection.execute(query)}
