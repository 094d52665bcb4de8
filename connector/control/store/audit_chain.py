"""A line of the audit log is written in the transaction of the change that it is about, as the last thing before its commit.

Who makes a change announces its line; the first counted write of the same thread that commits has the line in it. Lines
are a chain, so only one transaction at a time appends: its lock is taken after all others, and held until the commit.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.audit_log import EMPTY, AuditEntry, ChainHead, follow
from connector.control.domain.entities import Json
from connector.control.store import tables

_AUDIT: Final = tables.audit
_LONGEST_SUBJECT: Final = 400


@dataclass(frozen=True, slots=True)
class AuditDraft:
    """A line that is not written yet: it has no time, no number and no digest."""

    who: str
    origin: str
    action: str
    subject: str
    details: Json = field(default_factory=dict)


@dataclass(slots=True)
class Announcement:
    """The line of a change that is about to be made. `written`: it is committed, together with the change."""

    draft: AuditDraft
    subjects: Sequence[str]
    written: bool = False

    def drafts(self) -> list[AuditDraft]:
        """A line for each subject."""
        return [replace(self.draft, subject=subject) for subject in self.subjects]


class PendingLines(threading.local):
    """What this thread has announced, and what its open transaction will write. Every thread has its own."""

    def __init__(self) -> None:
        self._announced: Announcement | None = None
        self._added: list[AuditDraft] = []

    @contextmanager
    def announced(self, draft: AuditDraft) -> Iterator[Announcement]:
        """Inside the block, the first counted write that commits writes this line too."""
        outer, self._announced = self._announced, Announcement(draft, [draft.subject])
        try:
            yield self._announced
        finally:
            self._announced = outer

    def about(self, *subjects: str, **details: Any) -> None:
        """Called inside a transaction: what the announced line is about, when only the transaction knows it.

        Several subjects get a line each, none get none. Without an announcement nothing happens.
        """
        if self._announced is not None and not self._announced.written:
            self._announced.subjects = subjects
            draft = self._announced.draft
            self._announced.draft = replace(draft, details={**draft.details, **details})

    def add(self, draft: AuditDraft) -> None:
        """Called inside a transaction: it writes this line too, whatever was announced."""
        self._added.append(draft)

    @contextmanager
    def of_transaction(self, *, takes: bool) -> Iterator[TransactionLines]:
        """The lines of one transaction, which commits inside the block unless an exception leaves it.

        `takes`: what is announced is among them.
        """
        announced = self._announced if takes and self._announced and not self._announced.written else None
        outer, self._added = self._added, []
        try:
            yield TransactionLines(self._added, announced)
            if announced is not None:
                announced.written = True
        finally:
            self._added = outer


@dataclass(frozen=True, slots=True)
class TransactionLines:
    """What a transaction has to write when its work is done."""

    added: Sequence[AuditDraft]
    announced: Announcement | None

    def drafts(self) -> list[AuditDraft]:
        """In the order in which they are written."""
        return [*self.added, *(self.announced.drafts() if self.announced is not None else ())]


def append(connection: sa.Connection, drafts: Sequence[AuditDraft], now: float) -> None:
    """Add these lines at the end. The caller has the lock of the log, and locks nothing after this."""
    last = head(connection)
    for draft in drafts:
        subject = draft.subject[:_LONGEST_SUBJECT]
        content = {"at": float(now), "who": draft.who, "origin": draft.origin, "action": draft.action}
        entry = follow(last, {**content, "subject": subject, "details": draft.details})
        values = entry.content() | {"id": entry.number, "digest": entry.digest}
        values.pop("number")
        connection.execute(_AUDIT.insert().values(**values))
        last = ChainHead(entry.number, entry.digest)


def head(connection: sa.Connection) -> ChainHead:
    """The last line."""
    query = sa.select(_AUDIT.c.id, _AUDIT.c.digest).order_by(_AUDIT.c.id.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return EMPTY if row is None else ChainHead(row.id, row.digest)


#: Details as text: a row that somebody changed may hold no JSON, and is told by its number.
SELECT: Final = sa.select(
    *(column for column in _AUDIT.c if column is not _AUDIT.c.details),
    sa.cast(_AUDIT.c.details, sa.Text).label("details"),
)


def entry_of(row: Any) -> AuditEntry:
    """A row of `SELECT`. Raises ValueError, RecursionError if its details are no JSON."""
    values = dict(row._mapping)
    return AuditEntry(**values | {"number": values.pop("id"), "details": json.loads(values["details"])})
