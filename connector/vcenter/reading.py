"""Reads the answers of all calls except pages of properties, as pyVmomi's values. An odd value costs one property at most.

pyVmomi's own reader gives up on a word, type or number that its tables do not know. Ours skips parts that are
newer than the tables, and puts `UnreadableValue` in place of a property's value that it cannot understand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector.errors import VCenterFault
from connector.vcenter.characters import Replacer
from connector.vcenter.vmomi import SoapDeserializer, SoapResponseDeserializer, support, vmodl

Read = Callable[[int], bytes]

_ODD: Final = (LookupError, AttributeError, TypeError, ValueError, ArithmeticError)
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_TYPE: Final = f"{_XSI} type"
_NIL: Final = f"{_XSI} nil"
_EMPTY: Final = (bool, int, float, datetime, bytes, support.Enum, support.ManagedObject)
_HOLDERS: Final = (vmodl.DynamicProperty, vmodl.query.PropertyCollector.Change)


@dataclass(frozen=True, slots=True)
class UnreadableValue:
    """Takes the place of a property's value that cannot be understood."""

    why: str


def value_of(read: Read, result: Any, stub: Any) -> Any:
    """The value of an answer. Raises the fault in it, `ExpatError` when it is no XML, `VCenterFault` when it is no answer."""
    answer = _Answer(stub)
    value = answer.Deserialize(_Sound(read), result)
    if answer.isFault:
        fault = value if isinstance(value, Exception) else vmodl.RuntimeFault(msg=answer.message)
        raise fault
    if not answer.answered:
        raise _incomprehensible("it does not belong to the call")
    return value


def _incomprehensible(why: str) -> VCenterFault:
    """The error for an answer of which no single property can be left out."""
    return VCenterFault(
        f"an answer of vCenter cannot be understood ({why})",
        remedy="look at this object in vCenter, and report it",
    )


class _Sound:
    """The stream with every unsound character replaced, for the parser's own loop."""

    def __init__(self, read: Read) -> None:
        self._read, self._replacer = read, Replacer()
        self._ready, self._ended = b"", False

    def read(self, size: int) -> bytes:
        while not self._ready and not self._ended:
            piece = self._read(size)
            self._ended = not piece
            self._ready = self._replacer.feed(piece, self._ended)
        piece, self._ready = self._ready[:size], self._ready[size:]
        return piece


class _Answer(SoapResponseDeserializer):  # type: ignore[misc]
    """An envelope, and in it a value or a fault."""

    def __init__(self, stub: Any) -> None:
        super().__init__(stub)
        self.deser = _Values(stub)
        self.answered = False
        self.message = ""

    def StartElementHandler(self, tag: str, attr: dict[str, str]) -> None:
        self.answered = self.answered or tag.endswith("Response")
        super().StartElementHandler(tag, attr)

    def EndElementHandler(self, tag: str) -> None:
        super().EndElementHandler(tag)
        self.message = self.msg


class _Values(SoapDeserializer):  # type: ignore[misc]
    """A value by its declared type. `_beyond` counts the open elements that are skipped."""

    def __init__(self, stub: Any) -> None:
        super().__init__(stub)
        self._beyond = 0
        self._bare = False  # the innermost element has no type and, as yet, no parts

    def StartElementHandler(self, tag: str, attr: dict[str, str]) -> None:
        if self._beyond:
            self._beyond += 1
            return
        self.data = ""
        try:
            if attr.get(_NIL) in ("true", "1") or self._is_newer(tag):
                self._beyond = 1
            elif not self.stack and self.isFault:
                self._begin_fault(tag, attr)
            else:
                super().StartElementHandler(tag, self._with_known_types(tag, attr))
                self._bare = _TYPE not in attr
        except _ODD as odd:
            self._leave_out(odd, 1)

    def EndElementHandler(self, tag: str) -> None:
        if self._beyond:
            self._beyond -= 1
            return
        bare, self._bare = self._bare, False
        try:
            if self.stack and not self._is_set(bare):
                self.stack.pop()
                self.data = ""
                return
            super().EndElementHandler(tag)
        except _ODD as odd:
            self._leave_out(odd, 0)

    def CharacterDataHandler(self, data: str) -> None:
        if not self._beyond:
            super().CharacterDataHandler(data)

    def _declared(self, tag: str) -> Any:
        if not self.stack:
            return self.resultType
        above: Any = self.stack[-1]
        if isinstance(above, support.Array):
            return above.Item
        return above._GetPropertyInfo(self.SplitTag(tag)[1]).type

    def _is_newer(self, tag: str) -> bool:
        """Whether the element is a part that the tables do not know."""
        above = self.stack[-1] if self.stack else None
        if not isinstance(above, support.DataObject):
            return False
        try:
            above._GetPropertyInfo(self.SplitTag(tag)[1])
        except AttributeError:
            return True
        return False

    def _with_known_types(self, tag: str, attr: dict[str, str]) -> dict[str, str]:
        """The attributes; a type that the tables do not know is replaced by the declared type."""
        declared = self._declared(tag)
        item = getattr(declared, "Item", declared)
        attributes = dict(attr)
        if item is not object and not self._names_a_type(attr.get(_TYPE)):
            del attributes[_TYPE]
        if "type" in attr and not self._names_a_type(attr["type"]):
            attributes["type"] = (
                item._wsdlName if issubclass(item, support.ManagedObject) else "ManagedEntity"
            )
        return attributes

    def _names_a_type(self, name: str | None) -> bool:
        if name is None:
            return True
        try:
            self.LookupWsdlType(*self.GetNSAndWsdlname(name), allowManagedObjectReference=True)
        except KeyError:
            return False
        return True

    def _begin_fault(self, tag: str, attr: dict[str, str]) -> None:
        """Begin the fault that is raised: by its element's name, else by its type, else one with a message only."""
        for name in (
            tag.rpartition(" ")[2].removesuffix("Fault"),
            (attr.get(_TYPE) or "").rpartition(":")[2],
        ):
            kind = _fault_named(name)
            if kind is not None:
                self.stack.append(kind())
                return
        self.stack.append(vmodl.RuntimeFault())

    def _is_set(self, bare: bool) -> bool:
        """Whether the innermost element has a value. Repairs what pyVmomi would fail on."""
        kind: Any = self.stack[-1]
        if bare and not self.data.strip() and len(self.stack) > 1 and kind is not str:
            return False
        if isinstance(kind, vmodl.LocalizedMethodFault) and kind.fault is None:
            object.__setattr__(kind, "fault", vmodl.MethodFault())
        if not isinstance(kind, type) or len(self.stack) < 2:
            return True
        if kind is object:
            self.stack[-1] = str
            return bool(self.data)
        if issubclass(kind, _EMPTY) and not self.data.strip():
            return False
        if issubclass(kind, support.Enum) and self.data not in getattr(kind, "values", ()):
            self.stack[-1] = kind(self.data)  # a word that is newer than the tables
        return True

    def _leave_out(self, odd: Exception, opened: int) -> None:
        """Put `UnreadableValue` in place of the property's value, and skip the elements of it that are still open."""
        holders = [at for at, element in enumerate(self.stack) if isinstance(element, _HOLDERS)]
        if not holders:
            raise _incomprehensible(_why(odd)) from odd
        at = holders[-1]
        self._beyond = len(self.stack) - 1 - at + opened
        del self.stack[at + 1 :]
        object.__setattr__(self.stack[at], "val", UnreadableValue(_why(odd)))


def _fault_named(name: str) -> Any:
    try:
        kind = support.GetWsdlType("urn:vim25", name)
    except KeyError:
        return None
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else None


def _why(odd: Exception) -> str:
    return ascii(f"{type(odd).__name__} {odd}"[:120]).strip("'\"")
