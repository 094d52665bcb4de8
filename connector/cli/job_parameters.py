"""Each field of a job that has an option becomes a parameter of the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from connector.errors import BadInput
from connector.specification.fields import BY_NAME, JOB_FIELDS, JobField
from connector.specification.value import Flag, Fraction, ListOf, OneOf, Struct, Whole, WrongValue

#: Fields whose options the commands define themselves, because they are more than a value.
_OWN: Final = ("RegionId", "Tag")
_OTHERS: Final = click.option(
    "--set",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other parameter of the API, by its name there. Repeatable.",
)


class FieldType(click.ParamType[str]):
    """Text that the kind of a field accepts. It is sent as it was typed."""

    def __init__(self, field: JobField) -> None:
        self.name = field.metavar.lower() or "text"
        self._field = field

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        kind = self._field.kind
        if not isinstance(kind, ListOf | Struct):
            try:
                kind.read(self._field.option, text)
            except WrongValue as wrong:
                self.fail(wrong.rule, param, ctx)
        return text


def field_options(*, new: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of the fields: all for a `new` job, those that can change for an existing one."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = _OTHERS(command)
        for field in reversed(JOB_FIELDS):
            if field.option and field.name not in _OWN and (new or field.changes):
                command = _option(field)(command)
        return command

    return add


#: Fields that other options of `connector migrate` set, and one that its jobs cannot have: they make images.
_IMPLIED: Final = ("OnDemand", "ImageFormat", "StopTargetInstance")
#: Our own fields that may change before each run: `connector migrate` has options for them.
OF_MIGRATIONS: Final = tuple(
    field
    for field in JOB_FIELDS
    if field.ours and field.option and "Waiting" in field.changes and field.name not in _IMPLIED
)


def migration_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `OF_MIGRATIONS`."""
    for field in reversed(OF_MIGRATIONS):
        command = _option(field)(command)
    return command


def as_echoed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the API echoes them, for the comparison with an existing job."""
    return {name: _echo(BY_NAME[name], value) for name, value in values.items() if value is not None}


def _echo(field: JobField, value: Any) -> Any:
    if isinstance(field.kind, Whole):
        return int(value)
    if isinstance(field.kind, Fraction):
        return field.kind.shown(field.kind.read(field.option, value))
    return value


def definition(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters for `fields` and `others`, without fields that have no value."""
    parameters = {
        name: value
        for name, value in fields.items()
        if name != "others" and value is not None and value != ()
    }
    parts: dict[str, dict[str, int]] = {}
    for name in [name for name in parameters if BY_NAME[name].part_of]:
        parts.setdefault(BY_NAME[name].part_of, {})[name] = int(parameters.pop(name))
    parameters |= {name: json.dumps(values, separators=(",", ":")) for name, values in parts.items()}
    if "DataDisk" in parameters:
        pairs = [_pair("--data-disk", word) for word in parameters["DataDisk"]]
        parameters["DataDisk"] = [{"Index": index, "Size": size} for index, size in pairs]
    if parameters.get("VSwitchId"):
        parameters["NetMode"] = 2
    if parameters.get("InstanceId"):
        parameters["TargetType"] = "TargetInstance"
    return parameters | dict(_pair("--set", word) for word in fields.get("others", ()))


def with_other_parts(
    changes: Mapping[str, Any], values: Mapping[str, Any], present: Mapping[str, Any]
) -> dict[str, Any]:
    """The changes. A parameter of which only a part is in `values` keeps the job's other parts."""
    merged = dict(changes)
    for name in {
        BY_NAME[part].part_of for part, value in values.items() if part != "others" and value is not None
    }:
        if name:
            parts = json.loads(present.get(name) or "{}") | json.loads(changes[name])
            merged[name] = json.dumps(parts, separators=(",", ":"))
    return merged


def _option(field: JobField) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    if isinstance(field.kind, Flag):
        names = f"{field.option}/--no-{field.option.removeprefix('--')}"
        return click.option(names, field.name, default=None, help=field.help)
    if isinstance(field.kind, OneOf) and "" not in field.kind.words:
        return click.option(field.option, field.name, type=click.Choice(field.kind.words), help=field.help)
    several = isinstance(field.kind, ListOf)
    return click.option(
        field.option,
        field.name,
        type=FieldType(field),
        multiple=several,
        metavar=field.metavar or None,
        help=f"{field.help} Repeat it." if several else field.help,
    )


def _pair(option: str, word: str) -> tuple[str, str]:
    name, separator, value = word.partition("=")
    if not name or not separator:
        raise BadInput(f"{word[:80]!r} is no pair", on=option, remedy="NAME=VALUE")
    return name, value
