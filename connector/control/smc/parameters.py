"""Flat text in, typed values out: one strict parser over tables of parameters. Pure; raises `Denied` and nothing else.

Lists arrive as `Name.1`, `Name.2`, structures as `Name.Field`. An empty value counts as absent, unless its kind allows
empty text. What no table names is refused.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.control.smc.catalogue import Denied, invalid, missing

#: Typed values by parameter name; a parameter that was not given is not there.
Values = dict[str, Any]

#: Accepted on every operation and ignored: legacy account fields, and the region that old SDKs always add.
TOLERATED: Final = frozenset(
    {"OwnerAccount", "OwnerId", "RegionId", "ResourceOwnerAccount", "ResourceOwnerId"}
)

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}\Z")
_INDEX: Final = re.compile(r"[1-9][0-9]{0,3}\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """Text of `least` to `most` characters; `pattern` must match all of it."""

    least: int = 1
    most: int = 256
    pattern: str = ""
    rule: str = ""
    no_prefix: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        return f"{self.least}-{self.most} characters" + (f", {self.rule}" if self.rule else "")

    def read(self, name: str, text: str) -> str:
        bad = (
            not self.least <= len(text) <= self.most
            or _CONTROL.search(text) is not None
            or text.lower().startswith(self.no_prefix)
            or (self.pattern and re.fullmatch(self.pattern, text) is None)
        )
        if bad:
            raise invalid(name, self.says)
        return text


@dataclass(frozen=True, slots=True)
class Whole:
    """A decimal integer from `low` to `high`."""

    low: int = 0
    high: int = (1 << 63) - 1
    unit: str = ""

    @property
    def says(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"integer from {self.low}{unit}" + (f" to {self.high}" if self.high < 1 << 62 else "")

    def read(self, name: str, text: str) -> int:
        if _WHOLE.match(text) is None or not self.low <= int(text) <= self.high:
            raise invalid(name, self.says)
        return int(text)


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false in any case."""

    says: str = "true or false"

    def read(self, name: str, text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise invalid(name, self.says)
        return text.lower() == "true"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words; answers it as the table spells it."""

    words: tuple[str, ...]
    any_case: bool = False
    aliases: tuple[tuple[str, str], ...] = ()
    code: str = ""

    @property
    def says(self) -> str:
        return f"one of {', '.join(word or '(empty)' for word in self.words)}"

    def read(self, name: str, text: str) -> str:
        spelled = {word: word for word in self.words} | dict(self.aliases)
        if self.any_case:
            spelled = {key.lower(): word for key, word in spelled.items()}
        found = spelled.get(text.lower() if self.any_case else text)
        if found is None and self.code:
            raise Denied(self.code, f"The specified {name} is not found: {self.says}.")
        if found is None:
            raise invalid(name, self.says)
        return found


@dataclass(frozen=True, slots=True)
class Moment:
    """ISO 8601 in UTC; answers seconds since the epoch."""

    says: str = "yyyy-MM-ddTHH:mm:ssZ, in UTC"

    def read(self, name: str, text: str) -> float:
        for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ"):
            try:
                return float(calendar.timegm(time.strptime(text, form)))
            except (ValueError, OverflowError):
                continue
        raise invalid(name, self.says)


@dataclass(frozen=True, slots=True)
class JsonText:
    """A JSON object with known keys, each an integer within its range; answers the object."""

    most: int
    keys: tuple[tuple[str, int, int], ...]

    @property
    def says(self) -> str:
        keys = ", ".join(f"{key} {low}-{high}" for key, low, high in self.keys)
        return f"JSON object of at most {self.most} characters with the keys {keys}"

    def read(self, name: str, text: str) -> dict[str, int]:
        try:
            found = json.loads(text) if len(text) <= self.most else None
        except (ValueError, RecursionError):
            found = None
        ranges = {key: (low, high) for key, low, high in self.keys}
        if not isinstance(found, dict) or not set(found) <= set(ranges):
            raise invalid(name, self.says)
        for key, value in found.items():
            number = _number(value)
            if number is None or not ranges[key][0] <= number <= ranges[key][1]:
                raise invalid(name, self.says)
            found[key] = number
        return found


@dataclass(frozen=True, slots=True)
class ListOf:
    """`Name.1` to `Name.limit` of one kind."""

    item: Kind
    limit: int = 50
    unique: str = ""  # the code for an item that comes twice; its key is `by` when items are structures
    by: str = ""


@dataclass(frozen=True, slots=True)
class Struct:
    """`Name.Field`."""

    fields: tuple[Parameter, ...]


Scalar = Text | Whole | Flag | OneOf | Moment | JsonText
Kind = Scalar | ListOf | Struct


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of an operation's table."""

    name: str
    kind: Kind
    required: bool = False
    meaning: str = ""


def parse(table: Sequence[Parameter], given: Mapping[str, str]) -> Values:
    """The values of one request; raises `Denied` for the first thing that is wrong."""
    left = dict(given)
    values = _fields(table, "", left)
    if unknown := sorted(left.keys() - TOLERATED):
        raise Denied("UnknownParameter", f"The operation has no parameter {_shown(unknown[0])}.")
    return values


def _fields(table: Sequence[Parameter], prefix: str, left: dict[str, str]) -> Values:
    values: Values = {}
    for parameter in table:
        name = f"{prefix}{parameter.name}"
        found = _take(parameter.kind, name, left)
        if found is None and parameter.required:
            raise missing(name)
        if found is not None:
            values[parameter.name] = found
    return values


def _take(kind: Kind, name: str, left: dict[str, str]) -> Any:
    """The value under `name`, removed from `left`; None when it is not there."""
    if isinstance(kind, ListOf):
        return _list(kind, name, left)
    if isinstance(kind, Struct):
        if not any(key.startswith(f"{name}.") for key in left):
            return None
        return _fields(kind.fields, f"{name}.", left)
    text = left.pop(name, None)
    if text is None:
        return None
    if text == "" and not _may_be_empty(kind):
        return None
    return kind.read(name, text)


def _list(kind: ListOf, name: str, left: dict[str, str]) -> list[Any] | None:
    numbers = {key[len(name) + 1 :].partition(".")[0]: None for key in left if key.startswith(f"{name}.")}
    if not numbers:
        return None
    if any(_INDEX.match(number) is None for number in numbers):
        raise invalid(name, "a list is numbered from 1")
    if len(numbers) > kind.limit:
        last = name.rpartition(".")[2]
        plural = {"Tag": "Tags", "ResourceId": "ResourceIds"}.get(last, last)
        raise Denied(f"NumberExceed.{plural}", f"{name} may have at most {kind.limit} items.")
    items = [_take(kind.item, f"{name}.{number}", left) for number in sorted(numbers, key=int)]
    if None in items:
        raise invalid(name, "an item of the list is empty")
    if kind.unique:
        keys = [item.get(kind.by) if kind.by else item for item in items]
        if len(set(keys)) < len(keys):
            raise Denied(kind.unique, f"{name} holds an item twice.")
    return items


def _may_be_empty(kind: Scalar) -> bool:
    return (isinstance(kind, Text) and kind.least == 0) or (isinstance(kind, OneOf) and "" in kind.words)


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    if isinstance(value, str) and _WHOLE.match(value):
        return int(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return int(value.lower() == "true")
    return None


def _shown(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "?", name)[:80]
