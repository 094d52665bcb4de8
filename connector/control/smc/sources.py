"""The operations on migration sources translate requests into calls of the store and of `JobService`."""

from __future__ import annotations

from typing import Final

from connector.control.domain.access import Role
from connector.control.domain.entities import TagKind
from connector.control.domain.sources import SourceState
from connector.control.service.jobs import JobService
from connector.control.smc import shapes
from connector.control.smc.operations import Answer, Caller, Operation
from connector.control.smc.parameters import Values
from connector.control.store.search import SourceFilter, TagFilter
from connector.specification import kinds
from connector.specification.value import Flag, ListOf, OneOf, Parameter

_STATES: Final = tuple(str(state) for state in SourceState if state is not SourceState.DELETED)
_SOURCE: Final = Parameter("SourceId", kinds.ID, required=True)
_TYPES: Final = OneOf(("0", "1", "2", "3"))

DESCRIBE: Final = (
    Parameter("SourceId", ListOf(kinds.ID, 50)),
    Parameter("Name", kinds.WORD, meaning="exact"),
    Parameter("State", OneOf(_STATES)),
    Parameter("JobId", kinds.WORD, meaning="the source's last job"),
    Parameter("RelatedJobType", ListOf(_TYPES, 4), meaning="types of jobs that the source has had"),
    Parameter("WorkgroupId", kinds.WORD),
    Parameter("ResourceGroupId", kinds.WORD),
    kinds.TAG_FILTER,
    *kinds.PAGE,
)
MODIFY: Final = (
    _SOURCE,
    Parameter("Name", kinds.NAME, meaning="unique"),
    Parameter("Description", kinds.LONG_DESCRIPTION),
)
DELETE: Final = (
    _SOURCE,
    Parameter("Force", Flag(), meaning="delete its job too; default false"),
)


class SourceOperations:
    """The operations on migration sources."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._store = service.store

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            Operation("DescribeSourceServers", DESCRIBE, Role.READER, self._describe, "list sources"),
            Operation(
                "ModifySourceServerAttribute",
                MODIFY,
                Role.OPERATOR,
                self._modify,
                "change a source's name and description",
                "SourceId",
            ),
            Operation(
                "DeleteSourceServer",
                DELETE,
                Role.OPERATOR,
                self._delete,
                "delete a source; a rescan registers its machine as a new source",
                "SourceId",
            ),
        )

    def _describe(self, _caller: Caller, values: Values) -> Answer:
        number, size = paging(values)
        condition = SourceFilter(
            ids=values.get("SourceId", ()),
            name=values.get("Name"),
            state=values.get("State"),
            job_id=values.get("JobId"),
            job_types=[int(kind) for kind in values.get("RelatedJobType", ())],
            workgroup_id=values.get("WorkgroupId"),
            resource_group=values.get("ResourceGroupId"),
            tags=tag_filters(values),
        )
        page = self._store.sources.page(condition, number, size)
        tags = self._store.tags.of(TagKind.SOURCE, [row.id for row in page.rows])
        versions = {
            a.vcenter: a.version for a in sorted(self._store.appliances.all(), key=lambda a: a.heartbeat)
        }
        within = {key for row in page.rows for key in (row.last_job, row.workgroup_id) if key}
        names = self._store.overview.names(within)
        answers = [
            shapes.source(row, tags[row.id], versions.get(row.vcenter, ""), names) for row in page.rows
        ]
        return shapes.page("SourceServers", "SourceServer", answers, page.total, number, size)

    def _modify(self, _caller: Caller, values: Values) -> Answer:
        self._store.sources.modify(
            values["SourceId"], name=values.get("Name"), description=values.get("Description")
        )
        return {}

    def _delete(self, _caller: Caller, values: Values) -> Answer:
        self._service.delete_source(values["SourceId"], force=values.get("Force", False))
        return {}


def paging(values: Values) -> tuple[int, int]:
    """Number and size of the page."""
    return values.get("PageNumber", 1), values.get("PageSize", 10)


def tag_filters(values: Values) -> list[TagFilter]:
    """The tags that a resource must have. A tag without a value matches any value."""
    return [(tag["Key"], tag.get("Value")) for tag in values.get("Tag", [])]
