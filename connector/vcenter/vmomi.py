"""pyVmomi is imported here only. Its names are `Any`, because its types are built from data at run time."""

from __future__ import annotations

from typing import Any

from pyVmomi import VmomiSupport as _support
from pyVmomi import vim as _vim
from pyVmomi import vmodl as _vmodl
from pyVmomi.SoapAdapter import SoapDeserializer as _ValueDeserializer
from pyVmomi.SoapAdapter import SoapResponseDeserializer as _Deserializer
from pyVmomi.SoapAdapter import SoapStubAdapter

from connector.vcenter.values import kind_of, moref

vim: Any = _vim
vmodl: Any = _vmodl
support: Any = _support
SoapDeserializer: Any = _ValueDeserializer
SoapResponseDeserializer: Any = _Deserializer
plain: Any = SoapStubAdapter  # for calls of the base class, whose signatures are unknown

__all__ = [
    "SoapDeserializer",
    "SoapResponseDeserializer",
    "SoapStubAdapter",
    "kind_of",
    "moref",
    "plain",
    "support",
    "vim",
    "vmodl",
]
