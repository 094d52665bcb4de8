"""The engine's database and ours belong together: each records how far the other was.

The engine's database has the sequence of ours at its last change; ours has the sequence that the engine's reached at least.
A lost engine's database does no harm: every run begins again at its first step, and each step finds what exists.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from connector.control.store import Store
from connector.control.store.write_count import WritePosition, refusal

_LOG: Final = logging.getLogger(__name__)
_SCHEMA: Final = "dbos"  # on PostgreSQL
_NAME: Final = "connector_stamp"


class DatabaseStamp:
    """Compares and writes the two records. Only the active runner's thread uses it."""

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._url = url
        self._sqlite = url.startswith("sqlite")
        schema = None if self._sqlite else _SCHEMA
        columns = (sa.Column("epoch", sa.String(32)), sa.Column("sequence", sa.BigInteger))
        self._table = sa.Table(_NAME, sa.MetaData(), *columns, schema=schema)
        self._written: tuple[str, int] | None = None

    def check(self) -> None:
        """Check before the engine starts. Raises `StateRestored` if one of the databases was put back to an older copy.

        The engine's rows of an earlier or unknown epoch are dropped.
        """
        now, position = self._store.epochs.current(), self._read()
        if position is None:
            if now.engine is not None:
                _LOG.warning(
                    "the engine's database is new: every run under way begins again at its first step"
                )
                self._forget()
            return
        epoch, sequence = position
        if epoch != now.epoch and self._store.epochs.knows(epoch):
            self._forget()
        elif why := _contradiction(now, epoch, sequence):
            self._store.epochs.hold(why, "" if epoch == now.epoch else epoch, now.epoch)
            raise refusal(why)

    def write(self) -> None:
        """Record both positions after a sweep. The engine's database is written first: it may be ahead of our record."""
        now = self._store.epochs.current()
        if now.restored or self._written == (now.epoch, now.sequence):
            return
        engine = sa.create_engine(self._url)
        try:
            with engine.begin() as connection:
                self._table.create(connection, checkfirst=True)
                connection.execute(self._table.delete())
                connection.execute(self._table.insert().values(epoch=now.epoch, sequence=now.sequence))
        finally:
            engine.dispose()
        self._store.epochs.engine_is_at(now.epoch, now.sequence)
        self._written = (now.epoch, now.sequence)

    def _read(self) -> tuple[str, int] | None:
        engine = sa.create_engine(self._url)
        try:
            with engine.connect() as connection:
                if not sa.inspect(connection).has_table(_NAME, self._table.schema):
                    return None
                row = connection.execute(sa.select(self._table)).first()
                return None if row is None else (str(row.epoch), int(row.sequence))
        finally:
            engine.dispose()

    def _forget(self) -> None:
        """Drop everything that the engine's database holds."""
        if self._sqlite:
            file = Path(sa.make_url(self._url).database or "")
            for ending in ("", "-wal", "-shm"):
                file.with_name(file.name + ending).unlink(missing_ok=True)
            return
        engine = sa.create_engine(self._url)
        try:
            with engine.begin() as connection:
                connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE"))
        finally:
            engine.dispose()


def _contradiction(now: WritePosition, epoch: str, sequence: int) -> str:
    if epoch != now.epoch:
        return f"the engine's database knows of an epoch that this database never had; it is in epoch {now.number}"
    if sequence > now.sequence:
        return f"the engine's database knows of write number {sequence}; this database ends at {now.sequence}"
    if sequence < (now.engine or 0):
        return f"the engine's database is at write number {sequence}, but had reached {now.engine}"
    return ""
