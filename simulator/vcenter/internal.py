"""What vCenter serves without naming it in its public WSDL: the internal content of ServiceInstance, and NfcService.

The descriptions are kept here and not put into pyVmomi's tables: a client in the same process registers its own.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from simulator.nfc import Ticket
from simulator.vcenter.api import INTERNAL_METHODS, INTERNAL_TYPES, ManagedObject, make, vim, vmodl
from simulator.vcenter.hostile import Raw
from simulator.vcenter.kinds import Call, Kind, Target

MOREF = "nfcService"
_OPTIONAL = 4
_VERSION = "vim.version.version1"
_FILES, _READ = "VirtualMachine.Provisioning.GetVmFiles", "VirtualMachine.Provisioning.DiskRandomRead"
_LIBRARY = 11

NFC_SERVICE: Any = type(
    "NfcService",
    (ManagedObject,),
    {"_wsdlName": "NfcService", "_version": _VERSION, "_propInfo": {}, "_propList": [], "_methodInfo": {}},
)


def _parameter(name: str, kind: Any, flags: int = 0) -> Any:
    return SimpleNamespace(name=name, type=kind, flags=flags)


def _method(owner: Any, result: Any, *parameters: Any) -> Any:
    return SimpleNamespace(type=owner, params=parameters, result=result, privId=None)


_VM, _HOST = _parameter("vm", vim.VirtualMachine), _parameter("hostForAccess", vim.HostSystem, _OPTIONAL)
INTERNAL_TYPES["NfcService"] = NFC_SERVICE
INTERNAL_METHODS |= {
    "RetrieveInternalContent": _method(vim.ServiceInstance, object),
    "NfcGetVmFiles": _method(NFC_SERVICE, vim.HostServiceTicket, _VM),
    "NfcRandomAccessOpenReadonly": _method(
        NFC_SERVICE, vim.HostServiceTicket, _VM, _parameter("diskDeviceKey", int), _HOST
    ),
    "NfcGetServerNfcLibVersion": _method(NFC_SERVICE, int, _HOST),
}


def content(_call: Call) -> Any:
    """InternalServiceInstanceContent, as far as it is served."""
    return Raw(body=f'<nfcService type="NfcService">{MOREF}</nfcService>'.encode())


def _ticket(call: Call, privilege: str, disk: int | None = None) -> Any:
    """A ticket for a machine that the user may read. Raises NoPermission, and what the host refuses."""
    machine = call.center.locate(call["vm"])
    call.center.authority.demand(call.session, machine, privilege)
    host = None if call["hostForAccess"] is None else call.center.locate(call["hostForAccess"]).moref
    if call.center.nfc is None:
        raise vmodl.fault.NotSupported(msg="This vCenter has no hosts that serve NFC.")
    return _described(call.center.nfc.issue(machine.moref, disk, host))


def _described(ticket: Ticket) -> Any:
    return make(
        vim.HostServiceTicket,
        host=ticket.address,
        port=ticket.port,
        sslThumbprint=ticket.thumbprint,
        service=ticket.service,
        serviceVersion=ticket.service_version,
        sessionId=ticket.session_id,
    )


def _version(call: Call) -> int:
    return _LIBRARY if call.center.nfc is None else call.center.nfc.switches.nfc_version


NFC = Kind(
    NFC_SERVICE,
    {},
    {
        "NfcGetVmFiles": lambda call: _ticket(call, _FILES),
        "NfcRandomAccessOpenReadonly": lambda call: _ticket(call, _READ, call["diskDeviceKey"]),
        "NfcGetServerNfcLibVersion": _version,
    },
)


def target(center: Any) -> Target:
    """The one NfcService of a vCenter."""
    return Target(NFC, MOREF, center)
