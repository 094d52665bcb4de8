"""Values to XML, driven by the type tables; a field newer than the client's API version is never sent.

The plan of a type (its fields, their wire types) is computed once per version: an answer takes no lock.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from simulator.vcenter.api import (
    DataObject,
    Enum,
    ManagedObject,
    MethodFault,
    fields_of,
    name_of,
    remembered,
    support,
    vmodl,
)
from simulator.vcenter.hostile import Raw

_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("\r"): "&#13;"}
# XML 1.0 cannot carry these at all; a real server drops them too.
_ESCAPES |= {code: "" for code in (*range(32), 0xFFFE, 0xFFFF) if code not in (9, 10, 13)}
_ATTRIBUTE_ESCAPES = _ESCAPES | {ord('"'): "&quot;"}
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_FAULT_FIELDS = ("dynamicType", "dynamicProperty", "msg")


@dataclass(frozen=True, slots=True)
class Typed:
    """A value together with its declared type, for fields declared as anyType (a long of 5 is not an int)."""

    value: Any
    type: Any


@dataclass(frozen=True, slots=True)
class Light:
    """A data object that is only ever sent: its type and the fields to send, without pyVmomi's checks."""

    type: Any
    fields: dict[str, Any]


def escape(text: str) -> str:
    """Text for an element's content."""
    return text.translate(_ESCAPES)


def attribute(text: str) -> str:
    """Text for an attribute in double quotes."""
    return text.translate(_ATTRIBUTE_ESCAPES)


def octets(text: str) -> bytes:
    """The bytes to send. A lone surrogate becomes a question mark, unless it encodes a byte of a hostile answer."""
    return _LONE.sub("?", text).encode(errors="surrogateescape")


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds, as vCenter writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Encoder:
    """Encodes for one API version. Safe for many threads: it only fills its cache of plans."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._plans: dict[Any, tuple[tuple[str, Any], ...]] = {}
        self._shown: dict[Any, Any] = {}

    def element(self, name: str, value: Any, declared: Any) -> str:
        """`<name>...</name>` for a value whose field is declared with this type; empty for None."""
        out: list[str] = []
        self._write(out, name, value, declared)
        return "".join(out)

    def fault_detail(self, fault: Any) -> str:
        """The element inside a SOAP fault's detail: `<InvalidPowerStateFault
        xsi:type="InvalidPowerState">`.
        """
        visible = self._visible(type(fault))
        name = name_of(visible)
        out: list[str] = []
        out.append(f'<{name}Fault xmlns="urn:vim25" xsi:type="{name}">')
        self._write_fields(out, fault, visible, skip=_FAULT_FIELDS)
        out.append(f"</{name}Fault>")
        return "".join(out)

    def _visible(self, kind: Any) -> Any:
        visible = self._shown.get(kind)
        if visible is None:
            visible = self._shown[kind] = support.GetCompatibleType(kind, self._version)
        return visible

    def _plan(self, kind: Any) -> tuple[tuple[str, Any], ...]:
        plan = self._plans.get(kind)
        if plan is None:
            plan = tuple(
                (field.name, field.type)
                for field in fields_of(kind).values()
                if support.IsChildVersion(self._version, field.version)
            )
            self._plans[kind] = plan
        return plan

    def _write_fields(self, out: list[str], value: Any, visible: Any, skip: Sequence[str] = ()) -> None:
        content = value.fields if isinstance(value, Light) else value.__dict__
        for name, declared in self._plan(visible):
            inner = content.get(name)
            if inner is not None and name not in skip:
                self._write(out, name, inner, declared)

    def _write(self, out: list[str], name: str, value: Any, declared: Any) -> None:
        if isinstance(value, Raw):
            out.append(value.element(name))
            return
        if isinstance(value, Typed):
            if declared is object:
                self._write_any(out, name, value.value, value.type)
                return
            value = value.value
        if value is None:
            return
        if isinstance(value, list | tuple):
            if declared is object:
                self._write_any(out, name, value, type(value))
            else:
                for item in value:
                    self._write(out, name, item, declared.Item)
        elif isinstance(value, MethodFault):
            self._write_fault(out, name, value, declared)
        elif isinstance(value, DataObject | Light):
            self._write_object(out, name, value, declared)
        elif declared is object:
            self._write_any(out, name, value, type(value))
        elif isinstance(value, ManagedObject):
            kind = name_of(type(value))
            out.append(f'<{name} type="{kind}">{attribute(value._moId)}</{name}>')
        else:
            out.append(f"<{name}>{_text(value)}</{name}>")

    def _write_object(self, out: list[str], name: str, value: Any, declared: Any) -> None:
        visible = self._visible(value.type if isinstance(value, Light) else type(value))
        kind = "" if visible is declared else f' xsi:type="{name_of(visible)}"'
        out.append(f"<{name}{kind}>")
        self._write_fields(out, value, visible)
        out.append(f"</{name}>")

    def _write_fault(self, out: list[str], name: str, fault: Any, declared: Any) -> None:
        kind = ' xsi:type="LocalizedMethodFault"' if declared is object else ""
        visible = self._visible(type(fault))
        out.append(f'<{name}{kind}><fault xsi:type="{name_of(visible)}">')
        self._write_fields(out, fault, visible, skip=_FAULT_FIELDS)
        out.append(f"</fault><localizedMessage>{escape(fault.msg or '')}</localizedMessage></{name}>")

    def _write_any(self, out: list[str], name: str, value: Any, declared: Any) -> None:
        if value is None:
            return
        if isinstance(value, list | tuple):
            item = declared.Item if declared is not list and hasattr(declared, "Item") else type(value[0])
            array, tag = _array_names(item)
            out.append(f'<{name} xsi:type="{array}">')
            for entry in value:
                self._write(out, tag, entry, item)
            out.append(f"</{name}>")
        elif isinstance(value, MethodFault):
            self._write_fault(out, name, value, object)
        elif isinstance(value, DataObject | Light):
            self._write_object(out, name, value, object)
        elif isinstance(value, ManagedObject):
            kind = name_of(type(value))
            out.append(
                f'<{name} type="{kind}" xsi:type="ManagedObjectReference">{attribute(value._moId)}</{name}>'
            )
        else:
            out.append(f'<{name} xsi:type="{_scalar_name(value, declared)}">{_text(value)}</{name}>')


@remembered
def _array_names(item: Any) -> tuple[str, str]:
    if _is_a_name(item):
        return "ArrayOfString", "string"
    if issubclass(item, ManagedObject):
        return "ArrayOfManagedObjectReference", "ManagedObjectReference"
    name = name_of(item)
    return "ArrayOf" + name[0].upper() + name[1:], name


def _is_a_name(kind: Any) -> bool:
    return kind in (type, support.ManagedMethod, support.PropertyPath)


def _scalar_name(value: Any, declared: Any) -> str:
    kind = type(value) if declared is object else declared
    if isinstance(value, type) or _is_a_name(kind):
        return "xsd:string"
    if issubclass(kind, Enum):
        return name_of(kind)
    if isinstance(value, str) and not issubclass(kind, str):
        return "xsd:string"
    if kind is int and not -(2**31) <= value < 2**31:
        return "xsd:long"
    return f"xsd:{name_of(kind)}"


def _text(value: Any) -> str:
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"no XML form for {type(value).__name__}")


_WRITERS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (str, escape),
    (bool, lambda value: "true" if value else "false"),
    (int | float, str),
    (datetime, timestamp),
    (bytes, lambda value: base64.b64encode(value).decode()),
    (type, name_of),
    (support.ManagedMethod, lambda value: str(value.info.wsdlName)),
)

LOCALIZED_FAULT: Any = vmodl.LocalizedMethodFault
