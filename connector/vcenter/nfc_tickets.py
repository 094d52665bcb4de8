"""Tickets for NFC. Each is good for one connection to the host on which the machine runs when vCenter is asked.

vCenter serves NfcService without naming it in its public WSDL, so pyVmomi has no type for it. The types are registered here. The
service's moref differs between vCenter and a bare host, so it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from connector.errors import Ineligible, VCenterFault
from connector.model import NfcTicket
from connector.vcenter.faults import translated
from connector.vcenter.session import Session
from connector.vcenter.vmomi import support, vim

PRIVILEGE: Final = "VirtualMachine.Provisioning.GetVmFiles"
PORT: Final = 902
SERVICE: Final = "vpxa-nfc"
_VERSION: Final = "vim.version.version1"
_OPTIONAL: Final = 4
_OTHER_READER: Final = "read its disks with another reader (reader: vddk or https)"

support.CreateManagedType(
    "vim.NfcService",
    "NfcService",
    "vmodl.ManagedObject",
    _VERSION,
    None,
    [
        (
            "nfcGetVmFiles",
            "NfcGetVmFiles",
            _VERSION,
            (("vm", "vim.VirtualMachine", _VERSION, 0, None),),
            (0, "vim.HostServiceTicket", "vim.HostServiceTicket"),
            PRIVILEGE,
            None,
        )
    ],
)
support.CreateDataType(
    "vim.InternalServiceInstanceContent",
    "InternalServiceInstanceContent",
    "vmodl.DynamicData",
    _VERSION,
    [("nfcService", "vim.NfcService", _VERSION, _OPTIONAL)],
)


@dataclass(frozen=True)
class _InternalContent:
    """The description of RetrieveInternalContent, in the form that pyVmomi has for a method."""

    name: str = "retrieveInternalContent"
    wsdlName: str = "RetrieveInternalContent"
    version: str = _VERSION
    params: tuple[()] = ()

    @property
    def result(self) -> Any:
        return vim.InternalServiceInstanceContent


class NfcTickets:
    """Gets tickets from one vCenter or bare host. Thread-safe."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def ticket(self, machine: str) -> NfcTicket:
        """A ticket for reading every file of the machine, for one connection.

        Raises NotPermitted without the privilege `VirtualMachine.Provisioning.GetVmFiles`, Conflict or a VCenterFault that can be
        retried while no host serves the machine, and Ineligible where there is no NfcService.
        """
        with translated(machine):
            answer = self._service().NfcGetVmFiles(self._session.managed(vim.VirtualMachine, machine))
        return self._sound(machine, answer)

    def _service(self) -> Any:
        instance = self._session.managed(vim.ServiceInstance, "ServiceInstance")
        content = instance._stub.InvokeMethod(instance, _InternalContent(), ())
        service = getattr(content, "nfcService", None)
        if service is None:
            raise Ineligible("it names no NfcService", on=str(self._session.endpoint), remedy=_OTHER_READER)
        return self._session.managed(vim.NfcService, service._moId)

    def _sound(self, machine: str, answer: Any) -> NfcTicket:
        """The ticket, if everything that a connection needs is there. A bare host does not name itself."""
        host = getattr(answer, "host", None) or self._session.endpoint.host
        thumbprint, session_id = getattr(answer, "sslThumbprint", None), getattr(answer, "sessionId", None)
        if not thumbprint or not session_id:
            missing = "thumbprint" if session_id else "session id"
            raise VCenterFault(f"the ticket for NFC has no {missing}", on=machine, remedy=_OTHER_READER)
        port = getattr(answer, "port", None) or PORT
        service = getattr(answer, "service", None) or SERVICE
        return NfcTicket(host, port, thumbprint, service, session_id)
