"""What a control plane's database tells about jobs, passes and logs. It is only read: nothing is migrated or locked.

The columns are listed here, so a new one is not told before somebody has thought about it: no hash, no sealed secret, no key.
A database of another version has other columns; what it has of the list is read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from connector import readable
from connector.control.state import location
from connector.errors import BadInput, ConnectorError

_SECONDS: Final = 5  # to connect, and for one question
_ROWS: Final = 2000
#: Table: (columns, the column whose largest values are the newest rows).
TABLES: Final[dict[str, tuple[str, str]]] = {
    "alembic_version": ("version_num", "version_num"),
    "epochs": ("id number sequence began ended restored restored_at heard engine", "number"),
    "appliances": (
        "id name vcenter version heartbeat created token_id notice state workgroup_id rotate",
        "created",
    ),
    "vcenters": ("id workgroup_id created", "created"),
    "workgroups": ("id name created", "created"),
    "sources": (
        "id vcenter moref instance_uuid name state reason findings seen created machine error_code last_job workgroup_id",
        "created",
    ),
    "source_disks": ("source_id key label capacity place", "source_id"),
    "jobs": (
        "id source_id name status business run_once last_sync image_name image_format shutdown_deadline "
        "allow_power_off cutover error created changed job_type region target_instance frequency max_images "
        "scheduled_start valid_until expired next_run started ended error_code waiting image_id "
        "transition_instance audit accept_removed_disks down_since predicted_downtime quiesce keep_cbt "
        "application rank disk_order compare_reason",
        "changed",
    ),
    "runs": ("id job_id number kind plan started stop ended outcome error cohort rank proved", "started"),
    "passes": (
        "id run_id job_id slot attempt final vcenter state appliance_id offered taken ended phase disks outcome error result host"
        " datastores disk_count not_before reason task wanted",
        "offered",
    ),
    "objects": ("token job_id pass_id place kind reference removed created trouble", "created"),
    "images": ("id job_id run_id name format ready created removed completed", "created"),
    "drills": (
        "id job_id image_name run_number plan_only asked state stop started ended phase boots error",
        "asked",
    ),
    "hand_overs": ("job_id instance state", "job_id"),
    "evidence": ("pass_id job_id run_id created size", "created"),
    "events": ("id job_id at kind text", "id"),
    "audit": ("id at who action subject", "id"),
}
#: Names of people's and of machines' own making, by table.
NAMES: Final = {
    "sources": ("name", "machine", "vcenter"),
    "jobs": ("name", "image_name", "target_instance", "application"),
    "appliances": ("name",),
    "images": ("name",),
    "workgroups": ("name",),
    "passes": ("host",),
    "audit": ("who",),
    "tags": ("value",),
}
#: A tracked resource's token is our own name for it and no secret; under its own name it would be removed as one.
_SPELT: Final = {"token": "own_name"}
_DETAILS: Final = {
    "name",
    "host",
    "host_name",
    "hostname",
    "folder",
    "path",
    "datastore",
    "datastores",
    "ip",
    "addresses",
    "network",
}


class ControlRecords:
    """The database of one control plane."""

    def __init__(self, state: Path | None, database: str = "") -> None:
        self._state, self._database = state, database

    def rows(self, table: str) -> dict[str, Any]:
        """The newest rows of a table, and how many it has. Raises ConnectorError, SQLAlchemyError, OSError."""
        wanted, order = TABLES[table]
        with self._connected() as connection:
            kept = self._select(connection, table, wanted.split(), order)
            query = f"SELECT count(*) FROM {table}"  # noqa: S608 # nosec B608 - a name of our own list
            count = connection.execute(sa.text(query)).scalar_one()
        return {"count": count, "newest_first": kept}

    def errors(self) -> dict[str, Any]:
        """How often each error came, by its id, with the newest message of each."""
        found: Counter[str] = Counter()
        newest: dict[str, Any] = {}
        for table in ("jobs", "runs", "passes", "drills"):
            for row in self.rows(table)["newest_first"]:
                error = row.get("error")
                if isinstance(error, dict):
                    name = str(error.get("error") or error.get("id") or error.get("type") or "unknown")
                    found[name] += 1
                    newest.setdefault(name, error)
        return {name: {"count": count, "newest": newest[name]} for name, count in found.most_common()}

    def names(self) -> Iterator[str]:
        """Names to replace in an anonymous bundle; what cannot be read tells none."""
        for table, columns in NAMES.items():
            try:
                with self._connected() as connection:
                    rows = self._select(connection, table, list(columns), columns[0], 50_000)
            except (ConnectorError, sa.exc.SQLAlchemyError, OSError):
                continue
            yield from (str(value) for row in rows for value in row.values() if isinstance(value, str))
        yield from self._facts()

    def _facts(self) -> Iterator[str]:
        try:
            with self._connected() as connection:
                rows = self._select(connection, "sources", ["facts"], "created", 50_000)
        except (ConnectorError, sa.exc.SQLAlchemyError, OSError):
            return
        for row in rows:
            yield from _strings(row.get("facts"))

    def _select(
        self, connection: sa.Connection, table: str, wanted: list[str], order: str, limit: int = _ROWS
    ) -> list[dict[str, Any]]:
        there = {column["name"] for column in sa.inspect(connection).get_columns(table)}
        columns = [name for name in wanted if name in there]
        question: Any = sa.select(*(sa.column(name) for name in columns)).select_from(sa.table(table))
        if order in there:
            question = question.order_by(sa.column(order).desc())
        return [
            {_SPELT.get(name, name): _plain(value) for name, value in row._mapping.items()}
            for row in connection.execute(question.limit(limit))
        ]

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = self._engine()
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def _engine(self) -> sa.Engine:
        if self._state is None and not self._database:
            raise BadInput("the configuration names no state directory and no database", on="control plane")
        url = location.existing(self._state or Path(), self._database) if not self._database else ""
        file = location.sqlite_file(url or location.database_url(Path(), self._database))
        if file is not None:
            readable.require(file)
            return sa.create_engine(
                f"sqlite:///file:{file}?mode=ro&uri=true", connect_args={"timeout": _SECONDS}
            )
        return sa.create_engine(
            location.database_url(Path(), self._database),
            connect_args={
                "connect_timeout": _SECONDS,
                "options": f"-c statement_timeout={_SECONDS * 1000} -c default_transaction_read_only=on",
            },
        )


def _plain(value: Any) -> Any:
    """A value as JSON has it; SQLite gives JSON columns as text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _strings(facts: Any, name: str = "") -> Iterator[str]:
    if isinstance(facts, dict):
        for key, value in facts.items():
            yield from _strings(value, str(key))
    elif isinstance(facts, list):
        for value in facts:
            yield from _strings(value, name)
    elif isinstance(facts, str) and name in _DETAILS:
        yield facts
