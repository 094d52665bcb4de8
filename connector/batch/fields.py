"""Fields of a job that a manifest says with one key of their own: `JOB_FIELDS` makes the keys and what they may hold. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from connector.batch import quantities
from connector.specification.fields import BY_NAME, JOB_FIELDS, JobField
from connector.specification.value import Flag, Fraction, OneOf, Whole, WrongValue

#: What the service has no word for is a key; the fields of the service stand in the manifest's own sections.
KEYED: Final = tuple(field for field in JOB_FIELDS if field.ours and field.parameter and field.key)

#: How a whole number of this unit is written in a manifest, and what reads it.
_WRITTEN: Final = {
    "seconds": (quantities.seconds, r"^[0-9]{1,9} ?[smhd]$"),
    "Mbit/s": (quantities.megabits, r"^[0-9]{1,9} ?(Mbit/s|Gbit/s)$"),
}


def keys() -> dict[str, Any]:
    """For each key its annotation and its default, as pydantic's `create_model` takes them."""
    return {field.key: (_annotation(field) | None, _absent(field)) for field in KEYED}


def asked(choices: Any) -> dict[str, Any]:
    """The parameters of the API. A field without a key is as its default, where the table has one."""
    wanted: dict[str, Any] = {}
    for field in KEYED:
        value = getattr(choices, field.key)
        if value is not None:
            wanted[field.name] = _parameter(field, value)
        elif field.default != "":
            wanted[field.name] = field.default
    return wanted


def in_keys(text: str) -> str:
    """A sentence of the API about fields, with the manifest's keys for them."""
    return _NAMES.sub(lambda match: BY_NAME[match[0]].key, text)


#: `RunOnce` is the opposite of its key, so its name stays.
_NAMES: Final = re.compile(
    rf"(?<![\w.])(?:{'|'.join(field.name for field in JOB_FIELDS if field.key and field.name != 'RunOnce')})(?![\w])"
)


def _absent(field: JobField) -> Any:
    return Field(default=None, description=field.help)


def _annotation(field: JobField) -> Any:
    kind = field.kind
    if isinstance(kind, Flag):
        return bool
    if isinstance(kind, OneOf):
        return Literal[kind.words]
    if isinstance(kind, Whole) and kind.unit not in _WRITTEN:
        return Annotated[int, Field(ge=kind.low, le=kind.high)]
    if isinstance(kind, Whole):
        pattern = _WRITTEN[kind.unit][1]
        return Annotated[str, AfterValidator(_checked(field)), Field(pattern=pattern)]
    return Annotated[str, AfterValidator(_checked(field))]


def _checked(field: JobField) -> Any:
    def same(text: str) -> str:
        try:
            _parameter(field, text)
        except WrongValue as wrong:
            raise ValueError(wrong.rule) from None
        return text

    return same


def _parameter(field: JobField, value: Any) -> Any:
    """The value as the API takes and echoes it. Raises `WrongValue`, and `ValueError` for a quantity that is none."""
    kind = field.kind
    if isinstance(kind, Whole) and kind.unit in _WRITTEN:
        value = _WRITTEN[kind.unit][0](value)
        return kind.read(field.name, str(value))
    if isinstance(kind, Fraction):
        return kind.shown(kind.read(field.name, value))
    return value
