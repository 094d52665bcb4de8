"""The vSphere type tables come from pyVmomi; nothing else of pyVmomi is used to serve.

Every type, method, parameter, version and privilege name that the server knows is read from these tables,
so a request may carry any type that exists in the API, not only those that the simulator fills in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import pyVmomi
from pyVmomi import VmomiSupport as _support

# pyVmomi's stubs know neither: its types are made when they are first asked for.
vim: Any = getattr(pyVmomi, "vim")  # noqa: B009
vmodl: Any = getattr(pyVmomi, "vmodl")  # noqa: B009
support: Any = _support

T = TypeVar("T")
#: By WSDL name: what the API has beyond pyVmomi's tables. `internal` fills them before anything is served.
INTERNAL_TYPES: dict[str, Any] = {}
INTERNAL_METHODS: dict[str, Any] = {}
NAMESPACE = "urn:vim25"
OPTIONAL = 4

DataObject: Any = support.DataObject
ManagedObject: Any = support.ManagedObject
MethodFault: Any = vmodl.MethodFault
Enum: Any = support.Enum


def remembered(function: Callable[[Any], T]) -> Callable[[Any], T]:
    """`functools.cache` for one argument of any type: types are hashable, which mypy does not always
    believe.
    """
    return cache(function)


@remembered
def type_named(name: str) -> Any:
    """The type with this WSDL name (`VirtualMachine`, `ArrayOfString`, `long`).

    Raises KeyError for a name that the API does not have.
    """
    if name.endswith("ManagedObjectReference"):
        name = name.removesuffix("Reference")
    if name in INTERNAL_TYPES:
        return INTERNAL_TYPES[name]
    for namespace in (NAMESPACE, support.XMLNS_XSD):
        try:
            return support.GetWsdlType(namespace, name)
        except KeyError:
            continue
    raise KeyError(name)


@remembered
def name_of(kind: Any) -> str:
    """The WSDL name of a type, as in `xsi:type` and `type="..."`."""
    name = str(support.GetWsdlName(kind))
    return "ArrayOfManagedObjectReference" if name == "ArrayOfManagedObject" else name


@remembered
def method_named(name: str) -> Any | None:
    """The description of a method by WSDL name (`PowerOnVM_Task`): parameters, result, privilege; else
    None.
    """
    if name in INTERNAL_METHODS:
        return INTERNAL_METHODS[name]
    try:
        return support.GetWsdlMethod(NAMESPACE, name).info
    except KeyError:
        return None


def method_names() -> frozenset[str]:
    """The WSDL names of all methods. It takes a second."""
    kinds = map(support.GetVmodlType, support.ListManagedTypes())
    return frozenset(INTERNAL_METHODS).union(*(_methods_of(kind) for kind in kinds))


def _methods_of(kind: Any) -> set[str]:
    return {info.wsdlName for info in kind._GetMethodList()}


@remembered
def fields_of(kind: Any) -> dict[str, Any]:
    """Field name -> field description (type, flags, version) of a data or managed type, in wire order."""
    return {field.name: field for field in kind._GetPropertyList()}


@remembered
def _blank(kind: Any) -> tuple[dict[str, Any], tuple[tuple[str, Any], ...]]:
    plain: dict[str, Any] = {}
    lists: list[tuple[str, Any]] = []
    fresh = kind()
    for field in fields_of(kind).values():
        if issubclass(field.type, list):
            lists.append((field.name, field.type))
        else:
            plain[field.name] = getattr(fresh, field.name)
    return plain, tuple(lists)


def make(kind: Any, **values: Any) -> Any:
    """A data object, ten times faster than its constructor (which takes a lock for each field).

    Only the names are checked; a wrong value shows when it is encoded. Raises AttributeError for an unknown
    name.
    """
    plain, lists = _blank(kind)
    instance = kind.__new__(kind)
    content: dict[str, Any] = instance.__dict__
    content.update(plain)
    for name, array in lists:
        content[name] = array()
    for name, value in values.items():
        if name not in content:
            raise AttributeError(f"{name_of(kind)} has no field {name}")
        if isinstance(value, list) and not isinstance(value, support.Array):
            value = fields_of(kind)[name].type(value)
        content[name] = value
    return instance


def reference(kind: Any, moref: str) -> Any:
    """A reference to a managed object, as it is sent to clients."""
    return kind(moref)
