"""Each kind of value of a parameter or job field reads text and raises `WrongValue` if the text breaks its rule. Pure."""

from __future__ import annotations

import calendar
import json
import re
import time
from dataclasses import dataclass
from typing import Final

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}\Z")
_SHARE: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?%?\Z")
_NEVER: Final = 1e11  # seconds since the epoch
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class WrongValue(Exception):
    """A value breaks the rule of its kind. The value itself is not shown. `code`: the public API's, if it has one."""

    def __init__(self, name: str, rule: str, code: str = "") -> None:
        super().__init__(f"{name}: {rule}")
        self.name = name
        self.rule = rule
        self.code = code


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
            raise WrongValue(name, self.says)
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
            raise WrongValue(name, self.says)
        return int(text)


@dataclass(frozen=True, slots=True)
class Fraction:
    """A part of a whole, as `0.1%`, `100%` or a number from 0 to 1. It answers the number."""

    says: str = "a share: 0.1%, 100%, or a number from 0 to 1"

    def read(self, name: str, text: str) -> float:
        if _SHARE.match(text) is None:
            raise WrongValue(name, self.says)
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
        if share > 1.0:
            raise WrongValue(name, self.says)
        return share

    def shown(self, value: float) -> str:
        """The text form of a value, which `read` accepts."""
        digits = f"{value * 100:.9f}".rstrip("0").rstrip(".")
        return f"{digits}%"


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false in any case."""

    says: str = "true or false"

    def read(self, name: str, text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise WrongValue(name, self.says)
        return text.lower() == "true"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words, in the table's spelling."""

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
        spelling = spelled.get(text.lower() if self.any_case else text)
        if spelling is None:
            raise WrongValue(name, self.says, self.code)
        return spelling


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in ISO 8601 and UTC. It answers seconds since the epoch."""

    says: str = "yyyy-MM-ddTHH:mm:ssZ, in UTC"

    def read(self, name: str, text: str) -> float:
        for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ"):
            try:
                return float(calendar.timegm(time.strptime(text, form)))
            except (ValueError, OverflowError):
                continue
        raise WrongValue(name, self.says)

    def shown(self, value: float) -> str:
        """The text form; empty for a time that means never."""
        return "" if value >= _NEVER else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value))


@dataclass(frozen=True, slots=True)
class JsonText:
    """A JSON object with known keys, each an integer within its range. It answers the object."""

    most: int
    keys: tuple[tuple[str, int, int], ...]

    @property
    def says(self) -> str:
        keys = ", ".join(f"{key} {low}-{high}" for key, low, high in self.keys)
        return f"JSON object of at most {self.most} characters with the keys {keys}"

    def read(self, name: str, text: str) -> dict[str, int]:
        try:
            values = json.loads(text) if len(text) <= self.most else None
        except (ValueError, RecursionError):
            values = None
        ranges = {key: (low, high) for key, low, high in self.keys}
        if not isinstance(values, dict) or not set(values) <= set(ranges):
            raise WrongValue(name, self.says)
        for key, value in values.items():
            number = _number(value)
            if number is None or not ranges[key][0] <= number <= ranges[key][1]:
                raise WrongValue(name, self.says)
            values[key] = number
        return values


@dataclass(frozen=True, slots=True)
class ListOf:
    """`Name.1` to `Name.limit` of one kind."""

    item: Kind
    limit: int = 50
    unique: str = ""  # the code for a duplicate item; structures are compared by the field `by`
    by: str = ""


@dataclass(frozen=True, slots=True)
class Struct:
    """`Name.Field`."""

    fields: tuple[Parameter, ...]


Scalar = Text | Whole | Fraction | Flag | OneOf | Moment | JsonText
Kind = Scalar | ListOf | Struct


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of an operation's table."""

    name: str
    kind: Kind
    required: bool = False
    meaning: str = ""


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
