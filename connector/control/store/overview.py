"""Bulk looks for pages that many people keep open: few columns, one query for any number of rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from connector.control.jobs import Business, State, Status
from connector.control.store import tables
from connector.control.store.database import Database

#: What has an id and a name; no two of them have an id in common.
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
    """As much of a job as another page says about it."""

    id: str
    name: str
    state: State


class Overview:
    """What is known of many things at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job_counts(self) -> dict[Status, int]:
        """How many jobs are in each status; deleted ones are not counted."""
        status = tables.jobs.c.status
        query = (
            sa.select(status, sa.func.count().label("jobs")).where(status != Status.DELETED).group_by(status)
        )
        with self._database.read() as connection:
            return {Status(row.status): row.jobs for row in connection.execute(query)}

    def jobs(self, ids: Collection[str]) -> dict[str, JobGlance]:
        """These jobs by id; deleted ones are left out."""
        c = tables.jobs.c
        query = sa.select(c.id, c.name, c.status, c.business)
        with self._database.read() as connection:
            rows = connection.execute(query.where(c.id.in_(ids), c.status != Status.DELETED)).all()
        return {r.id: JobGlance(r.id, r.name, State(Status(r.status), Business(r.business))) for r in rows}

    def down(self) -> list[JobGlance]:
        """Jobs whose cutover has shut the source down, while neither it nor a rollback has ended; the longest first."""
        c = tables.jobs.c
        query = sa.select(c.id, c.name, c.status, c.business).order_by(c.down_since)
        over = (Status.FINISHED, Status.DELETED)
        with self._database.read() as connection:
            rows = connection.execute(query.where(c.down_since.is_not(None), c.status.not_in(over))).all()
        return [JobGlance(r.id, r.name, State(Status(r.status), Business(r.business))) for r in rows]

    def source_names(self, ids: Collection[str]) -> dict[str, str]:
        """Names of sources by id, deleted ones too."""
        c = tables.sources.c
        with self._database.read() as connection:
            rows = connection.execute(sa.select(c.id, c.name).where(c.id.in_(ids)))
            return {row.id: row.name for row in rows}

    def names(self, ids: Collection[str]) -> dict[str, str]:
        """Names of whatever has one of these ids, of deleted things too as long as their row is there."""
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
