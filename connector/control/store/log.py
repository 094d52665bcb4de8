"""Each job has a log of what happened to it, in the order of the entries' ids. Every change of a job adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from connector.control.domain.entities import LogEntry
from connector.control.store import tables
from connector.control.store.database import Database

_EVENTS: Final = tables.events


class Log:
    """Reads the logs. Ids grow, but two entries that were written at the same moment may appear in either order."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, job_id: str) -> int:
        """How many entries a job has."""
        query = sa.select(sa.func.count()).select_from(_EVENTS).where(_EVENTS.c.job_id == job_id)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def newest(self, job_id: str, limit: int) -> Sequence[LogEntry]:
        """The last `limit` entries, oldest first."""
        query = sa.select(_EVENTS).where(_EVENTS.c.job_id == job_id)
        return self._read(query.order_by(_EVENTS.c.id.desc()).limit(limit))[::-1]

    def after(self, job_id: str, entry_id: int, limit: int) -> Sequence[LogEntry]:
        """The first `limit` entries after `entry_id`, oldest first."""
        query = sa.select(_EVENTS).where(_EVENTS.c.job_id == job_id, _EVENTS.c.id > entry_id)
        return self._read(query.order_by(_EVENTS.c.id).limit(limit))

    def _read(self, query: sa.Select[tuple[LogEntry]]) -> Sequence[LogEntry]:
        with self._database.read() as connection:
            return [LogEntry(**row._mapping) for row in connection.execute(query)]
