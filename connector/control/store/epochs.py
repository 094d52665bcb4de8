"""An epoch is one history of this database. After a restore from an older copy a person must confirm the next epoch."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from connector.control.domain.entities import ApplianceStatus
from connector.control.domain.jobs import JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal, UnknownObject
from connector.control.store import job_rows, tables, write_count
from connector.control.store.database import Database
from connector.control.store.write_count import WritePosition
from connector.epoch import EpochMark

_EPOCHS: Final = tables.epochs

#: Why the next pass of each job compares after a confirmed restore.
COMPARE: Final = "the control plane's state was restored"


class Epochs:
    """The epochs of one database. A held state stays held through restarts. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> WritePosition:
        with self._database.read() as connection:
            return write_count.current(connection)

    def look(self) -> WritePosition:
        """The current epoch. If the database has gone back since this process last looked, the state is held from now on."""
        return self._database.look()

    def must_not_be_held(self) -> None:
        """Raises `StateRestored` while the state is held."""
        if why := self.current().restored:
            raise write_count.refusal(why)

    def hear(self, mark: EpochMark, who: str) -> str:
        """Take the epoch mark that `who` keeps of this control plane; answer why the state is held, or "".

        The caller has checked the mark's proof: the mark is ours.
        """
        with self._database.read() as connection:
            now = write_count.current(connection)
            why = _contradiction(connection, now, mark, who)
            epoch_known = _knows(connection, mark.epoch)
        if why:
            self._database.hold(why, mark.number, "" if epoch_known else mark.epoch, now.epoch)
        return now.restored or why

    def hold(self, why: str, lost: str = "", epoch: str = "") -> None:
        """Hold the state, because it is certain that it was restored. Nothing begins until a person confirms it.

        `lost`: an epoch that this database never had, if that is the evidence. `epoch`: see `Database.hold`.
        """
        self._database.hold(why, 0, lost, epoch)

    def confirm(self, *, keep_credentials: bool = False) -> WritePosition:
        """Begin a new epoch; work goes on. The next pass of each job compares, and credentials must be approved again.

        Raises `Conflict` when nothing was restored.
        """
        with self._database.write(counted=False, audited=True) as connection:
            current = connection.execute(
                sa.select(_EPOCHS.c.id).where(_EPOCHS.c.ended.is_(None)).with_for_update()
            )
            current_row = _EPOCHS.c.id == current.scalar_one()
            before = write_count.current(connection)
            if not before.restored:
                raise StateRefusal(
                    RefusalCode.NOT_RESTORED,
                    "nothing was restored: there is nothing to confirm",
                    on="control plane",
                    remedy="look at its status",
                )
            now = self._database.now()
            connection.execute(_EPOCHS.update().where(current_row).values(ended=now))
            number = max(before.number, before.heard) + 1
            epoch = secrets.token_hex(16)
            values = {
                "id": epoch,
                "number": number,
                "sequence": before.sequence,
                "began": now,
            }
            connection.execute(_EPOCHS.insert().values(writer=before.writer, **values))
            alive = tables.jobs.c.status != JobStatus.DELETED
            job_rows.demand_compare(self._database, connection, COMPARE, alive)
            if not keep_credentials:
                _withdraw_approvals(connection)
            self._database.audit.about(epoch)
            return write_count.count(connection, secrets.token_hex(8), 0, None)

    def approve(self, ids: Sequence[str] | None) -> list[str]:
        """Approve these access keys and access tokens again; None: all. Answer those that this changed.

        Raises `UnknownObject` for an id that is neither, and then changes nothing.
        """
        approved: list[str] = []
        known_ids: set[str] = set()
        with self._database.write() as connection:
            for table in (tables.access_keys, tables.access_tokens):
                condition = sa.true() if ids is None else table.c.id.in_(ids)
                rows = connection.execute(sa.select(table.c.id, table.c.approved).where(condition)).all()
                known_ids |= {row.id for row in rows}
                approved += [row.id for row in rows if not row.approved]
                connection.execute(table.update().where(condition).values(approved=True))
            for unknown in sorted(set(ids or ()) - known_ids):
                raise UnknownObject(RefusalCode.KEY_UNKNOWN, "no such access key or access token", on=unknown)
            self._database.audit.about(*approved)
        return approved

    def engine_is_at(self, epoch: str, sequence: int) -> None:
        """Record that the engine's database is at least as far as this."""
        current_row = sa.and_(_EPOCHS.c.id == epoch, _EPOCHS.c.ended.is_(None))
        with self._database.write(counted=False) as connection:
            connection.execute(_EPOCHS.update().where(current_row).values(engine=sequence))

    def knows(self, epoch: str) -> bool:
        """Whether this database is or was in that epoch."""
        with self._database.read() as connection:
            return _knows(connection, epoch)


def _contradiction(connection: sa.Connection, now: WritePosition, mark: EpochMark, who: str) -> str:
    if mark.epoch != now.epoch:
        if _knows(connection, mark.epoch):  # it belongs to the time before a confirmed restore
            return ""
        return (
            f"{who} knows of an epoch {mark.number} that this database never had; it is in epoch {now.number}"
        )
    last = write_count.last_of(connection, mark.writer)
    if not mark.sequence or (last is not None and last >= mark.sequence):
        return ""
    return f"{who} knows of write number {mark.sequence}, which this database does not hold; it ends at {now.sequence}"


def _knows(connection: sa.Connection, epoch: str) -> bool:
    return connection.execute(sa.select(_EPOCHS.c.id).where(_EPOCHS.c.id == epoch)).first() is not None


def _withdraw_approvals(connection: sa.Connection) -> None:
    """Treat all credentials as revoked until they are approved: the backup has those that were revoked after it."""
    for table in (tables.access_keys, tables.access_tokens):
        connection.execute(table.update().values(approved=False))
    appliances = tables.appliances
    approved = appliances.c.state == ApplianceStatus.APPROVED
    connection.execute(appliances.update().where(approved).values(state=ApplianceStatus.WAITING))
    connection.execute(tables.sessions.delete())
