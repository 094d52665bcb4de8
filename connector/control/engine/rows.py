"""The engine's rows are JSON and nothing else: whoever can write that database must not be able to run code here.

The engine believes the name of a serialisation that a row carries, and one of its names means pickle. That one is taken
away from the whole process, and what an earlier writer left is dropped before the engine reads it.
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
    """A row of the engine's tables that is no JSON was not read."""


#: What reading a row that is not ours raises: refused here, a name that the engine does not know, or broken JSON.
UNREADABLE: Final = (TypeError, ValueError)


def refuse_pickles() -> None:
    """From now on nothing that the engine reads is unpickled in this process, whatever a row says."""

    def refuse(_self: object, _text: str) -> NoReturn:
        raise RowRefused("a row of the engine's tables is pickled; only JSON is read")

    # setattr: the engine has no setting for it, and it has more than one object of that class.
    setattr(_serialization.DefaultSerializer, "deserialize", refuse)  # noqa: B010


def drop_foreign(url: str) -> None:
    """Drop what carries another serialisation. Only while the engine does not run.

    A workflow with such a row, its own or that of a step, goes as a whole: it begins again from what our store wants.
    Of messages, events and streams only the row itself goes.
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
    """Of a file: nobody else looks after it. Raises ControlFailed."""
    if connection.dialect.name != "sqlite":
        return
    try:
        whole = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok"
    except sa.exc.OperationalError:  # locked, or no file: what comes next says so
        raise
    except sa.exc.DatabaseError:
        whole = False
    if not whole:
        raise ControlFailed(
            "the engine's database is damaged",
            on=str(connection.engine.url.database),
            remedy="restore it from the backup, or remove it: runs under way begin again, and find what they have made",
            retryable=False,
        )


def drop_foreign_messages(url: str) -> None:
    """The same for messages alone, while the engine runs: one that cannot be read would stand in the way of the next."""
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            for table in _tables(connection, only=_NOTIFICATIONS):
                _drop(connection, table)
    finally:
        engine.dispose()


def _tables(connection: sa.Connection, only: str = "") -> Iterator[sa.Table]:
    """The engine's tables whose rows name a serialisation; none before its first start."""
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
