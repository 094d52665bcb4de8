"""Every access to the database is a transaction: `read()` or `write()`.

On SQLite a write holds the lock from its start, so what it read stays true until it commits.

On PostgreSQL rows are locked with `with_for_update(key_share=True)`: keys never change, and the insertion of a row that
refers to a locked row need not wait. A transaction locks rows in one order, so that no two wait for each other: first an
`exclusive` lock, then the tables of `LOCK_ORDER`, and rows of one table by their ids. `write()` itself takes what comes last:
the epoch that counts the write, then the end of the audit log.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from connector import private
from connector.control.domain.clock import Clock
from connector.control.store import audit_chain, tables, write_count
from connector.control.store.audit_chain import PendingLines, TransactionLines
from connector.control.store.write_count import WentBack, WritePosition
from connector.errors import BadInput, ConnectorError, ControlFailed

_LOG: Final = logging.getLogger(__name__)

_PRAGMAS: Final = ("busy_timeout=15000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL")
# A machine that vanishes closes no connection. With keepalives both ends notice within about ten seconds.
_NOTICE_DEATH: Final = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c tcp_keepalives_idle=4 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
}
_RUNNER: Final = 0x636F6E6E  # any numbers, the same in every version
_MIGRATING: Final = 0x636F6E6F
HANDING_OUT: Final = 0x636F6E70
REGISTERING: Final = 0x636F6E71
GROUPING: Final = 0x636F6E72
BEGINNING: Final = 0x636F6E73
NOTIFYING: Final = 0x636F6E74
_AUDITING: Final = 0x636F6E75
#: A transaction that changes rows of several of these tables locks them in this order.
LOCK_ORDER: Final = (tables.jobs, tables.runs, tables.passes, tables.sources)
_MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "migrations"


class Database:
    """Transactions on one SQLite file or one PostgreSQL database. Thread-safe."""

    def __init__(self, url: str, clock: Clock = time.time) -> None:
        self.url = normal_url(url)
        self.clock = clock
        self._engine = _engine(self.url)
        self._session: sa.Connection | None = None  # holds the runner lock
        self._writer = ""  # until `begin_counting`
        self._counting = threading.Lock()  # held from a write's number until its commit
        self._last = 0  # the sequence of this process's last counted write
        self._latest: WritePosition | None = None  # the furthest position that this process has seen
        self.audit = PendingLines()

    @contextmanager
    def write(self, *, counted: bool = True, audited: bool | None = None) -> Iterator[sa.Connection]:
        """A transaction that may change rows. It commits at the end and rolls back on any exception.

        `counted`: the write has consequences, so the epoch's sequence grows. It is refused with `StateRestored` while
        the state is held, and when this database was put back to an older copy. `audited`: the line of the audit log
        that this thread has announced is written in it; by default that is so when it is counted.
        """
        with self.audit.of_transaction(takes=counted if audited is None else audited) as lines:
            if counted and self._writer:
                with self._counted(lines) as connection:
                    yield connection
            else:
                with _translated(), self._engine.connect() as connection, connection.begin():
                    yield connection
                    self._append(connection, lines)

    @contextmanager
    def _counted(self, lines: TransactionLines) -> Iterator[sa.Connection]:
        try:
            with (
                _translated(),
                self._engine.connect() as connection,
                connection.begin() as transaction,
            ):
                if restored := write_count.current(connection).restored:
                    raise write_count.refusal(restored)
                yield connection
                with self._counting:  # held until the commit, or another thread would miss this write
                    point = write_count.count(connection, self._writer, self._last, self._latest)
                    self._append(connection, lines)
                    transaction.commit()
                    self._last, self._latest = point.sequence, point
        except WentBack as lost:
            self.hold(str(lost), 0, epoch=lost.epoch)
            raise write_count.refusal(str(lost)) from None

    def _append(self, connection: sa.Connection, lines: TransactionLines) -> None:
        if drafts := lines.drafts():
            self.exclusive(connection, _AUDITING)
            audit_chain.append(connection, drafts, self.now())

    def begin_counting(self) -> None:
        """Count this process's writes from now on. The schema must be the newest."""
        self._writer = secrets.token_hex(8)

    def look(self) -> WritePosition:
        """How far the database is. If it has gone back since this process last looked, its state is held from now on."""
        known = self._latest  # taken first: the read below sees everything that was committed before
        with (
            self.read() as connection
        ):  # not under the lock: a thread that waits for it may hold the last connection
            now = write_count.current(connection)
        try:
            write_count.must_go_on(now, known)
        except WentBack as lost:
            self.hold(str(lost), 0, epoch=lost.epoch)
            return replace(now, restored=now.restored or str(lost))
        with self._counting:
            latest = self._latest
            if latest is None or (now.number, now.sequence) >= (latest.number, latest.sequence):
                if latest is not None and latest.epoch != now.epoch:
                    self._last = 0  # it belongs to the time before a confirmed restore
                self._latest = now
        return now

    def hold(self, why: str, heard: int, lost: str = "", epoch: str = "") -> None:
        """Refuse counted writes of all processes until the restore is confirmed. Repeating it is harmless.

        `lost`: an epoch that this database never had. It is known from now on, so it holds the state only once.
        `epoch`: the epoch in which `why` was found. If another epoch has begun since, a person has confirmed the restore.
        """
        epochs = tables.epochs
        with self.write(counted=False) as connection:
            epoch_row = connection.execute(
                sa.select(epochs).where(epochs.c.ended.is_(None)).with_for_update()
            ).one()
            if epoch and epoch_row.id != epoch:
                return
            values: dict[str, Any] = {"heard": max(epoch_row.heard, heard)}
            if not epoch_row.restored:
                values |= {"restored": why, "restored_at": self.now()}
                _LOG.critical("%s", write_count.refusal(why))
            connection.execute(epochs.update().where(epochs.c.id == epoch_row.id).values(**values))
            if lost:
                write_count.remember_lost(connection, lost, self.now())

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads. On SQLite it never waits for a writer."""
        with _translated(), self._engine.connect() as connection:
            connection.execution_options(read_only=True)
            with connection.begin():
                yield connection

    def migrate(self) -> None:
        """Bring the schema to the newest version, one process at a time. Repeating it is harmless.

        Raises `BadInput` and changes nothing if a newer version of the control plane has made the database.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with (
            _translated(),
            self._engine.connect() as connection,
            _tables_may_be_rebuilt(connection),
            connection.begin(),
        ):
            self.exclusive(connection, _MIGRATING)
            _must_not_be_newer(connection, config)
            config.attributes |= {"connection": connection, "now": self.now()}
            command.upgrade(config, "head")

    def now(self) -> float:
        return self.clock()

    def exclusive(self, connection: sa.Connection, lock: int) -> None:
        """Take `lock` until the caller's transaction ends.

        On SQLite a write transaction is alone anyway.
        """
        if not self.url.startswith("sqlite"):
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))

    def log(self, connection: sa.Connection, job_id: str, kind: str, text: str) -> None:
        """Append one line to a job's log, inside the caller's transaction."""
        connection.execute(tables.events.insert().values(job_id=job_id, at=self.now(), kind=kind, text=text))

    def become_runner(self) -> bool:
        """Whether this process is the active runner of this database. Call it again to check.

        On PostgreSQL a lock of the session decides; on SQLite the lock of the state directory.
        """
        if self.url.startswith("sqlite"):
            return True
        try:
            if self._session is not None:
                self._session.execute(sa.select(1))
                return True
        except sa.exc.OperationalError:
            self._session = None  # the session is gone, and the lock with it
        with _translated():
            session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if not session.execute(sa.select(sa.func.pg_try_advisory_lock(_RUNNER))).scalar_one():
                session.close()
                return False
            self._session = session
            return True

    def close(self) -> None:
        if self._session is not None:
            self._session.invalidate()
            self._session.close()
        self._engine.dispose()


def normal_url(url: str) -> str:
    """The URL with the driver that we ship. Raises `BadInput` for any other database."""
    if url.startswith(("sqlite:///", "postgresql+psycopg://")):
        return url
    if url.startswith(("postgresql://", "postgres://")):
        return "postgresql+psycopg://" + url.split("://", 1)[1]
    raise BadInput(
        f"unknown kind of database {url.split(':', 1)[0]!r}",
        on="database",
        remedy="use sqlite:///FILE or postgresql://USER@ADDRESS/NAME",
    )


def new_id(prefix: str) -> str:
    """A new random id; it cannot be guessed and is never used again."""
    return f"{prefix}-{secrets.token_hex(10)}"


def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True, connect_args=dict(_NOTICE_DEATH))
    file = Path(url.removeprefix("sqlite:///"))
    if file.parent.is_dir():  # otherwise SQLite reports that it cannot open the database
        private.file(file)  # SQLite gives the files beside it the same mode
    engine = sa.create_engine(url, connect_args={"timeout": 15})

    @sa.event.listens_for(engine, "connect")
    def _configure(raw: Any, _record: object) -> None:
        raw.isolation_level = None
        for pragma in _PRAGMAS:
            raw.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        read_only = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _must_not_be_newer(connection: sa.Connection, config: Config) -> None:
    scripts = ScriptDirectory.from_config(config)
    revisions = {script.revision for script in scripts.walk_revisions()}
    if unknown := set(MigrationContext.configure(connection).get_current_heads()) - revisions:
        raise BadInput(
            "a newer version of the control plane has made it"
            f" ({', '.join(sorted(unknown))}, this one knows {scripts.get_current_head()})",
            on="database",
            remedy="install that version, or restore a backup from before the upgrade",
        )


@contextmanager
def _tables_may_be_rebuilt(connection: sa.Connection) -> Iterator[None]:
    """Switch SQLite's foreign keys off while a migration drops and renames a rebuilt table."""
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


class DatabaseSilent(ControlFailed):
    """The database does not answer now."""


class TransactionUndone(ControlFailed):
    """PostgreSQL has undone a transaction, because two waited for each other. Nothing of it was written."""


#: What PostgreSQL says of a transaction that may be repeated at once: serialization failure, deadlock.
_UNDONE: Final = ("40001", "40P01")

#: The peer of a control plane, for `Outages`.
PEERS: Final[Mapping[type[ConnectorError], str]] = {DatabaseSilent: "the database"}


@contextmanager
def _translated() -> Iterator[None]:
    """Turn outages of the database into one line. Our own mistakes (integrity, programming) pass unchanged."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", None) in _UNDONE:
            raise TransactionUndone(
                "another change of the same objects came first, and this one was undone",
                on="database",
                remedy="repeat it",
            ) from error
        raise DatabaseSilent(
            f"the database does not answer: {type(error.orig).__name__}",
            on="database",
            remedy="check that it runs and that its disk has space",
        ) from error
