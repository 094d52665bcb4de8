"""NfcService over SOAP: found through the internal content, tickets by privilege, refusals as faults, a read to the end."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.estate.estate import Estate
from simulator.nfc import Ticket
from simulator.nfc.switches import Switches, markdown, with_values
from simulator.vcenter import Server, host_calls, serve
from tests.simulator.conftest import ACCOUNTS, connect, opened_estate
from tests.simulator_nfc.raw import Client, joined
from tests.waiting import PATIENCE

FILES, READ = "VirtualMachine.Provisioning.GetVmFiles", "VirtualMachine.Provisioning.DiskRandomRead"
Call = Callable[[str], tuple[int, str]]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with opened_estate(tmp_path_factory.mktemp("nfc-soap") / "estate") as made:
        yield made


@pytest.fixture(scope="module")
def server(estate: Estate) -> Iterator[Server]:
    with serve(estate, accounts=ACCOUNTS) as running:
        yield running


@pytest.fixture(scope="module")
def call(server: Server) -> Call:
    """A call as it is sent, by a session of the administrator: no type of pyVmomi has a part in it."""
    cookie = connect(server)._stub.cookie

    def send(body: str, cookie: str = cookie) -> tuple[int, str]:
        return _post(server, body, cookie)

    return send


def _post(server: Server, body: str, cookie: str) -> tuple[int, str]:
    context = ssl.create_default_context(cafile=str(server.certificate))
    connection = http.client.HTTPSConnection(server.host, server.port, context=context, timeout=PATIENCE)
    text = (
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
        f"{body}</soapenv:Body></soapenv:Envelope>"
    )
    headers = {"Cookie": cookie, "SOAPAction": '"urn:vim25/8.0.3.0"', "Content-Type": "text/xml"}
    connection.request("POST", "/sdk", text.encode(), headers)
    answer = connection.getresponse()
    status, document = answer.status, answer.read().decode()
    connection.close()
    return status, document


def _service(method: str, arguments: str = "") -> str:
    this = '<_this type="NfcService">nfcService</_this>'
    return f'<{method} xmlns="urn:vim25">{this}{arguments}</{method}>'


def _vm(moref: str = "vm-101") -> str:
    return f'<vm type="VirtualMachine">{moref}</vm>'


def _ticket(document: str) -> Ticket:
    value = dict(
        re.findall(r"<(host|port|sslThumbprint|service|serviceVersion|sessionId)>([^<]+)<", document)
    )
    return Ticket(
        value["sessionId"], "", "", value["host"], int(value["port"]), value["sslThumbprint"],
        None, value["service"], value["serviceVersion"],
    )  # fmt: skip


def test_the_service_is_found_in_the_internal_content(call: Call, server: Server) -> None:
    this = '<_this type="ServiceInstance">ServiceInstance</_this>'
    body = f'<RetrieveInternalContent xmlns="urn:vim25">{this}</RetrieveInternalContent>'
    status, document = call(body)
    assert status == 200
    assert '<nfcService type="NfcService">nfcService</nfcService>' in document
    assert "NotAuthenticated" in _post(server, body, "")[1]


def test_the_version_of_the_hosts_library(call: Call) -> None:
    status, document = call(_service("NfcGetServerNfcLibVersion"))
    assert (status, "<returnval>11</returnval>" in document) == (200, True)


def test_a_ticket_reads_the_disk_of_a_snapshot(call: Call, server: Server, estate: Estate) -> None:
    disk = estate.inventory.vm("vm-101").disks[0]
    storage = estate.storage.disk(disk.storage)
    storage.write(8192, b"before the snapshot " * 1024)
    snapshot = estate.snapshots.create("vm-101", "for nfc")
    status, document = call(_service("NfcGetVmFiles", _vm()))
    assert status == 200
    ticket = _ticket(document)
    assert (ticket.service, ticket.service_version) == ("vpxa-nfc", "1.1")
    assert ticket.thumbprint == server.thumbprint
    with Client(ticket).begin() as client:
        handle = client.opened(estate.inventory.vm("vm-101").snapshot(snapshot).disks[0].path)
        client.want(handle, 0, 65536)
        assert joined(client.pieces(65536), 65536) == storage.read(0, 65536, snapshot)
        client.end()


def test_a_ticket_for_one_disk(call: Call, estate: Estate) -> None:
    vm = estate.inventory.vm("vm-101")
    other = next(moref for moref in estate.inventory.hosts if moref != vm.host)
    key = f"<diskDeviceKey>{vm.disks[1].key}</diskDeviceKey>"
    status, document = call(_service("NfcRandomAccessOpenReadonly", _vm() + key))
    assert status == 200
    elsewhere = key + f'<hostForAccess type="HostSystem">{other}</hostForAccess>'
    status, there = call(_service("NfcRandomAccessOpenReadonly", _vm() + elsewhere))
    assert status == 200
    assert _ticket(there).port != _ticket(document).port
    status, document = call(
        _service("NfcRandomAccessOpenReadonly", _vm() + "<diskDeviceKey>9</diskDeviceKey>")
    )
    assert (status, "InvalidArgument" in document, "diskDeviceKey" in document) == (500, True, True)


@pytest.mark.parametrize(
    ("method", "arguments", "privilege"),
    [
        ("NfcGetVmFiles", "", FILES),
        ("NfcRandomAccessOpenReadonly", "<diskDeviceKey>2000</diskDeviceKey>", READ),
    ],
)
def test_a_ticket_needs_its_privilege(
    call: Call, server: Server, method: str, arguments: str, privilege: str
) -> None:
    request = _service(method, _vm() + arguments)
    server.center.authority.deny(privilege, "vm-101")
    try:
        status, document = call(request)
        assert (status, "NoPermission" in document, privilege in document) == (500, True, True)
    finally:
        server.center.authority.allow(privilege, "vm-101")
    assert call(request)[0] == 200
    assert "NotAuthenticated" in _post(server, request, "")[1]


def test_no_ticket_for_what_is_not_there(call: Call, server: Server, estate: Estate) -> None:
    assert "ManagedObjectNotFound" in call(_service("NfcGetVmFiles", _vm("vm-4711")))[1]
    assert "InvalidRequest" in call(_service("NfcGetVmFiles"))[1]
    host: Any = estate.inventory.vm("vm-101").host
    host_calls.change(server.center, host, in_maintenance=True)
    try:
        status, document = call(_service("NfcGetVmFiles", _vm()))
        assert (status, "InvalidState" in document) == (500, True)
    finally:
        host_calls.change(server.center, host, in_maintenance=False)


def test_switches_of_the_command_line() -> None:
    made = with_values(
        Switches(), ["memory=1048576", "lock_live=false", "damage=overlap", "ticket_seconds=1.5"]
    )
    assert (made.memory, made.lock_live, made.damage, made.ticket_seconds) == (1 << 20, False, "overlap", 1.5)
    for wrong in (
        "memory",
        "nonsense=1",
        "memory=much",
        "lock_live=1",
        "damage=utter",
        "second_certificate=none",
    ):
        with pytest.raises(ValueError, match="NFC switch"):
            with_values(Switches(), [wrong])


@pytest.mark.generated
def test_the_document_has_every_switch() -> None:
    assert markdown() in (Path(__file__).parents[2] / "docs" / "simulator-nfc.md").read_text()
