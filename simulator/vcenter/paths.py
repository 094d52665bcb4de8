"""Property paths: `config.hardware.device[2000].backing.fileName`, resolved with the declared type of what
they name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from simulator.vcenter.api import DataObject, fields_of, vmodl
from simulator.vcenter.encode import Typed

_STEP = re.compile(r'\.?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:\[(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\]"]*))\])?')


def invalid(path: str) -> Any:
    """The fault for a path that the type does not have."""
    return vmodl.query.InvalidProperty(name=path, msg=f"The property path {path} is invalid.")


@lru_cache(maxsize=4096)
def steps(path: str) -> tuple[tuple[str, str | None], ...]:
    """(name, array key or None) for each part of a path. Raises InvalidProperty."""
    parts: list[tuple[str, str | None]] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or (position == 0) != (match.group(0)[0] != "."):
            raise invalid(path)
        key = match["quoted"] if match["quoted"] is not None else match["bare"]
        parts.append((match["name"], key))
        position = match.end()
    if not parts:
        raise invalid(path)
    return tuple(parts)


def resolve(kind: Any, path: str, read: Callable[[str], Any]) -> Typed | None:
    """The value at `path` of a managed object of this type, None when unset.

    `read(name)` gives a top-level property. Raises the InvalidProperty fault for what the type does not have.
    """
    parts = steps(path)
    first, key = parts[0]
    declared = fields_of(kind).get(first)
    if declared is None:
        raise invalid(path)
    current, wanted = _keyed(read(first), declared.type, key, path)
    for name, key in parts[1:]:
        if current is None:
            _check_static(wanted, name, path)
            return None
        if not isinstance(current, DataObject):
            raise invalid(path)
        known = fields_of(type(current)).get(name)
        if known is None:
            raise invalid(path)
        current, wanted = _keyed(getattr(current, name), known.type, key, path)
    if current is None or (isinstance(current, list) and not current and len(parts) > 1):
        return None
    return Typed(current, wanted)


def _check_static(declared: Any, name: str, path: str) -> None:
    if not issubclass(declared, DataObject) or name not in fields_of(declared):
        raise invalid(path)


def _keyed(value: Any, declared: Any, key: str | None, path: str) -> tuple[Any, Any]:
    if key is None:
        return value, declared
    if not issubclass(declared, list):
        raise invalid(path)
    for item in value or ():
        if str(getattr(item, "key", None)) == key:
            return item, declared.Item
    return None, declared.Item
