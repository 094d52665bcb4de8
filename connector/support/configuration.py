"""A configuration goes into the bundle by the types of its fields: secrets are replaced, and so is what no field describes.

Comments are left out, because people write passwords there. A file that is no YAML is given line by line, and only values of
known fields that are not secret are kept.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from connector import readable
from connector.appliance.configuration import ApplianceConfiguration
from connector.clients import posting
from connector.cloud.alibaba.settings import AlibabaSettings
from connector.control.configuration import ControlConfiguration
from connector.errors import BadInput
from connector.support.secret_removal import REMOVED, is_secret_field

_LARGEST: Final = 1 << 20
_LINE: Final = re.compile(r"(?P<lead>\s*(?:-\s+)?)(?P<key>[\w-]+)(?P<colon>\s*:\s*)(?P<value>.*)")
_PARTS: Final[dict[str, type[BaseModel]]] = {"alibaba": AlibabaSettings}


def shown(file: Path, model: type[BaseModel]) -> str:
    """The file as YAML without secrets. Raises OSError."""
    text = readable.text(file, _LARGEST)
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as broken:
        mark = getattr(broken, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        return f"# This file is no YAML{where}. Only values of known fields are shown.\n{_lines(text, model)}"
    return yaml.safe_dump(_kept(document, [model]), sort_keys=False, allow_unicode=True)


def control(file: Path) -> str:
    """A control plane's configuration."""
    return shown(file, ControlConfiguration)


def appliance(file: Path) -> str:
    """An appliance's configuration."""
    return shown(file, ApplianceConfiguration)


def _kept(value: Any, models: Sequence[type[BaseModel]]) -> Any:
    """The value with replacements. `models`: what may describe it; none: a plain value, a list, or the operator's own table."""
    if isinstance(value, list):
        return [_kept(item, models) for item in value]
    if not isinstance(value, dict):
        return value
    model = _fitting(value, models)
    return {key: _field(str(key), below, model) for key, below in value.items()}


def _fitting(value: dict[Any, Any], models: Sequence[type[BaseModel]]) -> type[BaseModel] | None:
    """Of several models the one that has the value's `kind`; else the first."""
    named = (
        one for one in models if (kind := one.model_fields.get("kind")) is not None and _says(kind, value)
    )
    return next(named, models[0] if models else None)


def _says(kind: FieldInfo, value: dict[Any, Any]) -> bool:
    return value.get("kind") in typing.get_args(kind.annotation)


def _field(name: str, value: Any, model: type[BaseModel] | None) -> Any:
    if model is None:
        return REMOVED if is_secret_field(name) else _kept(value, ())
    fields = {field.alias or known: field for known, field in model.model_fields.items()}
    described = fields.get(name)
    if described is None:
        return f"{REMOVED}: no such field"
    kinds = list(_kinds(described.annotation))
    if SecretStr in kinds:
        return REMOVED if value is not None else None
    if not described.repr:  # such as the URL of a webhook, whose path may be its secret
        return _host_alone(value)
    models = [kind for kind in kinds if issubclass(kind, BaseModel)]
    return _kept(value, [_PARTS[name]] if name in _PARTS else models)


def _host_alone(value: Any) -> str:
    try:
        return f"{posting.address(str(value)).shown}/{REMOVED}"
    except BadInput:
        return REMOVED


def _kinds(annotation: Any) -> Iterator[type]:
    """The classes in an annotation."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _kinds(inner)


def _lines(text: str, model: type[BaseModel]) -> str:
    plain = {*_plain(model), *_plain(AlibabaSettings)}
    return "".join(f"{_line(line, plain)}\n" for line in text.splitlines())


def _line(line: str, plain: set[str]) -> str:
    if not line.strip() or line.lstrip().startswith("#"):
        return ""
    match = _LINE.fullmatch(line)
    if match is None or match["key"] not in plain or is_secret_field(match["key"]):
        return f"{line[: len(line) - len(line.lstrip())]}{REMOVED}"
    return line.partition(" #")[0]


def _plain(model: type[BaseModel]) -> Iterator[str]:
    """The names of all fields that hold no secret."""
    for name, described in model.model_fields.items():
        kinds = list(_kinds(described.annotation))
        if SecretStr not in kinds and described.repr:
            yield described.alias or name
        for kind in kinds:
            if issubclass(kind, BaseModel):
                yield from _plain(kind)
