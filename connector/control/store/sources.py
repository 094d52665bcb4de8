"""A source is one machine of one vCenter, as an appliance saw it. A machine that is not seen any more keeps its row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.entities import Appliance, Job, Json, Source, SourceDisk, in_order
from connector.control.domain.jobs import UNFINISHED, JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal, UnknownObject
from connector.control.domain.sources import TRANSITIONS, SourceEvent, SourceState, follow
from connector.control.store import tables, tokens
from connector.control.store.audit_chain import AuditDraft
from connector.control.store.database import REGISTERING, Database, new_id
from connector.control.store.limits import Quotas
from connector.control.store.search import ResultPage, SourceFilter, page
from connector.errors import Ambiguous
from connector.model import UNREADY, MachinePart

_SOURCES: Final = tables.sources
_CODES: Final = tables.access_tokens
_DISKS: Final = tables.source_disks
_NAMED: Final = 50  # names of vanished machines in one line of the audit log
_FEW: Final = 200  # for more sources at once, reading all disks is faster

OFFLINE_CODE: Final = "SourceServer.Offline"
GONE_CODE: Final = "SourceServer.Missing"
OFFLINE: Final = "no appliance of its vCenter is online"
GONE: Final = "no longer in vCenter's inventory"
REPLACED_CODE: Final = "SourceServer.Replaced"
REPLACED: Final = (
    "%s names another machine now (%s): delete this source, and the next rescan registers that machine"
)
PARTIAL_CODE: Final = "SourceServer.Incomplete"
PARTIAL: Final = "vCenter does not show its %s now; what was known before is kept"
_START: Final = "start an appliance for its vCenter, or rescan"
#: What helps a source with this error code.
_REMEDIES: Final = {
    OFFLINE_CODE: _START,
    GONE_CODE: "bring the machine back into the inventory, or delete the source",
    REPLACED_CODE: "delete its jobs and the source; the next rescan registers the new machine",
    PARTIAL_CODE: "wait until its host is connected to vCenter again",
}


class Sources:
    """The registered machines and their disks."""

    def __init__(self, database: Database, limits: Quotas) -> None:
        self._database = database
        self._limits = limits

    def put(self, vcenter: str, machines: Sequence[Json], by: Appliance | None = None) -> dict[str, str]:
        """Replace the inventory of one vCenter; answer the source id of each moref. Idempotent.

        Each machine is `dataclasses.asdict(Machine)` plus `findings`. A missing machine becomes Unavailable. New machines
        beyond the quota, or beyond the access token of the appliance `by`, are not registered; its notice says so.
        """
        with self._database.write(counted=False) as connection:
            self._database.exclusive(connection, REGISTERING)
            registered = {
                row.moref: row
                for row in connection.execute(
                    sa.select(_SOURCES)
                    .where(_SOURCES.c.vcenter == vcenter, _SOURCES.c.state != SourceState.DELETED)
                    .order_by(_SOURCES.c.id)
                    .with_for_update(key_share=True)
                )
            }
            new = [m for m in machines if m["moref"] not in registered]
            left_out, why = self._left_out(connection, len(new), by)
            ignored = {str(m["moref"]) for m in new[len(new) - left_out :]}
            ids = {
                str(m["moref"]): self._put_one(connection, vcenter, m, registered.get(m["moref"]), by)
                for m in machines
                if m["moref"] not in ignored
            }
            _note(
                connection,
                by,
                self._database.now(),
                len(new) - left_out,
                f"machines not registered: {left_out} ({why})" if left_out else "",
            )
            lost = [row for moref, row in registered.items() if moref not in ids]
            for row in lost:
                _lose(connection, row)
            self._say_lost(vcenter, [r for r in lost if r.error_code != GONE_CODE], ids, by)
        return ids

    def _say_lost(self, vcenter: str, lost: Sequence[Any], ids: Json, by: Appliance | None) -> None:
        """Write into the audit log which appliance reported an inventory that lacks machines."""
        if not lost:
            return
        names = sorted(row.machine for row in lost)
        details = {"gone": len(names), "left": len(ids), "names": names[:_NAMED]}
        who = by.id if by is not None else "system"
        self._database.audit.add(AuditDraft(who, "", "inventory shrank", vcenter, details))

    def _left_out(self, connection: sa.Connection, new: int, by: Appliance | None) -> tuple[int, str]:
        """How many of `new` machines cannot be registered, and why."""
        alive = (
            sa.select(sa.func.count()).select_from(_SOURCES).where(_SOURCES.c.state != SourceState.DELETED)
        )
        bounds = [(self._limits.sources, f"at most {self._limits.sources} sources")] if new else []
        bounds = [(limit - connection.execute(alive).scalar_one(), why) for limit, why in bounds]
        room = tokens.room(connection, by.token_id) if by is not None and new else None
        if by is not None and room is not None:
            code = connection.execute(sa.select(_CODES.c.name).where(_CODES.c.id == by.token_id)).scalar()
            bounds.append((room, f"the activation code {code or by.token_id} brings in no more"))
        free, why = min(bounds, default=(new, ""))
        return max(0, new - max(0, free)), why

    def _put_one(
        self, connection: sa.Connection, vcenter: str, machine: Json, row: Any, by: Appliance | None
    ) -> str:
        now = self._database.now()
        source_id = new_id("s") if row is None else str(row.id)
        if row is not None and _is_another(machine, row) and _has_jobs(connection, source_id):
            reason = REPLACED % (machine["moref"], machine["name"])
            _lose(connection, row, reason, REPLACED_CODE)
            return source_id
        hidden = next((part for part in machine.get("missing", ()) if part in UNREADY), "")
        machine = machine if row is None else _completed(machine, row)
        values: Json = {
            "instance_uuid": machine["instance_uuid"],
            "machine": machine["name"],
            "reason": PARTIAL % hidden if hidden else "",
            "error_code": PARTIAL_CODE if hidden else "",
            "facts": {k: v for k, v in machine.items() if k not in ("disks", "findings")},
            "seen": now,
        }
        event = SourceEvent.LOST if hidden else SourceEvent.SEEN
        if row is None or not hidden:
            values["findings"] = machine["findings"]
        if row is None or (row.machine != machine["name"] and not row.named):
            values["name"] = _free_name(connection, str(machine["name"]), source_id)
        if row is None:
            values |= {"id": source_id, "vcenter": vcenter, "moref": machine["moref"], "created": now}
            values |= {"state": follow(SourceState.AVAILABLE, event), "token_id": by.token_id if by else None}
            values |= {"workgroup_id": by.workgroup_id if by else None}
            connection.execute(_SOURCES.insert().values(**values))
        else:
            values["state"] = follow(SourceState(row.state), event, source_id)
            connection.execute(_SOURCES.update().where(_SOURCES.c.id == source_id).values(**values))
        if row is None or not hidden:
            _put_disks(connection, source_id, machine["disks"])
        return source_id

    def modify(self, source_id: str, *, name: str | None = None, description: str | None = None) -> Source:
        """Change name and description, in any state. A name that a person chose stays when the machine is renamed."""
        changes: Json = {} if description is None else {"description": description}
        with self._database.write() as connection:
            self._database.exclusive(connection, REGISTERING)
            _locked(connection, source_id)
            if name is not None:
                if _name_taken(connection, name, source_id):
                    raise StateRefusal(
                        RefusalCode.SOURCE_NAME,
                        "another source has this name",
                        on=name,
                        remedy="choose another name",
                    )
                changes |= {"name": name, "named": True}
            if changes:
                connection.execute(_SOURCES.update().where(_SOURCES.c.id == source_id).values(**changes))
        return self.get(source_id)

    def get(self, source_id: str) -> Source:
        """The source with this id, or with this name if only one source has it."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_SOURCES).where(_SOURCES.c.id == source_id)).all()
            if not rows:
                by_name = sa.or_(_SOURCES.c.name == source_id, _SOURCES.c.machine == source_id)
                rows = connection.execute(
                    sa.select(_SOURCES).where(by_name, _SOURCES.c.state != SourceState.DELETED)
                ).all()
            sources = _with_disks(connection, rows)
        if not sources:
            raise _unknown(source_id)
        if len(sources) > 1:
            ids = ", ".join(source.id for source in sources)
            raise Ambiguous(
                f"{len(sources)} sources have this name", on=source_id, remedy=f"use an id: {ids}"
            )
        return sources[0]

    def of(self, job: Job) -> Source:
        """The source of a job, with its disks in the job's order."""
        source = self.get(job.source_id)
        return replace(source, disks=in_order(source.disks, job.disk_order))

    def all(self, state: str | None = None) -> list[Source]:
        """All sources by name, with their disks."""
        query = sa.select(_SOURCES).order_by(_SOURCES.c.name, _SOURCES.c.id)
        query = query.where(_SOURCES.c.state != SourceState.DELETED)
        if state is not None:
            query = query.where(_SOURCES.c.state == state)
        with self._database.read() as connection:
            return _with_disks(connection, connection.execute(query).all())

    def page(self, wanted: SourceFilter, number: int = 1, size: int = 10) -> ResultPage[Source]:
        """Sources that match exactly, newest first, with their disks."""
        with self._database.read() as connection:
            total, rows = page(connection, _SOURCES, wanted, number, size)
            return ResultPage(total, _with_disks(connection, rows))

    def set_online(self, online: set[str]) -> None:
        """Take sources of vCenters without a live appliance offline, and the others online.

        A source that has a job stays InUse and only gets the error code.
        """
        c, living = _SOURCES.c, (SourceState.AVAILABLE, SourceState.IN_USE)
        kinds = sa.select(c.vcenter, c.error_code, c.state).where(c.state != SourceState.DELETED).distinct()
        with self._database.read() as connection:
            states = [(row.vcenter in online, row.error_code, row.state) for row in connection.execute(kinds)]
        changed = any(
            code == OFFLINE_CODE if online_again else code == "" and state in living
            for online_again, code, state in states
        )
        if not changed:
            return
        lost = sa.and_(c.state.in_(living), c.error_code == "", c.vcenter.not_in(online))
        dark = sa.and_(c.error_code == OFFLINE_CODE, c.state != SourceState.DELETED)
        back = sa.and_(dark, c.vcenter.in_(online))
        with self._database.write(counted=False) as connection:
            lock(connection, connection.execute(sa.select(c.id).where(sa.or_(lost, back))).scalars())
            offline, online_again = (
                {"reason": OFFLINE, "error_code": OFFLINE_CODE},
                {"reason": "", "error_code": ""},
            )
            _move_all(connection, lost, SourceEvent.LOST, **offline)
            _move_all(connection, back, SourceEvent.SEEN, **online_again)


def move(connection: sa.Connection, source_id: str, event: SourceEvent, **changes: Any) -> None:
    """Move one source along its `TRANSITIONS`, inside the caller's transaction."""
    row = _locked(connection, source_id)
    subject = f"{row.name} ({row.reason})" if row.reason else str(row.name)
    state = follow(SourceState(row.state), event, subject)
    if event is SourceEvent.FREED and row.error_code:  # it went offline while it was in use
        state = follow(state, SourceEvent.LOST, subject)
    connection.execute(_SOURCES.update().where(_SOURCES.c.id == source_id).values(state=state, **changes))


def _move_all(
    connection: sa.Connection, condition: sa.ColumnElement[bool], event: SourceEvent, **values: str
) -> None:
    """Move all of these sources along their `TRANSITIONS` at once."""
    for state in (s for s in SourceState if (s, event) in TRANSITIONS):
        of_state = sa.and_(condition, _SOURCES.c.state == state)
        connection.execute(_SOURCES.update().where(of_state).values(state=follow(state, event), **values))


def some(connection: sa.Connection, ids: Iterable[str]) -> list[Source]:
    """These sources, deleted ones too."""
    rows = connection.execute(sa.select(_SOURCES).where(_SOURCES.c.id.in_(list(ids)))).all()
    return _with_disks(connection, rows)


def lock(connection: sa.Connection, ids: Iterable[str]) -> None:
    """Lock these sources until the caller's transaction ends."""
    query = sa.select(_SOURCES.c.id).where(_SOURCES.c.id.in_(list(ids))).order_by(_SOURCES.c.id)
    connection.execute(query.with_for_update(key_share=True)).all()


def must_be_online(connection: sa.Connection, source_id: str) -> None:
    """Raise `StateRefusal` if no appliance can read this source now."""
    row = _locked(connection, source_id)
    if row.error_code:
        raise StateRefusal(
            RefusalCode.SOURCE_STATE,
            f"the source is not available: {row.reason}",
            on=source_id,
            remedy=_REMEDIES.get(row.error_code, _START),
        )


def _completed(machine: Json, row: Any) -> Json:
    """The machine, completed by what was known before of the parts that the appliance could not see now."""
    if machine["instance_uuid"] not in ("", row.instance_uuid):
        return machine  # the moref names another machine now
    registered: Json = {**row.facts, "instance_uuid": row.instance_uuid, "name": row.machine}
    parts = [MachinePart(name) for name in machine.get("missing", ()) if name in set(MachinePart)]
    kept_fields = {name: registered[name] for part in parts for name in part.fields if registered.get(name)}
    traits, before = dict(machine.get("traits") or {}), registered.get("traits") or {}
    if MachinePart.HOST in parts and before.get("cluster"):
        traits["cluster"] = before["cluster"]
    return machine | kept_fields | ({"traits": traits} if traits else {})


def _locked(connection: sa.Connection, source_id: str) -> Any:
    row = connection.execute(
        sa.select(_SOURCES)
        .where(_SOURCES.c.id == source_id, _SOURCES.c.state != SourceState.DELETED)
        .with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise _unknown(source_id)
    return row


def _unknown(source_id: str) -> UnknownObject:
    return UnknownObject(
        RefusalCode.SOURCE_UNKNOWN, "no such source", on=source_id, remedy="list the sources, or rescan"
    )


def _is_another(machine: Json, row: Any) -> bool:
    """Whether the moref names another machine than the registered one. An unknown identity counts as the same machine."""
    return machine["instance_uuid"] not in ("", row.instance_uuid) and bool(row.instance_uuid)


def _has_jobs(connection: sa.Connection, source_id: str) -> bool:
    jobs = tables.jobs.c
    query = sa.select(jobs.id).where(jobs.source_id == source_id, jobs.status != JobStatus.DELETED)
    return connection.execute(query.limit(1)).first() is not None


def _lose(connection: sa.Connection, row: Any, reason: str = GONE, code: str = GONE_CODE) -> None:
    state = follow(SourceState(row.state), SourceEvent.LOST, row.id)
    values = {"state": state, "reason": reason, "error_code": code}
    connection.execute(_SOURCES.update().where(_SOURCES.c.id == row.id).values(**values))


def _name_taken(connection: sa.Connection, name: str, source_id: str) -> bool:
    query = sa.select(_SOURCES.c.id).where(
        _SOURCES.c.name == name, _SOURCES.c.id != source_id, _SOURCES.c.state != SourceState.DELETED
    )
    return connection.execute(query).first() is not None


def _free_name(connection: sa.Connection, name: str, source_id: str) -> str:
    return f"{name}_{source_id}" if _name_taken(connection, name, source_id) else name


def _note(connection: sa.Connection, by: Appliance | None, now: float, more: int, notice: str) -> None:
    """Note the inventory at the appliance. It counts as alive: its first heartbeat may come after the next check."""
    if by is None:
        return
    if by.token_id is not None and more:
        tokens.count(connection, by.token_id, more)
    appliances = tables.appliances
    own = appliances.c.id == by.id
    connection.execute(appliances.update().where(own).values(notice=notice, heartbeat=now))


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
                    "place": place,
                }
                for place, disk in enumerate(disks)
            ],
        )


def _with_disks(connection: sa.Connection, rows: Sequence[Any]) -> list[Source]:
    disks: dict[str, list[SourceDisk]] = {row.id: [] for row in rows}
    query = sa.select(_DISKS).order_by(_DISKS.c.source_id, _DISKS.c.place, _DISKS.c.key)
    if len(rows) <= _FEW:
        query = query.where(_DISKS.c.source_id.in_(list(disks)))
    for row in connection.execute(query):
        if row.source_id in disks:
            disks[row.source_id].append(SourceDisk(row.key, row.label, row.capacity, row.facts))
    states = {row.id: SourceState(row.state) for row in rows}
    orders = _orders(connection, list(disks))
    return [
        Source(**{**r._mapping, "state": states[r.id]}, disks=in_order(disks[r.id], orders.get(r.id, ())))
        for r in rows
    ]


def _orders(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Sequence[int]]:
    """The disk order of each of these sources that a job has begun to read and not finished."""
    jobs = tables.jobs.c
    query = sa.select(jobs.source_id, jobs.disk_order).where(
        jobs.status.in_(UNFINISHED), jobs.disk_order.is_not(None)
    )
    if len(ids) <= _FEW:
        query = query.where(jobs.source_id.in_(ids))
    return {row.source_id: row.disk_order or () for row in connection.execute(query)}
