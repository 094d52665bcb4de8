"""Sources, jobs and workgroups have at most twenty tags each. Keys are case-sensitive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.entities import Tag, TagKind
from connector.control.domain.refusals import RefusalCode, StateRefusal, UnknownObject
from connector.control.store import tables
from connector.control.store.database import Database
from connector.control.store.search import TagFilter, tagged

_TAGS: Final = tables.tags

#: How many tags one resource has at most.
MOST: Final = 20

_OWNERS: Final = {
    TagKind.SOURCE: tables.sources.c.state,
    TagKind.JOB: tables.jobs.c.status,
    TagKind.GROUP: None,
}
_TABLES: Final = {
    TagKind.SOURCE: tables.sources,
    TagKind.JOB: tables.jobs,
    TagKind.GROUP: tables.workgroups,
}


class Tags:
    """The tags of all resources."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, kind: TagKind, ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Set these tags on all of these resources. `UnknownObject` or `StateRefusal` changes nothing."""
        with self._database.write() as connection:
            _must_exist(connection, kind, ids)
            for resource in ids:
                put(connection, kind, resource, tags)

    def remove(self, kind: TagKind, ids: Sequence[str], keys: Sequence[str], *, everything: bool) -> None:
        """Remove these keys, or all, from these resources. A resource without them is ignored."""
        with self._database.write() as connection:
            _must_exist(connection, kind, ids)
            order = _TAGS.delete().where(_TAGS.c.kind == kind, _TAGS.c.resource_id.in_(ids))
            connection.execute(order if everything else order.where(_TAGS.c.key.in_(keys)))

    def of(self, kind: TagKind, ids: Sequence[str]) -> dict[str, list[Tag]]:
        """The tags of each of these resources, by key."""
        query = sa.select(_TAGS).where(_TAGS.c.kind == kind, _TAGS.c.resource_id.in_(ids))
        tags_of: dict[str, list[Tag]] = {resource: [] for resource in ids}
        with self._database.read() as connection:
            for row in connection.execute(query.order_by(_TAGS.c.key)):
                tags_of[row.resource_id].append(_tag(row))
        return tags_of

    def search(
        self,
        kind: TagKind,
        ids: Sequence[str],
        wanted: Sequence[TagFilter],
        *,
        after: tuple[str, str] | None = None,
        limit: int = 50,
    ) -> list[Tag]:
        """Tags of resources that have all of `wanted`, ordered by (resource, key), after the position `after`."""
        query = sa.select(_TAGS).where(_TAGS.c.kind == kind, *tagged(kind, _TAGS.c.resource_id, wanted))
        if ids:
            query = query.where(_TAGS.c.resource_id.in_(ids))
        if after is not None:
            query = query.where(
                sa.tuple_(_TAGS.c.resource_id, _TAGS.c.key) > sa.tuple_(*map(sa.literal, after))
            )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(_TAGS.c.resource_id, _TAGS.c.key).limit(limit))
            return [_tag(row) for row in rows]


def put(connection: sa.Connection, kind: TagKind, resource: str, tags: Mapping[str, str]) -> None:
    """Set tags inside the caller's transaction. Raises `StateRefusal` if there would be too many."""
    own = sa.and_(_TAGS.c.kind == kind, _TAGS.c.resource_id == resource)
    keys = set(connection.execute(sa.select(_TAGS.c.key).where(own)).scalars())
    if len(keys | set(tags)) > MOST:
        raise StateRefusal(RefusalCode.TAG_QUOTA, f"at most {MOST} tags on one resource", on=resource)
    if tags:
        connection.execute(_TAGS.delete().where(own, _TAGS.c.key.in_(tags)))
        rows = [{"kind": kind, "resource_id": resource, "key": k, "value": v} for k, v in tags.items()]
        connection.execute(_TAGS.insert(), rows)


def forget(connection: sa.Connection, kind: TagKind, resource: str) -> None:
    """Remove all tags of a resource that is gone."""
    connection.execute(_TAGS.delete().where(_TAGS.c.kind == kind, _TAGS.c.resource_id == resource))


def _must_exist(connection: sa.Connection, kind: TagKind, ids: Sequence[str]) -> None:
    table, state = _TABLES[kind], _OWNERS[kind]
    query = sa.select(table.c.id).where(table.c.id.in_(ids))
    if state is not None:
        query = query.where(state != "Deleted")
    existing = set(connection.execute(query).scalars())
    if missing := [resource for resource in ids if resource not in existing]:
        raise UnknownObject(RefusalCode.RESOURCE_UNKNOWN, f"no such {kind}", on=missing[0])


def _tag(row: Any) -> Tag:
    return Tag(TagKind(row.kind), row.resource_id, row.key, row.value)
