"""A source is in at most one workgroup. The status of a workgroup follows from the jobs of its sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.entities import GroupStatus, Json, TagKind, Workgroup
from connector.control.domain.jobs import JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal, UnknownObject
from connector.control.store import tables, tags
from connector.control.store.database import GROUPING, Database, new_id
from connector.control.store.limits import Quotas
from connector.control.store.search import ResultPage, TagFilter, tagged

_GROUPS: Final = tables.workgroups
_SOURCES: Final = tables.sources
_JOBS: Final = tables.jobs


class Workgroups:
    """Groups by name."""

    def __init__(self, database: Database, limits: Quotas) -> None:
        self._database = database
        self._limits = limits

    def create(
        self,
        name: str,
        description: str,
        *,
        tags_: Mapping[str, str] | None = None,
        client_token: str | None = None,
    ) -> Workgroup:
        """Create a group without sources. The same `client_token` answers the same group again."""
        values: Json = {
            "id": new_id("wg"),
            "name": name,
            "description": description,
            "client_token": client_token,
            "created": self._database.now(),
        }
        with self._database.write() as connection:
            self._database.exclusive(connection, GROUPING)
            again = sa.select(_GROUPS.c.id).where(_GROUPS.c.client_token == client_token)
            if client_token and (group_id := connection.execute(again).scalar_one_or_none()):
                self._database.audit.about(group_id)
                return self._one(connection, group_id)
            _free_name(connection, name)
            if connection.execute(sa.select(sa.func.count()).select_from(_GROUPS)).scalar_one() >= (
                self._limits.workgroups
            ):
                raise StateRefusal(
                    RefusalCode.GROUP_QUOTA, f"at most {self._limits.workgroups} workgroups", on=name
                )
            connection.execute(_GROUPS.insert().values(**values))
            tags.put(connection, TagKind.GROUP, values["id"], tags_ or {})
            self._database.audit.about(values["id"])
            return self._one(connection, values["id"])

    def get(self, group_id: str) -> Workgroup:
        with self._database.read() as connection:
            return self._one(connection, group_id)

    def page(
        self,
        number: int = 1,
        size: int = 10,
        *,
        ids: Sequence[str] = (),
        name: str | None = None,
        status: str | None = None,
        tags_: Sequence[TagFilter] = (),
    ) -> ResultPage[Workgroup]:
        """Groups that match exactly, newest first. The status is computed for all groups: there are few."""
        query = sa.select(_GROUPS).where(*tagged(TagKind.GROUP, _GROUPS.c.id, tags_))
        if ids:
            query = query.where(_GROUPS.c.id.in_(ids))
        if name is not None:
            query = query.where(_GROUPS.c.name == name)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(_GROUPS.c.created.desc(), _GROUPS.c.id)).all()
            window = slice((number - 1) * size, number * size)
            if status is None:
                return ResultPage(len(rows), _groups(connection, rows[window]))
            groups = [group for group in _groups(connection, rows) if group.status == status]
        return ResultPage(len(groups), groups[window])

    def modify(self, group_id: str, *, name: str | None = None, description: str | None = None) -> None:
        changes = {k: v for k, v in {"name": name, "description": description}.items() if v is not None}
        with self._database.write() as connection:
            self._database.exclusive(connection, GROUPING)
            group = self._one(connection, group_id)
            if name is not None and name != group.name:
                _free_name(connection, name)
            if changes:
                connection.execute(_GROUPS.update().where(_GROUPS.c.id == group_id).values(**changes))

    def delete(self, group_id: str) -> None:
        """`StateRefusal` while it has sources."""
        with self._database.write() as connection:
            self._database.exclusive(connection, GROUPING)
            if self._one(connection, group_id).sources:
                raise StateRefusal(
                    RefusalCode.GROUP_NOT_EMPTY,
                    "the workgroup has sources",
                    on=group_id,
                    remedy="take them out first",
                )
            tags.forget(connection, TagKind.GROUP, group_id)
            connection.execute(_GROUPS.delete().where(_GROUPS.c.id == group_id))

    def associate(self, group_id: str, source_ids: Iterable[str]) -> None:
        """Put all of these sources into the group, or none. Sources that are in it stay."""
        ids = set(source_ids)
        with self._database.write() as connection:
            self._database.exclusive(connection, GROUPING)
            inside = set(self._one(connection, group_id).sources)
            for row in _sources(connection, ids):
                if row.workgroup_id not in (None, group_id):
                    raise StateRefusal(
                        RefusalCode.GROUP_TAKEN,
                        "this source is in another workgroup",
                        on=row.id,
                        remedy="take it out first",
                    )
            if len(inside | ids) > self._limits.workgroup_sources:
                most = self._limits.workgroup_sources
                raise StateRefusal(
                    RefusalCode.GROUP_SOURCES_QUOTA, f"at most {most} sources in one workgroup", on=group_id
                )
            connection.execute(_SOURCES.update().where(_SOURCES.c.id.in_(ids)).values(workgroup_id=group_id))

    def disassociate(self, group_id: str, source_ids: Iterable[str]) -> None:
        """Take these sources out of the group. Sources that are not in it are ignored."""
        ids = set(source_ids)
        with self._database.write() as connection:
            self._one(connection, group_id)
            _sources(connection, ids)
            own = sa.and_(_SOURCES.c.id.in_(ids), _SOURCES.c.workgroup_id == group_id)
            connection.execute(_SOURCES.update().where(own).values(workgroup_id=None))

    def _one(self, connection: sa.Connection, group_id: str) -> Workgroup:
        rows = connection.execute(sa.select(_GROUPS).where(_GROUPS.c.id == group_id)).all()
        if not rows:
            raise UnknownObject(RefusalCode.GROUP_UNKNOWN, "no such workgroup", on=group_id)
        return _groups(connection, rows)[0]


def _free_name(connection: sa.Connection, name: str) -> None:
    if connection.execute(sa.select(_GROUPS.c.id).where(_GROUPS.c.name == name)).first():
        raise StateRefusal(
            RefusalCode.GROUP_NAME, "another workgroup has this name", on=name, remedy="choose another name"
        )


def _sources(connection: sa.Connection, ids: set[str]) -> Sequence[Any]:
    query = sa.select(_SOURCES.c.id, _SOURCES.c.workgroup_id)
    rows = connection.execute(query.where(_SOURCES.c.id.in_(ids), _SOURCES.c.state != "Deleted")).all()
    if missing := sorted(ids - {row.id for row in rows}):
        raise UnknownObject(RefusalCode.SOURCE_UNKNOWN, "no such source", on=missing[0])
    return rows


def _groups(connection: sa.Connection, rows: Sequence[Any]) -> list[Workgroup]:
    query = (
        sa.select(_SOURCES.c.id, _SOURCES.c.workgroup_id, _JOBS.c.status, _JOBS.c.cutover)
        .join(
            _JOBS,
            sa.and_(_JOBS.c.id == _SOURCES.c.last_job, _JOBS.c.status != JobStatus.DELETED),
            isouter=True,
        )
        .where(_SOURCES.c.workgroup_id.in_([row.id for row in rows]), _SOURCES.c.state != "Deleted")
        .order_by(_SOURCES.c.id)
    )
    members: dict[str, list[Any]] = {row.id: [] for row in rows}
    for member in connection.execute(query):
        members[member.workgroup_id].append(member)
    return [_group(row, members[row.id]) for row in rows]


def _group(row: Any, members: Sequence[Any]) -> Workgroup:
    return Workgroup(
        id=row.id,
        name=row.name,
        description=row.description,
        created=row.created,
        status=_status(members),
        sources=tuple(m.id for m in members),
        failed=tuple(m.id for m in members if m.status == JobStatus.IN_ERROR),
        unrelated=tuple(m.id for m in members if m.status is None),
    )


def _status(members: Sequence[Any]) -> GroupStatus:
    statuses = {member.status for member in members}
    if statuses <= {None, JobStatus.READY}:
        return GroupStatus.NOT_STARTED
    if statuses == {JobStatus.FINISHED}:
        return GroupStatus.COMPLETED
    if any(member.cutover or member.status == JobStatus.FINISHED for member in members if member.status):
        return GroupStatus.CUTOVER
    return GroupStatus.IN_PROGRESS
