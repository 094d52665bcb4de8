"""The one hot answer, a page of properties, read by expat straight from the stream; nothing in it is trusted.

A document may be of any size, because objects are handed on one by one; an object, a value and a name may not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol
from xml.parsers import expat

from connector.errors import VCenterFault
from connector.vcenter.values import Node, Reference

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
class Row:
    """The properties of one managed object that are set, and the faults of those that may not be read."""

    kind: str  # e.g. "VirtualMachine"
    moref: str
    values: Mapping[str, Any]
    refused: Mapping[str, Any] = field(default_factory=dict)

    def get(self, path: str, default: Any = None) -> Any:
        return self.values.get(path, default)


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_page(
    stream: Stream, take: Callable[[Row], None], more: Callable[[str], None], *, packed: bool = False
) -> None:
    """Hand every object of an answer to `take`, and the token of the next page, if there is one, to `more`.

    The token comes before the objects. `packed` says that the bytes are compressed (gzip or deflate). Raises
    `VCenterFault` for anything that is no such answer, `ConnectionResetError` for one that ends in the middle, and
    what the stream raises.
    """
    reader = _Reader(take, more)
    for chunk in _unpacked(stream) if packed else _chunks(stream):
        reader.feed(chunk)
    reader.close()


def _chunks(stream: Stream) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _unpacked(stream: Stream) -> Iterator[bytes]:
    unpack = zlib.decompressobj(wbits=47)
    try:
        for chunk in _chunks(stream):
            while chunk:
                yield unpack.decompress(chunk, CHUNK)
                chunk = unpack.unconsumed_tail
        yield unpack.flush()
        if not unpack.eof:
            raise ConnectionResetError("the answer ended early (compressed data is cut off)")
    except zlib.error as damaged:
        raise _strange(f"compressed data is damaged ({damaged})") from damaged


def _strange(what: str) -> VCenterFault:
    return VCenterFault(
        f"this is no answer of a vCenter: {what}", remedy="check host, port and proxies on the way there"
    )


class _Reader:
    """The state of one document. `stack` holds [name, class, parts] of each open element."""

    def __init__(self, take: Callable[[Row], None], more: Callable[[str], None]) -> None:
        self._take, self._more = take, more
        self._stack: list[list[Any]] = []
        self._text = ""
        self._names: dict[str, str] = {}
        self._classes: dict[tuple[tuple[str, str], ...], str] = {}
        self._elements = self._letters = self._objects = self._quiet = 0
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, chunk: bytes) -> None:
        before = self._elements, self._letters, self._objects
        self._parse(chunk, False)
        self._quiet = (
            0 if before != (self._elements, self._letters, self._objects) else self._quiet + len(chunk)
        )
        if self._quiet > LONGEST_TAG:
            raise _strange(f"a tag is longer than {LONGEST_TAG} bytes")

    def close(self) -> None:
        self._parse(b"", True)

    def _parse(self, chunk: bytes, last: bool) -> None:
        try:
            self._parser.Parse(chunk, last)
        except expat.ExpatError as broken:
            if last and expat.ErrorString(broken.code) in _ENDED:
                raise ConnectionResetError(f"the answer ended early ({broken})") from None
            raise _strange(f"not XML ({broken})") from broken

    def _doctype(self, *_: object) -> NoReturn:
        raise _strange("it declares a document type, as web pages and entity bombs do")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        stack = self._stack
        depth = len(stack)
        self._text = ""
        self._elements += 1
        name = self._names.get(tag) or self._learn(tag)
        if depth < _INSIDE:
            self._outside(name, depth)
        stack.append([name, self._class(attributes) if attributes else "", None])
        if depth >= DEEPEST or self._elements > MOST_ELEMENTS:
            self._too_much("is nested too deeply" if depth >= DEEPEST else "has too many values")

    def _class(self, attributes: dict[str, str]) -> str:
        said = tuple(attributes.items())
        known = self._classes.get(said)
        if known is None:
            if len(self._classes) > MOST_NAMES:
                self._classes.clear()
            known = self._classes[said] = _class(attributes)
        return known

    def _data(self, text: str) -> None:
        self._letters += len(text)
        self._text += text
        if len(self._text) > LONGEST_VALUE or self._letters > LARGEST_OBJECT:
            self._too_much("is too long")

    def _end(self, _tag: str) -> None:
        stack = self._stack
        name, kind, parts = stack.pop()
        value = self._text if parts is None and not kind else _value(kind, parts, self._text)
        self._text = ""
        depth = len(stack)
        if depth == _INSIDE and name == "objects":
            self._emit(value)
        elif depth == _INSIDE and name == "token":
            self._more(value)
        elif depth > _INSIDE:
            above = stack[-1]
            if above[2] is None:
                above[2] = {name: value}
                return
            held = above[2]
            if name not in held:
                held[name] = value
            elif type(held[name]) is _Several:
                held[name].append(value)
            else:
                held[name] = _Several((held[name], value))

    def _emit(self, found: Any) -> None:
        self._elements = self._letters = 0
        self._objects += 1
        if self._objects > MOST_OBJECTS:
            raise _strange("it never ends")
        try:
            self._take(_row(found))
        except (AttributeError, TypeError) as odd:
            raise _strange(f"an object is not described as the API says ({odd})") from odd

    def _outside(self, name: str, depth: int) -> None:
        """Check what surrounds the objects."""
        if depth < len(_WAY) and name not in (_WAY[depth], "Header"):
            raise _strange(f"it begins with <{name[:40]}>")
        if depth == 2 and name not in _ANSWERS and self._stack[-1][0] == "Body":
            raise _strange(f"it holds <{name[:40]}> instead of properties")

    def _learn(self, tag: str) -> str:
        if len(self._names) > MOST_NAMES or len(tag) > 256:
            raise _strange("its elements have endless names")
        name = self._names[tag] = tag.rpartition(":")[2]
        return name

    def _too_much(self, how: str) -> NoReturn:
        parts = self._stack[_INSIDE][2] if len(self._stack) > _INSIDE else None
        about = (parts or {}).get("obj")
        path = "/".join(frame[0] for frame in self._stack[_INSIDE + 1 :][:3])
        raise VCenterFault(
            f"{path or 'the answer'} {how} to be believed",
            on=about.value if isinstance(about, Reference) else "",
            remedy="look at this object in vCenter",
        )


class _Several(list[Any]):
    """Elements of one name beside each other."""


class _Pointer(str):
    """The class of a managed object that an element refers to."""

    __slots__ = ()


def _class(attributes: Mapping[str, str]) -> str:
    """What xsi:type says, without its prefix; for a reference, the kind of object."""
    said, pointed = "", ""
    for name, value in attributes.items():
        if len(value) > LONGEST_VALUE or len(name) > 256:
            raise _strange("it has an endless attribute")
        if name == "type":
            pointed = value
        elif name.endswith(":type"):
            said = value.rpartition(":")[2]
    return _Pointer(pointed) if pointed else said


def _value(kind: str, parts: dict[str, Any] | None, text: str) -> Any:
    if parts is None:
        if isinstance(kind, _Pointer):
            return Reference(kind, text)
        if text or not kind[:1].isupper():
            return text
        return [] if kind.startswith("ArrayOf") else Node(kind, {})
    if kind.startswith("ArrayOf"):
        return [one for held in parts.values() for one in (held if type(held) is _Several else (held,))]
    return Node(kind, parts)


def _row(found: Any) -> Row:
    pointer = found.obj
    values = {one.name: one.val for one in _each(found.propSet) if one.val is not None}
    missing = found.missingSet
    refused = {one.path: one.fault.fault for one in _each(missing)} if missing is not None else {}
    return Row(pointer.kind, pointer.value, values, refused)


def _each(value: Any) -> Any:
    return () if value is None else value if type(value) is _Several else (value,)
