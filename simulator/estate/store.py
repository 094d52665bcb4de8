"""State is in JSON files that are replaced by rename: a reader or a restart sees the old state or the new one.

The state survives a killed process. It may not survive a power failure, because nothing is synced: this is a simulator.
"""

import dataclasses
import enum
import json
import os
import threading
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def replace_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` beside `path` and rename it over."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def save(path: Path, value: object) -> None:
    """Save a dataclass or plain JSON value."""
    replace_file(path, json.dumps(_plain(value), separators=(",", ":")))


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


def build(kind: type[T], value: Any) -> T:
    """Rebuild a dataclass from what `save` wrote; missing fields take their defaults, unknown ones are
    refused.
    """
    return typing.cast(T, _typed(kind, value))


def _typed(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _typed(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_typed(arguments[0], item) for item in value)
        return tuple(_typed(part, item) for part, item in zip(arguments, value, strict=True))
    if origin is dict:
        return {key: _typed(arguments[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{key: _typed(hints[key], item) for key, item in value.items()})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    return value
