"""The flat parameters of one call, read by name: `DataDisk.2.Size`, lists from 1, booleans in any case."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from simulator.cloud.codes import Refused, invalid, missing

#: Part of no operation; they change from one attempt at a call to the next.
_AROUND: Final = frozenset(
    {"ClientToken", "DryRun", "OwnerAccount", "OwnerId", "ResourceOwnerAccount", "ResourceOwnerId"}
)
_INDEX: Final = re.compile(r"[1-9][0-9]{0,3}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """The requested part of a list: a page number, or a token from which on to list."""

    number: int
    size: int
    by_token: bool = False

    def of(self, resources: list[T]) -> tuple[list[T], str]:
        """The page, and the token of the next one ("" at the end)."""
        start = (self.number - 1) * self.size
        more = start + self.size < len(resources)
        return resources[start : start + self.size], str(self.number + 1) if more else ""

    def heading(self, total: int, token: str) -> dict[str, Any]:
        """The fields of an answer about the whole list."""
        return {"TotalCount": total, "PageNumber": self.number, "PageSize": self.size, "NextToken": token}


class Parameters:
    """A call's parameters below `prefix`. An empty value counts as missing."""

    def __init__(self, parameters: Mapping[str, str], prefix: str = "") -> None:
        self._given = parameters
        self._prefix = prefix

    def text(self, name: str, default: str = "") -> str:
        return self._given.get(self._prefix + name) or default

    def need(self, name: str) -> str:
        """Raises Refused when it is missing."""
        text = self.text(name)
        if not text:
            raise missing(self._prefix + name)
        return text

    def whole(self, name: str, default: int = 0, low: int = 0, high: int = 1 << 40) -> int:
        text = self.text(name)
        if not text:
            return default
        if not text.isdecimal() or not low <= int(text) <= high:
            raise invalid(self._prefix + name, f"a number from {low} to {high}")
        return int(text)

    def number(self, name: str) -> float | None:
        text = self.text(name)
        try:
            return float(text) if text else None
        except ValueError:
            raise invalid(self._prefix + name, "a number") from None

    def flag(self, name: str, default: bool = False) -> bool:
        text = self.text(name).lower()
        if text not in ("", "true", "false"):
            raise invalid(self._prefix + name, "true or false")
        return text == "true" if text else default

    def items(self, name: str) -> list[Parameters]:
        """The structures `Name.1`, `Name.2` and so on."""
        return [Parameters(self._given, f"{self._prefix}{name}.{number}.") for number in self._numbers(name)]

    def texts(self, name: str) -> list[str]:
        """The values `Name.1`, `Name.2` and so on."""
        return [self._given[f"{self._prefix}{name}.{number}"] for number in self._numbers(name)]

    def _numbers(self, name: str) -> list[int]:
        start = f"{self._prefix}{name}."
        numbers = {key[len(start) :].partition(".")[0] for key in self._given if key.startswith(start)}
        if not all(_INDEX.fullmatch(number) for number in numbers):
            raise invalid(start, "numbered from 1")
        return sorted(map(int, numbers))

    def listed(self, name: str) -> list[str] | None:
        """A JSON array of texts, at most 100; None when it was not given."""
        text = self.text(name)
        if not text:
            return None
        try:
            items = json.loads(text)
        except ValueError:
            items = None
        if (
            not isinstance(items, list)
            or len(items) > 100
            or not all(isinstance(item, str) for item in items)
        ):
            raise invalid(self._prefix + name, "a JSON array of at most 100 strings")
        return items

    def tags(self) -> dict[str, str]:
        """`Tag.N.Key` and `Tag.N.Value`, or `Tag.N.value` as some operations spell it."""
        tags: dict[str, str] = {}
        for tag in self.items("Tag"):
            key = tag.text("Key") or tag.text("key")
            if not key or len(key) > 128 or key.lower().startswith(("aliyun", "acs:")):
                raise invalid("Tag.N.Key", "1 to 128 characters, not beginning with aliyun or acs:")
            tags[key] = tag.text("Value") or tag.text("value")
        if len(tags) > 20:
            raise Refused("TagLimitExceeded")
        return tags

    def page(self, most: int = 100) -> Page:
        """Raises Refused for a page that cannot be."""
        token, maximum = self.text("NextToken"), self.whole("MaxResults", 0, 1, most)
        if token or maximum:
            if token and not token.isdecimal():
                raise invalid("NextToken", "a token of an earlier answer")
            return Page(int(token or 1), maximum or 10, True)
        return Page(self.whole("PageNumber", 1, 1), self.whole("PageSize", 10, 1, most))

    def fingerprint(self) -> str:
        """A digest that is equal for two attempts at the same call."""
        relevant = sorted((name, value) for name, value in self._given.items() if name not in _AROUND)
        return hashlib.sha256(json.dumps(relevant).encode()).hexdigest()

    def target(self) -> str:
        """The object of a call for fault rules: an id, or the type and zone of a new instance."""
        if kind := self.text("InstanceType"):
            return f"{kind}@{self.text('ZoneId')}"
        names = (
            "InstanceId",
            "DiskId",
            "SnapshotId",
            "ImageId",
            "SecurityGroupId",
            "VSwitchId",
            "VpcId",
            "ImageName",
        )
        return next((target for name in names if (target := self.text(name))), "")
