"""The audit log has one line for each change that somebody made. Lines are added, never changed, and hold no secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from connector.control.domain.audit_log import AuditEntry, ChainHead, damaged
from connector.control.domain.entities import Json
from connector.control.store import audit_chain, tables
from connector.control.store.audit_chain import Announcement, AuditDraft
from connector.control.store.database import Database
from connector.control.store.search import ResultPage

_AUDIT: Final = tables.audit
_AT_ONCE: Final = 1000  # lines that are read into memory together
NAME: Final = "audit log"


class Audit:
    """Who did what, to which object, when, from where. `who`: the id of an access key or appliance, or "system"."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def announced(
        self,
        who: str,
        origin: str,
        action: str,
        subject: str = "",
        details: Json | None = None,
        *,
        idle: bool = True,
    ) -> Iterator[Announcement]:
        """Make a change inside the block: the line is committed with the first counted write, or not at all.

        A block that ends well and changed nothing gets its line at the end, unless `idle` is false.
        """
        with self._database.audit.announced(AuditDraft(who, origin, action, subject, details or {})) as line:
            yield line
        if idle and not line.written:
            self._add(line.drafts())

    def add(self, who: str, origin: str, action: str, subject: str, details: Json | None = None) -> None:
        """Add what happened and changed nothing, such as a refused login. Version 0.1.0 wrote "operator" for `who`."""
        self._add([AuditDraft(who, origin, action, subject, details or {})])

    def _add(self, drafts: list[AuditDraft]) -> None:
        with self._database.write(counted=False):
            for draft in drafts:
                self._database.audit.add(draft)

    def head(self) -> ChainHead:
        """The last line."""
        with self._database.read() as connection:
            return audit_chain.head(connection)

    def entries(self) -> Iterator[AuditEntry]:
        """All lines, first to last, by short transactions. Raises `AuditLogDamaged` for a row that cannot be read."""
        last = 0
        while True:
            query = audit_chain.SELECT.where(_AUDIT.c.id > last).order_by(_AUDIT.c.id).limit(_AT_ONCE)
            with self._database.read() as connection:
                rows = connection.execute(query).all()
            for row in rows:
                last = row.id
                try:
                    entry = audit_chain.entry_of(row)
                except (ValueError, TypeError, RecursionError):
                    raise damaged(NAME, f"line {last} was changed: its details are no JSON") from None
                yield entry
            if len(rows) < _AT_ONCE:
                return

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
            query = audit_chain.SELECT.where(*conditions).order_by(_AUDIT.c.id.desc())
            rows = connection.execute(query.limit(size).offset((number - 1) * size))
            return ResultPage(total, [audit_chain.entry_of(row) for row in rows])
