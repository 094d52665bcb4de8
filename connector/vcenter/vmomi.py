"""The one place where pyVmomi enters. Its names are `Any`: its types are built at run time, from data."""

from __future__ import annotations

from typing import Any

from pyVmomi import VmomiSupport as _support
from pyVmomi import vim as _vim
from pyVmomi import vmodl as _vmodl
from pyVmomi.SoapAdapter import SoapStubAdapter

vim: Any = _vim
vmodl: Any = _vmodl
support: Any = _support
plain: Any = SoapStubAdapter  # for calls of the base class, whose signatures are unknown

__all__ = ["SoapStubAdapter", "kind_of", "moref", "plain", "support", "vim", "vmodl"]


def kind_of(value: object) -> str:
    """The bare class name of a pyVmomi value: "VirtualDisk", "TaskInProgress"."""
    return type(value).__name__.rpartition(".")[2]


def moref(managed: Any) -> str:
    """The managed object reference of `managed`, e.g. "vm-101"; empty for None."""
    return "" if managed is None else str(managed._moId)
