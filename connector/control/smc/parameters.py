"""One strict parser turns flat text into typed values, by tables of parameters. A parameter of no table is refused. Pure.

Lists come as `Name.1`, `Name.2`, structures as `Name.Field`. An empty value counts as absent, unless its kind allows
empty text. The parser raises only `Denied`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connector.control.smc.catalogue import Denied, invalid, missing
from connector.specification.value import Kind, ListOf, OneOf, Parameter, Scalar, Struct, Text, WrongValue

#: Typed values by parameter name, without parameters that the request does not have.
Values = dict[str, Any]

#: Accepted on every operation and ignored: legacy account fields, and the region that old SDKs always add.
TOLERATED: Final = frozenset(
    {"OwnerAccount", "OwnerId", "RegionId", "ResourceOwnerAccount", "ResourceOwnerId"}
)

_INDEX: Final = re.compile(r"[1-9][0-9]{0,3}\Z")


def parse(table: Sequence[Parameter], texts: Mapping[str, str]) -> Values:
    """The values of one request. Raises `Denied` for the first mistake."""
    remaining = dict(texts)
    values = _fields(table, "", remaining)
    if unknown := sorted(remaining.keys() - TOLERATED):
        raise Denied("UnknownParameter", f"The operation has no parameter {_shown(unknown[0])}.")
    return values


def _fields(table: Sequence[Parameter], prefix: str, remaining: dict[str, str]) -> Values:
    values: Values = {}
    for parameter in table:
        name = f"{prefix}{parameter.name}"
        value = _take(parameter.kind, name, remaining)
        if value is None and parameter.required:
            raise missing(name)
        if value is not None:
            values[parameter.name] = value
    return values


def _take(kind: Kind, name: str, remaining: dict[str, str]) -> Any:
    """Take the value of `name` out of `remaining`; None if it is absent."""
    if isinstance(kind, ListOf):
        return _list(kind, name, remaining)
    if isinstance(kind, Struct):
        if not any(key.startswith(f"{name}.") for key in remaining):
            return None
        return _fields(kind.fields, f"{name}.", remaining)
    text = remaining.pop(name, None)
    if text is None:
        return None
    if text == "" and not _may_be_empty(kind):
        return None
    return read(kind, name, text)


def read(kind: Scalar, name: str, text: str) -> Any:
    """One value. Raises `Denied` if it breaks the rule of its kind."""
    try:
        return kind.read(name, text)
    except WrongValue as wrong:
        if wrong.code:
            raise Denied(wrong.code, f"The specified {name} is not found: {wrong.rule}.") from None
        raise invalid(name, wrong.rule) from None


def _list(kind: ListOf, name: str, remaining: dict[str, str]) -> list[Any] | None:
    numbers = {
        key[len(name) + 1 :].partition(".")[0]: None for key in remaining if key.startswith(f"{name}.")
    }
    if not numbers:
        return None
    if any(_INDEX.match(number) is None for number in numbers):
        raise invalid(name, "a list is numbered from 1")
    if len(numbers) > kind.limit:
        last = name.rpartition(".")[2]
        plural = {"Tag": "Tags", "ResourceId": "ResourceIds"}.get(last, last)
        raise Denied(f"NumberExceed.{plural}", f"{name} may have at most {kind.limit} items.")
    items = [_take(kind.item, f"{name}.{number}", remaining) for number in sorted(numbers, key=int)]
    if None in items:
        raise invalid(name, "an item of the list is empty")
    if kind.unique:
        keys = [item.get(kind.by) if kind.by else item for item in items]
        if len(set(keys)) < len(keys):
            raise Denied(kind.unique, f"{name} holds an item twice.")
    return items


def _may_be_empty(kind: Scalar) -> bool:
    return (isinstance(kind, Text) and kind.least == 0) or (isinstance(kind, OneOf) and "" in kind.words)


def _shown(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "?", name)[:80]
