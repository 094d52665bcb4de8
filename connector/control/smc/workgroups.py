"""The operations on workgroups: sources that belong together."""

from __future__ import annotations

from typing import Final

from connector.control.domain.access import Role
from connector.control.domain.entities import GroupStatus, TagKind
from connector.control.smc import shapes
from connector.control.smc.operations import Answer, Caller, Operation, Work
from connector.control.smc.parameters import Values
from connector.control.smc.sources import paging, tag_filters
from connector.control.store import Store
from connector.specification import kinds
from connector.specification.value import ListOf, OneOf, Parameter

_GROUP: Final = Parameter("WorkgroupId", kinds.ID, required=True)
_SOURCES: Final = Parameter("SourceId", ListOf(kinds.ID, 50), required=True)

CREATE: Final = (
    Parameter("Name", kinds.GROUP_NAME, required=True, meaning="unique"),
    Parameter("Description", kinds.GROUP_DESCRIPTION),
    Parameter("ClientToken", kinds.TOKEN, meaning="the same token answers the same workgroup"),
    Parameter("Tag", kinds.tags(value_may_be_empty=False, required=True)),
)
DESCRIBE: Final = (
    Parameter("WorkgroupId", ListOf(kinds.ID, 50)),
    Parameter("Name", kinds.WORD, meaning="exact"),
    Parameter("Status", OneOf(tuple(GroupStatus))),
    kinds.TAG_FILTER,
    *kinds.PAGE,
)
MODIFY: Final = (
    _GROUP,
    Parameter("Name", kinds.GROUP_NAME),
    Parameter("Description", kinds.GROUP_DESCRIPTION),
)


class WorkgroupOperations:
    """Workgroups and their sources."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups = store.workgroups

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            Operation("DescribeWorkgroups", DESCRIBE, Role.READER, self._describe, "list workgroups"),
            _changing("CreateWorkgroup", CREATE, self._create, "make a workgroup"),
            _changing("ModifyWorkgroupAttribute", MODIFY, self._modify, "change name and description"),
            _changing("DeleteWorkgroup", (_GROUP,), self._delete, "delete an empty workgroup"),
            _changing("AssociateSourceServers", (_GROUP, _SOURCES), self._associate, "put sources in"),
            _changing(
                "DisassociateSourceServers", (_GROUP, _SOURCES), self._disassociate, "take sources out"
            ),
        )

    def _create(self, _caller: Caller, values: Values) -> Answer:
        group = self._groups.create(
            values["Name"],
            values.get("Description", ""),
            tags_={tag["Key"]: tag["Value"] for tag in values.get("Tag", [])},
            client_token=values.get("ClientToken"),
        )
        return {"WorkgroupId": group.id}

    def _describe(self, _caller: Caller, values: Values) -> Answer:
        number, size = paging(values)
        page = self._groups.page(
            number,
            size,
            ids=values.get("WorkgroupId", ()),
            name=values.get("Name"),
            status=values.get("Status"),
            tags_=tag_filters(values),
        )
        tags = self._store.tags.of(TagKind.GROUP, [row.id for row in page.rows])
        answers = [shapes.workgroup(row, tags[row.id]) for row in page.rows]
        return shapes.page("Workgroups", "Workgroup", answers, page.total, number, size)

    def _modify(self, _caller: Caller, values: Values) -> Answer:
        self._groups.modify(
            values["WorkgroupId"], name=values.get("Name"), description=values.get("Description")
        )
        return {}

    def _delete(self, _caller: Caller, values: Values) -> Answer:
        self._groups.delete(values["WorkgroupId"])
        return {}

    def _associate(self, _caller: Caller, values: Values) -> Answer:
        self._groups.associate(values["WorkgroupId"], values["SourceId"])
        return {}

    def _disassociate(self, _caller: Caller, values: Values) -> Answer:
        self._groups.disassociate(values["WorkgroupId"], values["SourceId"])
        return {}


def _changing(name: str, parameters: tuple[Parameter, ...], work: Work, meaning: str) -> Operation:
    return Operation(name, parameters, Role.OPERATOR, work, meaning, "WorkgroupId")
