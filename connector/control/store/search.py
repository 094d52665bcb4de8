"""Searches of the public API: exact matches, ANDed; an absent filter does not filter; newest first, in pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from connector.control.store import tables
from connector.control.store.rows import TagKind

Row = TypeVar("Row")

#: A tag to look for; the value None matches any.
TagFilter = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page of what was found; `total` counts all of it."""

    total: int
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """`job_id` is the source's last job; `job_types` are of any of its jobs."""

    ids: Sequence[str] = ()
    name: str | None = None
    state: str | None = None
    job_id: str | None = None
    job_types: Sequence[int] = ()
    workgroup_id: str | None = None
    resource_group: str | None = None
    tags: Sequence[TagFilter] = ()

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        c = tables.sources.c
        found = [c.state != "Deleted", *_among(c.id, self.ids)]
        found += _equal(
            (c.name, self.name),
            (c.state, self.state),
            (c.last_job, self.job_id),
            (c.workgroup_id, self.workgroup_id),
            (c.resource_group, self.resource_group),
        )
        if self.job_types:
            jobs = tables.jobs.c
            found.append(
                sa.exists()
                .where(jobs.source_id == c.id, jobs.job_type.in_(self.job_types))
                .correlate(c.id.table)
            )
        return found + tagged(TagKind.SOURCE, c.id, self.tags)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Deleted jobs are never found; `status` "Deleting" finds those that are being removed.

    A job that was made without a region is in every one.
    """

    ids: Sequence[str] = ()
    source_ids: Sequence[str] = ()
    target_instances: Sequence[str] = ()
    name: str | None = None
    status: str | None = None
    business: str | None = None
    job_type: int | None = None
    region: str | None = None
    resource_group: str | None = None
    tags: Sequence[TagFilter] = ()

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        c = tables.jobs.c
        found = [c.status != "Deleted", *_among(c.id, self.ids), *_among(c.source_id, self.source_ids)]
        found += _among(c.target_instance, self.target_instances)
        found += _equal(
            (c.name, self.name),
            (c.status, self.status),
            (c.business, self.business),
            (c.job_type, self.job_type),
            (c.resource_group, self.resource_group),
        )
        if self.region is not None:
            found.append(c.region.in_((self.region, "")))
        return found + tagged(TagKind.JOB, c.id, self.tags)


def page(
    connection: sa.Connection,
    table: sa.Table,
    conditions: Sequence[sa.ColumnElement[bool]],
    number: int,
    size: int,
) -> tuple[int, Sequence[Any]]:
    """How many rows match, and those of page `number` (from 1), newest first."""
    total = connection.execute(sa.select(sa.func.count()).select_from(table).where(*conditions)).scalar_one()
    query = sa.select(table).where(*conditions).order_by(table.c.created.desc(), table.c.id)
    rows = connection.execute(query.limit(size).offset((number - 1) * size)).all()
    return total, rows


def tagged(
    kind: TagKind, resource: sa.ColumnElement[Any], wanted: Iterable[TagFilter]
) -> list[sa.ColumnElement[bool]]:
    """Conditions that a resource carries every one of these tags."""
    tags = tables.tags.c
    found: list[sa.ColumnElement[bool]] = []
    for key, value in wanted:
        owned = sa.select(tags.resource_id).where(tags.kind == kind, tags.key == key)
        found.append(resource.in_(owned if value is None else owned.where(tags.value == value)))
    return found


def _among(column: sa.ColumnElement[Any], values: Sequence[Any]) -> list[sa.ColumnElement[bool]]:
    return [column.in_(values)] if values else []


def _equal(*pairs: tuple[sa.ColumnElement[Any], Any]) -> list[sa.ColumnElement[bool]]:
    return [column == value for column, value in pairs if value is not None]
