"""Sources: what appliances have seen. One row per machine of one vCenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.sources import SourceEvent, SourceState, follow
from connector.control.store import tables
from connector.control.store.database import Database, new_id
from connector.control.store.rows import Json, Source, SourceDisk
from connector.errors import Ambiguous, NotFound

_SOURCES: Final = tables.sources
_DISKS: Final = tables.source_disks

OFFLINE: Final = "no appliance of its vCenter is online"
GONE: Final = "no longer in vCenter's inventory"


class Sources:
    """Registered machines and their disks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, vcenter: str, machines: Sequence[Json]) -> dict[str, str]:
        """Replace what is known of one vCenter; answers moref -> source id. Idempotent.

        Each machine is `dataclasses.asdict(Machine)` plus `findings`. A missing one becomes Unavailable.
        """
        with self._database.write() as connection:
            known = {
                row.moref: row
                for row in connection.execute(
                    sa.select(_SOURCES).where(_SOURCES.c.vcenter == vcenter).with_for_update()
                )
            }
            ids = {
                str(m["moref"]): self._put_one(connection, vcenter, m, known.get(m["moref"]))
                for m in machines
            }
            for moref, row in known.items():
                if moref not in ids:
                    _lose(connection, row, GONE)
        return ids

    def _put_one(self, connection: sa.Connection, vcenter: str, machine: Json, row: Any) -> str:
        now = self._database.now()
        values: Json = {
            "instance_uuid": machine["instance_uuid"],
            "name": machine["name"],
            "reason": "",
            "facts": {k: v for k, v in machine.items() if k not in ("disks", "findings")},
            "findings": machine["findings"],
            "seen": now,
        }
        if row is None:
            source_id = new_id("s")
            values |= {"id": source_id, "vcenter": vcenter, "moref": machine["moref"], "created": now}
            connection.execute(_SOURCES.insert().values(state=SourceState.AVAILABLE, **values))
        else:
            source_id = str(row.id)
            state = follow(SourceState(row.state), SourceEvent.SEEN, source_id)
            values["state"] = state
            connection.execute(_SOURCES.update().where(_SOURCES.c.id == source_id).values(**values))
        _put_disks(connection, source_id, machine["disks"])
        return source_id

    def get(self, source_id: str) -> Source:
        """By id, or by name when one machine alone has it."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_SOURCES).where(_SOURCES.c.id == source_id)).all()
            if not rows:
                rows = connection.execute(sa.select(_SOURCES).where(_SOURCES.c.name == source_id)).all()
            found = _with_disks(connection, rows)
        if not found:
            raise NotFound("no such source", on=source_id, remedy="list the sources, or rescan")
        if len(found) > 1:
            ids = ", ".join(source.id for source in found)
            raise Ambiguous(f"{len(found)} sources have this name", on=source_id, remedy=f"use an id: {ids}")
        return found[0]

    def all(self, state: str | None = None) -> list[Source]:
        """All sources by name, with their disks."""
        query = sa.select(_SOURCES).order_by(_SOURCES.c.name, _SOURCES.c.id)
        if state is not None:
            query = query.where(_SOURCES.c.state == state)
        with self._database.read() as connection:
            return _with_disks(connection, connection.execute(query).all())

    def set_online(self, online: set[str]) -> None:
        """Sources of vCenters without a living appliance become Unavailable, and come back with it."""
        with self._database.write() as connection:
            available = _SOURCES.c.state == SourceState.AVAILABLE
            dark = sa.and_(_SOURCES.c.state == SourceState.UNAVAILABLE, _SOURCES.c.reason == OFFLINE)
            for row in connection.execute(
                sa.select(_SOURCES).where(available, _SOURCES.c.vcenter.not_in(online)).with_for_update()
            ).all():
                _lose(connection, row, OFFLINE)
            for row in connection.execute(
                sa.select(_SOURCES).where(dark, _SOURCES.c.vcenter.in_(online)).with_for_update()
            ).all():
                state = follow(SourceState(row.state), SourceEvent.SEEN, row.id)
                connection.execute(
                    _SOURCES.update().where(_SOURCES.c.id == row.id).values(state=state, reason="")
                )


def move(connection: sa.Connection, source_id: str, event: SourceEvent) -> None:
    """Follow the table for one source, inside the caller's transaction."""
    row = connection.execute(
        sa.select(_SOURCES.c.state, _SOURCES.c.reason).where(_SOURCES.c.id == source_id).with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFound("no such source", on=source_id)
    subject = f"{source_id} ({row.reason})" if row.reason else source_id
    state = follow(SourceState(row.state), event, subject)
    connection.execute(_SOURCES.update().where(_SOURCES.c.id == source_id).values(state=state))


def _lose(connection: sa.Connection, row: Any, reason: str) -> None:
    state = follow(SourceState(row.state), SourceEvent.LOST, row.id)
    connection.execute(_SOURCES.update().where(_SOURCES.c.id == row.id).values(state=state, reason=reason))


def _put_disks(connection: sa.Connection, source_id: str, disks: Sequence[Mapping[str, Any]]) -> None:
    connection.execute(_DISKS.delete().where(_DISKS.c.source_id == source_id))
    if disks:
        connection.execute(
            _DISKS.insert(),
            [
                {
                    "source_id": source_id,
                    "key": disk["key"],
                    "label": disk["label"],
                    "capacity": disk["capacity"],
                    "facts": dict(disk),
                }
                for disk in disks
            ],
        )


def _with_disks(connection: sa.Connection, rows: Sequence[Any]) -> list[Source]:
    disks: dict[str, list[SourceDisk]] = {row.id: [] for row in rows}
    query = sa.select(_DISKS).order_by(_DISKS.c.source_id, _DISKS.c.key)
    if len(rows) == 1:
        query = query.where(_DISKS.c.source_id == rows[0].id)
    for row in connection.execute(query):
        if row.source_id in disks:
            disks[row.source_id].append(SourceDisk(row.key, row.label, row.capacity, row.facts))
    states = {row.id: SourceState(row.state) for row in rows}
    return [Source(**{**r._mapping, "state": states[r.id]}, disks=tuple(disks[r.id])) for r in rows]
