"""Every fault that our calls may raise has a row in the table; nothing foreign leaves the room."""

from __future__ import annotations

import socket
import ssl
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected
from xml.parsers.expat import ExpatError

import pytest

from connector.errors import (
    Conflict,
    ConnectorError,
    NotFound,
    NotPermitted,
    TrustFailed,
    Unreachable,
    VCenterFault,
)
from connector.vcenter.calls import CALLS
from connector.vcenter.faults import FALLBACK, RULES, rule, translate, translated
from connector.vcenter.vmomi import support, vim, vmodl

#: Not in the public API, so pyVmomi has no description of them; `nfc_tickets` has one.
INTERNAL = {"RetrieveInternalContent", "NfcGetVmFiles"}


def _methods() -> dict[str, object]:
    """Every method of every managed type, by its name on the wire."""
    found: dict[str, object] = {}
    for name in support.ListManagedTypes():
        if name.startswith(("vim.", "vmodl.")):
            kind = support.GetVmodlType(name)
            for method in kind._methodInfo.values():
                found.setdefault(_info(kind, method).wsdlName, _info(kind, method))
    return found


def _info(kind: object, method: object) -> object:
    return getattr(method, "info", method)


def _fault_types() -> list[type]:
    names = [name for name in support.ListDataTypes() if name.startswith(("vim.", "vmodl."))]
    types = [support.GetVmodlType(name) for name in names]
    return [
        kind for kind in types if issubclass(kind, vmodl.MethodFault) or issubclass(kind, vmodl.RuntimeFault)
    ]


def _declared() -> list[type]:
    methods = _methods()
    names = {fault for call in CALLS if call not in INTERNAL for fault in methods[call].faults}  # type: ignore[attr-defined]
    declared = (*(support.GetVmodlType(name) for name in names), vmodl.RuntimeFault)
    return [kind for kind in _fault_types() if issubclass(kind, declared) and kind is not vmodl.RuntimeFault]


def test_the_calls_exist_under_the_names_that_we_use() -> None:
    assert set(CALLS) - INTERNAL <= set(_methods())


def test_no_fault_that_our_calls_declare_is_unmapped() -> None:
    declared = _declared()
    assert len(declared) > 100
    assert [kind.__name__ for kind in declared if rule(kind) is FALLBACK] == []


def test_every_row_names_a_fault_that_exists() -> None:
    names = {kind.__name__.rpartition(".")[2] for kind in _fault_types()}
    assert set(RULES) <= names


@pytest.mark.parametrize("kind", _fault_types(), ids=lambda kind: kind.__name__)
def test_every_fault_of_the_api_becomes_one_line_of_ours(kind: type) -> None:
    told = translate(kind(msg="words\nof vCenter"), "web-01")
    assert isinstance(told, ConnectorError)
    assert str(told).startswith("web-01: ")
    assert "\n" not in str(told)
    assert kind.__name__.rpartition(".")[2] in str(told) and "words of vCenter" in str(told)


def test_details_are_told() -> None:
    told = translate(vim.fault.NoPermission(privilegeId="VirtualMachine.State.CreateSnapshot"), "web-01")
    assert isinstance(told, NotPermitted) and "VirtualMachine.State.CreateSnapshot" in str(told)
    assert "a.vmdk" in str(translate(vim.fault.FileFault(file="[ds] a/a.vmdk")))


def test_an_unknown_fault_keeps_its_name() -> None:
    assert "ReplicationFault" in str(translate(vim.fault.ReplicationFault(msg="no"), "x"))
    assert rule(ValueError) is FALLBACK


def test_only_what_passes_by_itself_is_retryable() -> None:
    assert translate(vim.fault.TaskInProgress()).retryable
    assert not translate(vim.fault.FileFault()).retryable
    assert isinstance(translate(vim.fault.ToolsUnavailable()), Conflict)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ConnectionRefusedError(111, "Connection refused"), Unreachable),
        (TimeoutError(), Unreachable),
        (socket.gaierror(-2, "Name or service not known"), Unreachable),
        (RemoteDisconnected("closed"), Unreachable),
        (HTTPException("503 Service Unavailable"), Unreachable),
        (ssl.SSLError(1, "wrong version"), Unreachable),
        (ssl.SSLCertVerificationError(1, "bad"), TrustFailed),
        (IncompleteRead(b"<soap"), Unreachable),
        (BadStatusLine("x"), VCenterFault),
        (ExpatError("x"), VCenterFault),
        (vmodl.fault.ManagedObjectNotFound(), NotFound),
        (NotFound("x"), NotFound),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_the_bracket(raised: Exception, kind: type[ConnectorError]) -> None:
    with pytest.raises(kind) as told, translated("web-01"):
        raise raised
    assert told.value.on == "web-01"


def test_our_own_mistakes_are_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError), translated("x"):
        raise ZeroDivisionError
