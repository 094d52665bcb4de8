"""`JOB_FIELDS` makes the manifest's keys for job fields that have their own key, with types and bounds. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from connector.batch import quantities
from connector.specification.fields import BY_NAME, JOB_FIELDS, JobField
from connector.specification.value import Flag, Fraction, OneOf, Whole, WrongValue

#: Our own fields are keys. The fields of the service are in the manifest's sections.
KEYED: Final = tuple(field for field in JOB_FIELDS if field.ours and field.parameter and field.key)

#: The form of a whole number of each unit in a manifest, and the function that reads it.
_WRITTEN: Final = {
    "seconds": (quantities.seconds, r"^[0-9]{1,9} ?[smhd]$"),
    "Mbit/s": (quantities.megabits, r"^[0-9]{1,9} ?(Mbit/s|Gbit/s)$"),
}


def keys() -> dict[str, Any]:
    """The annotation and the default of each key, for pydantic's `create_model`."""
    return {field.key: (_annotation(field) | None, _absent(field)) for field in KEYED}


def asked(choices: Any) -> dict[str, Any]:
    """The parameters of the API. A field without a key has its default, if the table has one."""
    parameters: dict[str, Any] = {}
    for field in KEYED:
        value = getattr(choices, field.key)
        if value is not None:
            parameters[field.name] = _parameter(field, value)
        elif field.default != "":
            parameters[field.name] = field.default
    return parameters


def in_keys(text: str) -> str:
    """A sentence of the API about fields, with the manifest's keys instead."""
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
    """The value as the API takes and echoes it. Raises `WrongValue`, and `ValueError` for a bad quantity."""
    kind = field.kind
    if isinstance(kind, Whole) and kind.unit in _WRITTEN:
        value = _WRITTEN[kind.unit][0](value)
        return kind.read(field.name, str(value))
    if isinstance(kind, Fraction):
        return kind.shown(kind.read(field.name, value))
    return value
