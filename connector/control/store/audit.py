"""The audit log has one line for each change that somebody made. Lines are added, never changed, and hold no secrets."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from connector.control.domain.access import AuditEntry
from connector.control.domain.entities import Json
from connector.control.store import tables
from connector.control.store.database import Database
from connector.control.store.search import ResultPage

_AUDIT: Final = tables.audit


class Audit:
    """Who did what, to which object, when, from where."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, who: str, origin: str, action: str, subject: str, details: Json | None = None) -> None:
        """Add one change. `who`: the id of an access key or appliance, or "system". Version 0.1.0 wrote "operator"."""
        with self._database.write(counted=False) as connection:
            connection.execute(
                _AUDIT.insert().values(
                    at=self._database.now(),
                    who=who,
                    origin=origin,
                    action=action,
                    subject=subject,
                    details=details or {},
                )
            )

    def page(
        self, number: int = 1, size: int = 50, *, subject: str | None = None, who: str | None = None
    ) -> ResultPage[AuditEntry]:
        """Newest first."""
        conditions = [
            column == value
            for column, value in ((_AUDIT.c.subject, subject), (_AUDIT.c.who, who))
            if value is not None
        ]
        with self._database.read() as connection:
            total = connection.execute(
                sa.select(sa.func.count()).select_from(_AUDIT).where(*conditions)
            ).scalar_one()
            query = sa.select(_AUDIT).where(*conditions).order_by(_AUDIT.c.id.desc())
            rows = connection.execute(query.limit(size).offset((number - 1) * size))
            return ResultPage(total, [AuditEntry(**row._mapping) for row in rows])
