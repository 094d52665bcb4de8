"""Property values as the fast reader gives them: texts, data objects, lists and references, without declared types.

The functions here read pyVmomi's values too, so that the meaning of a value is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from connector.names import unescaped


class Reference(NamedTuple):
    """A managed object reference."""

    kind: str  # e.g. "HostSystem"
    value: str  # e.g. "host-12"


class DataObject:
    """A data object: its class name, empty if none was sent, and its parts by name. An absent part reads as None."""

    __slots__ = ("kind", "parts")

    def __init__(self, kind: str, parts: Mapping[str, Any]) -> None:
        self.kind = kind
        self.parts = parts

    def __getattr__(self, name: str) -> Any:
        return self.parts.get(name)

    def __repr__(self) -> str:
        return f"DataObject({self.kind!r}, {self.parts!r})"


class Unread(DataObject):
    """Takes the place of a value that was not kept; `kind` says why. It has no parts."""

    __slots__ = ()

    def __init__(self, why: str) -> None:
        super().__init__(why, {})


def kind_of(value: object) -> str:
    """The class name as it is sent: "VirtualDisk", "VirtualDiskFlatVer2BackingInfo", "TaskInProgress"."""
    if isinstance(value, DataObject):
        return value.kind
    return str(getattr(type(value), "_wsdlName", "") or type(value).__name__.rpartition(".")[2])


def moref(managed: Any) -> str:
    """The managed object reference of `managed`, e.g. "vm-101"; empty for another value."""
    if isinstance(managed, Reference):
        return managed.value
    return str(getattr(managed, "_moId", None) or "")


def each(value: Any) -> Sequence[Any]:
    """The members of an array: absent, single and repeated elements alike."""
    if value is None or value == "":
        return ()
    if not isinstance(value, list):
        return (value,)
    return [member for member in value if member is not None] if None in value else value


def text(value: Any) -> str:
    """The value as text; empty when it is absent or no text."""
    return "" if value is None or isinstance(value, DataObject | list | tuple) else str(value)


def number(value: Any) -> int:
    """The value as a number; 0 when it is absent or no whole number."""
    try:
        return int(value or 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def true(value: Any, default: bool = False) -> bool:
    return default if value is None else value is True or value in ("true", "1")


def seconds(value: Any) -> float:
    """Seconds since the epoch; 0 when the value is absent or no time."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return float(moment.timestamp()) if isinstance(moment, datetime) else 0.0
    except (ValueError, OverflowError, OSError):
        return 0.0


def plain(name: str) -> str:
    """The name unescaped: vCenter writes "/", "\\" and "%" in names as %2f, %5c and %25."""
    return unescaped(name)
