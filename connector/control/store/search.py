"""Sources and jobs are searched by exact conditions, page by page. `Scope` finds what belongs to some workgroups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa

from connector.control.domain.entities import TagKind
from connector.control.store import tables
from connector.control.store.database import Database
from connector.specification.kinds import LOCAL_REGION

SOURCE: Final = "source"
JOB: Final = "job"
GROUP: Final = "group"
APPLIANCE: Final = "appliance"
TOKEN: Final = "token"  # noqa: S105 - a kind of thing

_OWNED: Final = {SOURCE: tables.sources, APPLIANCE: tables.appliances, TOKEN: tables.access_tokens}


class Scope:
    """Finds the sources, jobs, appliances and activation codes of workgroups. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ids(self, kind: str, workgroups: Collection[str]) -> set[str]:
        """Ids of this kind that belong to these workgroups."""
        if kind == GROUP:
            return set(workgroups)
        with self._database.read() as connection:
            return {str(row_id) for row_id in connection.execute(_query(kind, workgroups)).scalars()}

    def shared_cutover(self, job_id: str, workgroups: Collection[str]) -> str:
        """The application whose cutover this job is in, if jobs outside these workgroups are in it too; else empty."""
        own, others = tables.runs.alias("own"), tables.runs.alias("others")
        query = (
            sa.select(tables.jobs.c.application)
            .join(own, own.c.job_id == tables.jobs.c.id)
            .join(others, others.c.cohort == own.c.cohort)
            .where(tables.jobs.c.id == job_id, tables.jobs.c.cutover, own.c.ended.is_(None))
            .where(others.c.job_id.not_in(_query(JOB, workgroups)))
        )
        with self._database.read() as connection:
            return str(connection.execute(query.limit(1)).scalar_one_or_none() or "")


def _query(kind: str, workgroups: Collection[str]) -> sa.Select[tuple[str]]:
    if kind == JOB:
        sources = _query(SOURCE, workgroups)
        return sa.select(tables.jobs.c.id).where(tables.jobs.c.source_id.in_(sources))
    table = _OWNED[kind]
    return sa.select(table.c.id).where(table.c.workgroup_id.in_(list(workgroups)))


Row = TypeVar("Row")

#: A tag to search for. The value None matches any value.
TagFilter = tuple[str, str | None]

#: With so many matches or more, reading all rows newest first finds the newest matches fastest.
_MANY: Final = 300


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[Row]):
    """One page of the matches. `total` counts all matches."""

    total: int
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """Which sources match. `job_id`: the last job. `job_types`: of any job. `part`: part of the name, in any case."""

    ids: Sequence[str] = ()
    name: str | None = None
    state: str | None = None
    job_id: str | None = None
    job_types: Sequence[int] = ()
    workgroup_id: str | None = None
    resource_group: str | None = None
    tags: Sequence[TagFilter] = ()
    morefs: Sequence[str] = ()
    part: str = ""

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Everything but the tags."""
        c = tables.sources.c
        conditions = [c.state != "Deleted", *_among(c.id, self.ids), *_among(c.moref, self.morefs)]
        conditions += _equal(
            (c.name, self.name),
            (c.state, self.state),
            (c.last_job, self.job_id),
            (c.workgroup_id, self.workgroup_id),
            (c.resource_group, self.resource_group),
        )
        if self.part:
            conditions.append(c.name.icontains(self.part, autoescape=True))
        if self.job_types:
            jobs = tables.jobs.c
            conditions.append(
                sa.exists()
                .where(jobs.source_id == c.id, jobs.job_type.in_(self.job_types))
                .correlate(c.id.table)
            )
        return conditions


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs match. Deleted jobs never do; the status "Deleting" finds jobs that are being removed.

    A job without a region, or of a cloud with only one, matches every region: old SDKs name theirs in every request.
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
    part: str = ""  # part of the name, in any case

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Everything but the tags."""
        c = tables.jobs.c
        conditions = [c.status != "Deleted", *_among(c.id, self.ids), *_among(c.source_id, self.source_ids)]
        conditions += _among(c.target_instance, self.target_instances)
        conditions += _equal(
            (c.name, self.name),
            (c.status, self.status),
            (c.business, self.business),
            (c.job_type, self.job_type),
            (c.resource_group, self.resource_group),
        )
        if self.part:
            conditions.append(c.name.icontains(self.part, autoescape=True))
        if self.region is not None:
            conditions.append(c.region.in_((self.region, LOCAL_REGION, "")))
        return conditions


def page(
    connection: sa.Connection, table: sa.Table, wanted: SourceFilter | JobFilter, number: int, size: int
) -> tuple[int, Sequence[Any]]:
    """How many rows match, and the rows of page `number` (from 1), newest first.

    First the page's ids are found, then its rows, so that a late page reads no row that it skips.
    """
    kind = TagKind.SOURCE if isinstance(wanted, SourceFilter) else TagKind.JOB
    total = connection.execute(_counting(table, kind, wanted)).scalar_one()
    newest = (table.c.created.desc(), table.c.id.desc())
    carries = tagged(kind, table.c.id, wanted.tags, many=total > _MANY)
    ids = sa.select(table.c.id).where(*wanted.conditions(), *carries).order_by(*newest)
    page_ids = list(connection.execute(ids.limit(size).offset((number - 1) * size)).scalars())
    rows = connection.execute(sa.select(table).where(table.c.id.in_(page_ids)).order_by(*newest)).all()
    return total, rows


def tagged(
    kind: TagKind, resource: sa.ColumnElement[Any], wanted: Iterable[TagFilter], *, many: bool = False
) -> list[sa.ColumnElement[bool]]:
    """Conditions that a resource has all of these tags.

    When `many` have them, checking the newest resources one by one is faster than collecting all.
    """
    tags = tables.tags.c
    if many:
        return [
            sa.exists().where(tags.resource_id == resource, *_owned(kind, tag)).correlate(resource.table)
            for tag in wanted
        ]
    return [resource.in_(sa.select(tags.resource_id).where(*_owned(kind, tag))) for tag in wanted]


def _counting(table: sa.Table, kind: TagKind, wanted: SourceFilter | JobFilter) -> sa.Select[int]:
    """The query that counts the matches. Deleted objects have no tags, so for tags alone it counts the tags."""
    count, conditions = sa.select(sa.func.count()), wanted.conditions()
    if len(wanted.tags) == 1 and len(conditions) == 1:
        return count.select_from(tables.tags).where(*_owned(kind, wanted.tags[0]))
    return count.select_from(table).where(*conditions, *tagged(kind, table.c.id, wanted.tags))


def _owned(kind: TagKind, tag: TagFilter) -> list[sa.ColumnElement[bool]]:
    tags, (key, value) = tables.tags.c, tag
    return [tags.kind == kind, tags.key == key, *([] if value is None else [tags.value == value])]


def _among(column: sa.ColumnElement[Any], values: Sequence[Any]) -> list[sa.ColumnElement[bool]]:
    return [column.in_(values)] if values else []


def _equal(*pairs: tuple[sa.ColumnElement[Any], Any]) -> list[sa.ColumnElement[bool]]:
    return [column == value for column, value in pairs if value is not None]
