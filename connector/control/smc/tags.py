"""The operations on tags of sources and jobs."""

from __future__ import annotations

import base64
import json
from typing import Final

from connector.control.domain.access import Role
from connector.control.domain.entities import TagKind
from connector.control.smc import shapes
from connector.control.smc.catalogue import Denied, invalid, missing
from connector.control.smc.operations import Answer, Caller, Operation
from connector.control.smc.parameters import Values
from connector.control.smc.sources import tag_filters
from connector.control.store import Store
from connector.specification import kinds
from connector.specification.value import Flag, ListOf, Parameter, Struct, Text

_TYPE: Final = Parameter("ResourceType", kinds.RESOURCE_TYPE, required=True)
_IDS: Final = ListOf(kinds.ID, 50, "Duplicate.ResourceId")
_SOME: Final = Parameter("ResourceId", _IDS, required=True)
_PAGE: Final = 50

TAG: Final = (_TYPE, _SOME, Parameter("Tag", kinds.tags(), required=True))
UNTAG: Final = (
    _TYPE,
    _SOME,
    Parameter("TagKey", ListOf(Text(1, 128), 20), meaning="in their case"),
    Parameter("All", Flag(), meaning="every tag; only without TagKey; default false"),
)
LIST: Final = (
    _TYPE,
    Parameter("ResourceId", _IDS),
    Parameter(
        "Tag",
        ListOf(
            Struct((Parameter("Key", Text(0, 128)), Parameter("Value", Text(0, 128)))),
            20,
        ),
        meaning="all of them must match; a key alone matches any value",
    ),
    Parameter("NextToken", Text(1, 512), meaning="where the page before this one ended"),
)


class TagOperations:
    """Tags, page by page."""

    def __init__(self, store: Store) -> None:
        self._tags = store.tags

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            Operation("TagResources", TAG, Role.OPERATOR, self._tag, "attach tags", "ResourceId"),
            Operation("UntagResources", UNTAG, Role.OPERATOR, self._untag, "take tags off", "ResourceId"),
            Operation("ListTagResources", LIST, Role.READER, self._list, "list tags"),
        )

    def _tag(self, _caller: Caller, values: Values) -> Answer:
        tags = {tag["Key"]: tag.get("Value", "") for tag in values["Tag"]}
        self._tags.put(TagKind(values["ResourceType"]), values["ResourceId"], tags)
        return {}

    def _untag(self, _caller: Caller, values: Values) -> Answer:
        keys, everything = values.get("TagKey", []), values.get("All", False)
        if keys and everything:
            raise invalid("All", "true only without TagKey")
        if not keys and not everything:
            raise missing("TagKey")
        self._tags.remove(TagKind(values["ResourceType"]), values["ResourceId"], keys, everything=everything)
        return {}

    def _list(self, _caller: Caller, values: Values) -> Answer:
        if any(not tag.get("Key") for tag in values.get("Tag", [])):
            raise Denied("InvalidParameter.TagValue", "A tag value is given without its key.")
        matches = self._tags.search(
            TagKind(values["ResourceType"]),
            values.get("ResourceId", ()),
            tag_filters(values),
            after=_opened(values["NextToken"]) if "NextToken" in values else None,
            limit=_PAGE + 1,
        )
        page = matches[:_PAGE]
        more = _sealed(page[-1].resource_id, page[-1].key) if len(matches) > _PAGE else ""
        resources = [shapes.tag_resource(tag) for tag in page]
        return {"NextToken": more, **shapes.wrapped("TagResources", "TagResource", resources)}


def _sealed(resource: str, key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([resource, key]).encode()).decode()


def _opened(token: str) -> tuple[str, str]:
    try:
        resource, key = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise invalid("NextToken", "as the page before answered it") from None
    if not isinstance(resource, str) or not isinstance(key, str):
        raise invalid("NextToken", "as the page before answered it")
    return kinds.ID.read("NextToken", resource), kinds.WORD.read("NextToken", key)
