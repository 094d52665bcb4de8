"""Hostile answers replace the value of a property, for one machine among many.

The estate stays as it is; only the sent bytes change. The API's tables name the properties, and the starter of the simulator
chooses those with hostile answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from simulator.vcenter.api import DataObject, Enum, ManagedObject, fields_of, name_of, vim

FUTURE: Final = "TypeOfTomorrow"  # no API has it
WORD: Final = "wordOfTomorrow"
UNSOUND: Final = b"no\xfftes\x08, \xed\xa0\x80, &#11;, &#xD800;, \xef\xbf\xbf"
LONG: Final = 80 << 10  # characters of a text that is too long
_DEEP: Final = 700  # elements within each other
_MANY: Final = 3000  # members of a list


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as it is sent: the attributes of its element, and its content, which may be invalid bytes."""

    attributes: str = ""
    body: bytes = b""

    def element(self, name: str) -> str:
        return f"<{name}{self.attributes}>{self.body.decode(errors='surrogateescape')}</{name}>"


#: The replacement of a value; None leaves the property out.
Variant = Raw | None


def variants(kind: Any, path: str, long: int = LONG) -> dict[str, Variant]:
    """Every hostile answer for a property of a managed type, by a name that describes it."""
    declared = kind
    for name in path.split("."):
        declared = fields_of(declared)[name].type
    typed = f' xsi:type="{_sent(declared)}"'
    answers: dict[str, Variant] = {
        "absent": None,
        "empty": Raw(),
        "nil": Raw(f'{typed} xsi:nil="true"'),
        "empty with a type": Raw(typed),
        "unknown type": Raw(f' xsi:type="{FUTURE}"', b"<tomorrow><when>1</when></tomorrow>"),
        "unknown type without parts": Raw(f' xsi:type="{FUTURE}"'),
        "unknown word": Raw(typed, WORD.encode()),
        "huge text": Raw(typed, b"x" * long),
        "huge number": Raw(typed, b"9" * 40),
        "unsound characters": Raw(typed, UNSOUND),
        "too deep": Raw(typed, b"<a>" * _DEEP + b"</a>" * _DEEP),
        "reference": Raw(' type="HostSystem" xsi:type="ManagedObjectReference"', b"host-999999"),
    }
    answers |= {f"parts: {what}": Raw(typed, body) for what, body in _bodies(declared)}
    return answers


def _bodies(declared: Any) -> Iterator[tuple[str, bytes]]:
    """Objects and lists whose parts are hostile, each in one way."""
    item = declared.Item if issubclass(declared, list) else declared
    if not issubclass(item, DataObject) and declared is item:
        return
    for what, scalar in _SCALARS.items():
        inner = _within(_usual(item), scalar, 3)
        if declared is item:
            yield what, inner
        else:
            tag = name_of(item) if issubclass(item, DataObject) else "string"
            yield what, _element(tag, inner, _usual(item) if issubclass(item, DataObject) else None)
    if declared is not item:
        yield "many", b"<string></string>" * _MANY


def _usual(item: Any) -> Any:
    """The class that is met most where a base class is declared."""
    return vim.vm.device.VirtualDisk if item is vim.vm.device.VirtualDevice else item


def _within(kind: Any, scalar: bytes, depth: int) -> bytes:
    if not issubclass(kind, DataObject):
        return scalar
    parts = []
    for name, field in fields_of(kind).items():
        inner = field.type.Item if issubclass(field.type, list) else field.type
        if name == "backing":
            inner = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
        if issubclass(inner, DataObject):
            parts.append(_element(name, _within(inner, scalar, depth - 1) if depth else b"", inner))
        else:
            parts.append(_element(name, scalar, None))
    return b"".join(parts)


def _element(name: str, body: bytes, kind: Any) -> bytes:
    typed = f" xsi:type={quoteattr(name_of(kind))}" if kind is not None and body else ""
    return f"<{name}{typed}>".encode() + body + f"</{name}>".encode()


_SCALARS: Final = {
    "empty": b"",
    "words": WORD.encode(),
    "huge numbers": b"9" * 40,
    "negative": b"-1",
    "unsound": UNSOUND,
    "objects": b"<a><b>1</b></a>",
    "long": b"x" * 2000,
}


def _sent(declared: Any) -> str:
    if issubclass(declared, list):
        item = declared.Item
        if issubclass(item, ManagedObject):
            return "ArrayOfManagedObjectReference"
        name = name_of(item) if issubclass(item, DataObject | Enum) else "string"
        return f"ArrayOf{name[0].upper()}{name[1:]}"
    if issubclass(declared, ManagedObject):
        return "ManagedObjectReference"
    if issubclass(declared, DataObject | Enum):
        return name_of(declared)
    return "xsd:dateTime" if declared is datetime else f"xsd:{name_of(declared)}"
