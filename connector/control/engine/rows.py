"""The engine's rows are JSON only, so that a writer of that database cannot run code here.

A row names its serialisation, the engine obeys it, and one of the names means pickle. This module disables that name for
the whole process, and drops rows with another serialisation before the engine reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import sqlalchemy as sa
from dbos import DBOSPortableJSONSerializer, _serialization

from connector.errors import ControlFailed

_LOG: Final = logging.getLogger(__name__)

SERIALIZER: Final = DBOSPortableJSONSerializer()
_SCHEMA: Final = "dbos"  # on PostgreSQL
_WORKFLOWS: Final = "workflow_status"
_NOTIFICATIONS: Final = "notifications"


class RowRefused(TypeError):
    """A row of the engine's tables is not JSON and was not read."""


#: Raised for a foreign row: it is refused here, the engine does not know its serialisation, or its JSON is broken.
UNREADABLE: Final = (TypeError, ValueError)


def refuse_pickles() -> None:
    """Make the engine unpickle nothing in this process from now on, whatever a row says."""

    def refuse(_self: object, _text: str) -> NoReturn:
        raise RowRefused("a row of the engine's tables is pickled; only JSON is read")

    # setattr: the engine has no setting for it, and it has more than one object of that class.
    setattr(_serialization.DefaultSerializer, "deserialize", refuse)  # noqa: B010


def drop_foreign(url: str) -> None:
    """Drop the rows with another serialisation. Call it only while the engine does not run.

    A workflow is dropped as a whole if its row or one of its steps is foreign: it begins again from our store.
    Of messages, events and streams only the row itself is dropped.
    """
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            _must_be_whole(connection)
            for table in _tables(connection):
                _drop(connection, table)
    finally:
        engine.dispose()


def _must_be_whole(connection: sa.Connection) -> None:
    """Check a SQLite file for damage, because nothing else does. Raises ControlFailed."""
    if connection.dialect.name != "sqlite":
        return
    try:
        intact = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok"
    except sa.exc.OperationalError:  # locked, or no file: the next statement says so
        raise
    except sa.exc.DatabaseError:
        intact = False
    if not intact:
        raise ControlFailed(
            "the engine's database is damaged",
            on=str(connection.engine.url.database),
            remedy="restore it from the backup, or remove it: runs under way begin again and find what exists",
            retryable=False,
        )


class ForeignMessages:
    """The messages with another serialisation, while the engine runs: an unreadable one would block the next one.

    The form of the table is read once: it changes only with the engine's release. One thread at a time.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        self._table: sa.Table | None = None

    def drop(self) -> None:
        with self._engine.begin() as connection:
            if self._table is None:
                self._table = next(_tables(connection, only=_NOTIFICATIONS), None)
            if self._table is not None:
                _drop(connection, self._table)

    def close(self) -> None:
        self._engine.dispose()


def _tables(connection: sa.Connection, only: str = "") -> Iterator[sa.Table]:
    """The engine's tables whose rows name a serialisation; none before the engine's first start."""
    schema = None if connection.dialect.name == "sqlite" else _SCHEMA
    for name in sorted(sa.inspect(connection).get_table_names(schema)):
        if only in ("", name):
            table = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)
            if "serialization" in table.c:
                yield table


def _drop(connection: sa.Connection, table: sa.Table) -> None:
    owner = table.c["destination_uuid" if table.name == _NOTIFICATIONS else "workflow_uuid"]
    foreign = table.c.serialization != SERIALIZER.name()
    rows: list[Any] = list(connection.execute(sa.select(owner, table.c.serialization).where(foreign)))
    for workflow, serialization in rows:
        _LOG.error(
            "dropped a row of the engine's table %s: its serialisation is %r, only %s is read; workflow %r",
            table.name,
            str(serialization)[:40],
            SERIALIZER.name(),
            str(workflow)[:80],
        )
    if rows:
        connection.execute(sa.delete(table).where(foreign))
        if table.name in (_WORKFLOWS, "operation_outputs"):
            _forget(connection, {workflow for workflow, _ in rows})


def _forget(connection: sa.Connection, workflows: set[str]) -> None:
    for table in _tables(connection):
        owner = table.c["destination_uuid" if table.name == _NOTIFICATIONS else "workflow_uuid"]
        connection.execute(sa.delete(table).where(owner.in_(workflows)))
