"""Requests to values: bounded, without document types or entities, driven by the type tables.

A request that breaks a rule of XML, SOAP or the API raises Malformed with one line that can be shown to the
client.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

from simulator.vcenter.api import (
    DataObject,
    Enum,
    ManagedObject,
    MethodFault,
    fields_of,
    method_named,
    support,
    type_named,
    vmodl,
)

MAXIMUM_DEPTH = 64
MAXIMUM_ELEMENTS = 200_000
_XSI_TYPE = "http://www.w3.org/2001/XMLSchema-instance type"
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"


class Malformed(Exception):
    """The request is not XML, not SOAP, or not a call of the API."""


@dataclass(slots=True)
class Node:
    """One element: its local name, its namespace, attributes by local name, text and children."""

    name: str
    namespace: str
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def child(self, name: str) -> Node | None:
        return next((child for child in self.children if child.name == name), None)


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded call: method by WSDL name, the object it is called on, the arguments by parameter name."""

    method: str
    type_name: str
    moref: str
    arguments: dict[str, Any]
    headers: dict[str, str]


class _TreeBuilder:
    """Builds Nodes from expat's events and refuses what a SOAP message must not contain."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []
        self._count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= MAXIMUM_DEPTH or self._count > MAXIMUM_ELEMENTS:
            raise Malformed("the document is too deep or has too many elements")
        namespace, _, name = tag.rpartition(" ")
        node = Node(name, namespace, {key.rpartition(" ")[2]: value for key, value in attributes.items()})
        if _XSI_TYPE in attributes:
            node.attributes["xsi:type"] = attributes[_XSI_TYPE]
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, _tag: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        self._open[-1].parts.append(data)

    def refuse(self, *_arguments: Any) -> None:
        raise Malformed("document types and processing instructions are not allowed in SOAP messages")


def parse(document: bytes) -> Node:
    """The root element. Raises Malformed for anything that is not plain, well-formed, bounded XML."""
    builder = _TreeBuilder()
    parser = ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    parser.ProcessingInstructionHandler = builder.refuse
    try:
        parser.Parse(document, True)
    except (ExpatError, ValueError, LookupError) as error:
        raise Malformed(f"not well-formed: {error}") from None
    if builder.root is None:
        raise Malformed("no element")
    return builder.root


def request(document: bytes) -> Request:
    """Decode a SOAP call. Raises Malformed; an unknown method gives a Request without arguments."""
    envelope = parse(document)
    if envelope.name != "Envelope" or envelope.namespace != _SOAP:
        raise Malformed("the root element is not a SOAP 1.1 envelope")
    body = envelope.child("Body")
    if body is None or len(body.children) != 1:
        raise Malformed("the SOAP body must hold one call")
    header = envelope.child("Header")
    headers = {node.name: node.text for node in header.children} if header is not None else {}
    call = body.children[0]
    this = call.child("_this")
    if this is None:
        raise Malformed(f"{call.name} without _this")
    info = method_named(call.name)
    if call.name == "Fetch":
        arguments: dict[str, Any] = {node.name: node.text.strip() for node in call.children}
    else:
        arguments = {} if info is None else _arguments(call, info)
    return Request(call.name, this.attributes.get("type", ""), this.text.strip(), arguments, headers)


def _arguments(call: Node, info: Any) -> dict[str, Any]:
    parameters = {parameter.name: parameter for parameter in info.params}
    nodes_by_name: dict[str, list[Node]] = {}
    for child in call.children:
        if child.name == "_this":
            continue
        if child.name not in parameters:
            raise Malformed(f"{call.name} has no parameter {child.name}")
        nodes_by_name.setdefault(child.name, []).append(child)
    arguments: dict[str, Any] = {}
    for name, parameter in parameters.items():
        nodes = nodes_by_name.get(name, [])
        is_list = issubclass(parameter.type, list)
        if not nodes and not parameter.flags & 4 and not is_list:
            raise Malformed(f"{call.name} needs the parameter {name}")
        if len(nodes) > 1 and not is_list:
            raise Malformed(f"{call.name} takes one {name}")
        if is_list:
            arguments[name] = [value(node, parameter.type.Item) for node in nodes]
        else:
            arguments[name] = value(nodes[0], parameter.type) if nodes else None
    return arguments


def value(node: Node, declared: Any) -> Any:
    """The value of an element whose field is declared with this type (`object` means anyType)."""
    kind = _actual(node, declared)
    if issubclass(kind, list):
        return kind([value(child, kind.Item) for child in node.children])
    if kind is type:
        return _type(node)
    if kind in (support.ManagedMethod, support.PropertyPath):
        return support.PropertyPath(node.text.strip())
    if issubclass(kind, ManagedObject):
        return _reference(node)
    if kind is vmodl.LocalizedMethodFault or (issubclass(kind, MethodFault) and node.child("fault")):
        return _localized(node)
    if issubclass(kind, DataObject):
        return _data_object(node, kind)
    return _scalar(node, kind)


def _actual(node: Node, declared: Any) -> Any:
    type_name = node.attributes.get("xsi:type")
    if type_name is None or declared in (type, support.ManagedMethod, support.PropertyPath):
        return str if declared is object else declared
    try:
        actual = type_named(type_name.rpartition(":")[2])
    except KeyError:
        raise Malformed(f"unknown type {type_name} in {node.name}") from None
    if declared is object or issubclass(actual, declared) or issubclass(actual, ManagedObject):
        return actual
    if issubclass(declared, list) and issubclass(actual, list):
        return actual
    if not issubclass(declared, DataObject) and not issubclass(actual, DataObject | list):
        return declared
    raise Malformed(f"{node.name} cannot hold a {type_name}")


def _type(node: Node) -> Any:
    try:
        return type_named(node.text.strip().rpartition(":")[2])
    except KeyError:
        raise Malformed(f"unknown type {node.text.strip()[:80]!r} in {node.name}") from None


def _reference(node: Node) -> Any:
    name = node.attributes.get("type", "").rpartition(":")[2]
    try:
        kind = type_named(name)
    except KeyError:
        raise Malformed(f"unknown managed object type {name!r} in {node.name}") from None
    if not issubclass(kind, ManagedObject):
        raise Malformed(f"{name} in {node.name} is not a managed object type")
    return kind(node.text.strip())


def _localized(node: Node) -> Any:
    inner = node.child("fault")
    fault = value(inner, MethodFault) if inner is not None else MethodFault()
    message = node.child("localizedMessage")
    fault.msg = message.text if message is not None else None
    return fault


def _data_object(node: Node, kind: Any) -> Any:
    fields = fields_of(kind)
    instance = kind()
    for child in node.children:
        known = fields.get(child.name)
        if known is None:
            raise Malformed(f"{kind._wsdlName} has no field {child.name}")
        if issubclass(known.type, list):
            getattr(instance, child.name).append(value(child, known.type.Item))
        else:
            _assign(instance, child.name, value(child, known.type))
    return instance


def _assign(instance: Any, name: str, content: Any) -> None:
    try:
        setattr(instance, name, content)
    except TypeError as error:
        raise Malformed(str(error)) from None


def _scalar(node: Node, kind: Any) -> Any:
    text = node.text
    try:
        if issubclass(kind, Enum):
            return _enumerated(text.strip(), kind)
        reader = _READERS.get(kind)
        return reader(text) if reader is not None else kind(text)
    except (ValueError, TypeError, binascii.Error):
        raise Malformed(f"{node.name}: {text[:40]!r} is not a {getattr(kind, '__name__', kind)}") from None


def _enumerated(text: str, kind: Any) -> Any:
    if text not in kind.values:
        raise ValueError(text)
    return kind(text)


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]


def _boolean_or_refuse(text: str) -> bool:
    try:
        return _boolean(text)
    except KeyError:
        raise ValueError(text) from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_READERS: dict[Any, Callable[[str], Any]] = {
    bool: _boolean_or_refuse,
    datetime: _moment,
    support.binary: lambda text: support.binary(base64.b64decode(text, validate=False)),
    str: str,
    object: str,
}
