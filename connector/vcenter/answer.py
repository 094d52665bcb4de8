"""A page of properties, the answer that is read most, is parsed by expat from the stream; nothing in it is trusted.

A document may be of any size, because objects are handed on one by one; an object, a value and a name may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn
from xml.parsers import expat

from connector.model import UnclearData
from connector.vcenter.bodies import AnswerStream, Body, strange
from connector.vcenter.characters import REPLACEMENT, Replacer
from connector.vcenter.values import DataObject, Reference, Unread

CHUNK = 1 << 16
LONGEST_VALUE = 1 << 20  # characters of one text or attribute
LARGEST_OBJECT = 64 << 20  # characters of all texts of one object
MOST_ELEMENTS = 1_000_000  # in one object
MOST_OBJECTS = 1_000_000
MOST_NAMES = 20_000  # different element names
DEEPEST = 512
LONGEST_TAG = 4 << 20  # bytes that may pass without an element or text

_ANSWERS = {"RetrievePropertiesExResponse", "ContinueRetrievePropertiesExResponse"}
_ENDED = (
    expat.errors.XML_ERROR_NO_ELEMENTS,
    expat.errors.XML_ERROR_UNCLOSED_TOKEN,
    expat.errors.XML_ERROR_PARTIAL_CHAR,
)
_WAY = ("Envelope", "Body")
_INSIDE = 4  # elements open around an object: envelope, body, response, returnval


@dataclass(frozen=True, slots=True)
class PropertyRow:
    """The properties of one managed object that are set, and the faults of those that may not be read."""

    kind: str  # e.g. "VirtualMachine"
    moref: str
    values: Mapping[str, Any]
    refused: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[UnclearData, ...] = ()  # what could not be understood
    replaced: bool = False  # whether a character stands for one that could not be read

    def get(self, path: str, default: Any = None) -> Any:
        return self.values.get(path, default)


def read_page(
    stream: AnswerStream,
    take: Callable[[PropertyRow], None],
    more: Callable[[str], None],
    *,
    packed: bool = False,
) -> None:
    """Pass every object of an answer to `take`, and the token of the next page to `more` if there is a next page.

    The token comes before the objects. `packed` says that the bytes are compressed (gzip or deflate). Raises
    `VCenterFault` for anything else than such an answer, `ConnectionResetError` for an answer that ends in the
    middle, and what the stream raises.
    """
    reader = _Reader(take, more)
    body = Body(stream, packed=packed)
    while piece := body.read(CHUNK):
        reader.feed(piece)
    reader.close()


class _Reader:
    """The state of one document. `stack` holds [name, class, parts] of each open element."""

    def __init__(self, take: Callable[[PropertyRow], None], more: Callable[[str], None]) -> None:
        self._take, self._more = take, more
        self._stack: list[list[Any]] = []
        self._text = ""
        self._names: dict[str, str] = {}
        self._classes: dict[tuple[tuple[str, str], ...], str] = {}
        self._elements = self._letters = self._objects = self._quiet = 0
        self._events = 0  # tags and texts
        self._beyond = 0  # open elements of a part that is too large or too deep to be kept
        self._lost = ""  # why such a part was not kept
        self._long = self._replaced = False
        self._replacer = Replacer()
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, chunk: bytes) -> None:
        events = self._events
        self._parse(chunk, False)
        self._quiet = 0 if events != self._events else self._quiet + len(chunk)
        if self._quiet > LONGEST_TAG:
            raise strange(f"a tag is longer than {LONGEST_TAG} bytes")

    def close(self) -> None:
        self._parse(b"", True)

    def _parse(self, chunk: bytes, last: bool) -> None:
        try:
            self._parser.Parse(self._replacer.feed(chunk, last), last)
        except expat.ExpatError as broken:
            if last and expat.ErrorString(broken.code) in _ENDED:
                raise ConnectionResetError(f"the answer ended early ({broken})") from None
            raise strange(f"not XML ({broken})") from broken

    def _doctype(self, *_: object) -> NoReturn:
        raise strange("it declares a document type, as web pages and entity bombs do")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._events += 1
        if self._beyond:
            self._beyond += 1
            return
        stack = self._stack
        depth = len(stack)
        self._text = ""
        self._long = False
        self._elements += 1
        name = self._names.get(tag) or self._learn(tag)
        if depth < _INSIDE:
            self._outside(name, depth)
        if depth >= DEEPEST or self._elements > MOST_ELEMENTS:
            self._too_much("is nested too deeply" if depth >= DEEPEST else "has too many values")
            return
        stack.append([name, self._class(attributes) if attributes else "", None])

    def _class(self, attributes: dict[str, str]) -> str:
        key = tuple(attributes.items())
        kind = self._classes.get(key)
        if kind is None:
            if len(self._classes) > MOST_NAMES:
                self._classes.clear()
            kind = self._classes[key] = _class(attributes)
        return kind

    def _data(self, text: str) -> None:
        self._events += 1
        if self._beyond or self._long:
            return
        self._letters += len(text)
        self._text += text
        if REPLACEMENT in text:
            self._replaced = True
        if len(self._text) > LONGEST_VALUE or self._letters > LARGEST_OBJECT:
            self._long, self._text = True, ""

    def _end(self, _tag: str) -> None:
        if self._beyond:
            self._beyond -= 1
            return
        stack = self._stack
        name, kind, parts = stack.pop()
        value = self._text or None if parts is None and not kind else _value(kind, parts, self._text)
        if self._long:
            value, self._long = self._unread(), False
        self._text = ""
        depth = len(stack)
        if depth == _INSIDE and name == "objects":
            self._emit(value)
        elif depth == _INSIDE and name == "token":
            self._more(str(value or ""))
        elif depth > _INSIDE:
            above = stack[-1]
            if above[2] is None:
                above[2] = {name: value}
                return
            parts = above[2]
            if name not in parts:
                parts[name] = value
            elif type(parts[name]) is _Several:
                parts[name].append(value)
            else:
                parts[name] = _Several((parts[name], value))

    def _unread(self) -> Unread:
        if len(self._stack) <= _INSIDE:
            raise strange("what surrounds the objects is too long")
        return Unread("is too long to be believed")

    def _emit(self, described: Any) -> None:
        lost, replaced = self._lost, self._replaced
        self._elements = self._letters = 0
        self._lost, self._replaced = "", False
        self._objects += 1
        if self._objects > MOST_OBJECTS:
            raise strange("it never ends")
        try:
            row = _row(described)
        except (AttributeError, TypeError) as odd:
            raise strange(f"an object is not described as the API says ({odd})") from odd
        if lost or replaced:
            row = replace(row, doubts=(UnclearData("", lost, True),) if lost else (), replaced=replaced)
        self._take(row)

    def _outside(self, name: str, depth: int) -> None:
        """Check what surrounds the objects."""
        if depth < len(_WAY) and name not in (_WAY[depth], "Header"):
            raise strange(f"it begins with <{name[:40]}>")
        if depth == 2 and name not in _ANSWERS and self._stack[-1][0] == "Body":
            raise strange(f"it holds <{name[:40]}> instead of properties")

    def _learn(self, tag: str) -> str:
        if len(self._names) > MOST_NAMES or len(tag) > 256:
            raise strange("its elements have endless names")
        name = self._names[tag] = tag.rpartition(":")[2]
        return name

    def _too_much(self, how: str) -> None:
        """Skip the open element up to its end, and read on with the rest of the object."""
        if len(self._stack) <= _INSIDE:
            raise strange(f"what surrounds the objects {how}")
        path = "/".join(frame[0] for frame in self._stack[_INSIDE + 1 :][:3])
        self._lost = f"{path or 'the object'} {how} to be believed"
        self._beyond = 1


class _Several(list[Any]):
    """Elements of one name beside each other."""


class _Pointer(str):
    """The class of a managed object that an element refers to."""

    __slots__ = ()


_NIL = "nil"  # the class of an element that xsi:nil marks as unset


def _class(attributes: Mapping[str, str]) -> str:
    """The type in xsi:type without its prefix; for a reference, the kind of object."""
    declared, reference = "", ""
    for name, value in attributes.items():
        if len(value) > LONGEST_VALUE or len(name) > 256:
            raise strange("it has an endless attribute")
        if name == "type":
            reference = value
        elif name.endswith(":type"):
            declared = value.rpartition(":")[2]
        elif name.endswith(":nil") and value in ("true", "1"):
            return _NIL
    return _Pointer(reference) if reference else declared


def _value(kind: str, parts: dict[str, Any] | None, text: str) -> Any:
    if parts is None:
        if isinstance(kind, _Pointer):
            return Reference(kind, text) if text else None
        if kind is _NIL:
            return None
        if text or not kind[:1].isupper():
            return text
        return [] if kind.startswith("ArrayOf") else DataObject(kind, {})
    if kind.startswith("ArrayOf"):
        return [
            value
            for values in parts.values()
            for value in (values if type(values) is _Several else (values,))
        ]
    return DataObject(kind, parts)


def _row(described: Any) -> PropertyRow:
    pointer = described.obj
    properties = [
        entry
        for entry in _each(described.propSet)
        if isinstance(entry, DataObject) and isinstance(entry.name, str)
    ]
    values = {entry.name: entry.val for entry in properties if entry.val is not None}
    missing = [entry for entry in _each(described.missingSet) if isinstance(entry, DataObject)]
    refused = {str(entry.path): getattr(entry.fault, "fault", None) for entry in missing}
    return PropertyRow(pointer.kind, pointer.value, values, refused)


def _each(value: Any) -> Any:
    return () if value is None else value if type(value) is _Several else (value,)
