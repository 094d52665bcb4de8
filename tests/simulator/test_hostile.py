"""Requests that no client should send: each gets a fault or a refusal, and the next client is served."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pyVim.connect import Disconnect
from pyVmomi import SoapAdapter, vim

from simulator.vcenter import Server, decode, serve
from simulator.vcenter.encode import Encoder
from tests.simulator.conftest import ACCOUNTS, all_machines, connect, opened_estate
from tests.waiting import PATIENCE

_SOAP = 'xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
_TIME = '<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all of these: whatever they send, it must go on serving."""
    with (
        opened_estate(tmp_path_factory.mktemp("hostile")) as estate,
        serve(estate, accounts=ACCOUNTS) as running,
    ):
        yield running


def envelope(body: str) -> str:
    return f"<e:Envelope {_SOAP}><e:Body>{body}</e:Body></e:Envelope>"


def login(fields: str, this: str = '<_this type="SessionManager">SessionManager</_this>') -> str:
    return envelope(f'<Login xmlns="urn:vim25">{this}{fields}</Login>')


def post(server: Server, document: str | bytes, **options: Any) -> requests.Response:
    data = document.encode() if isinstance(document, str) else document
    return requests.post(server.url, data=data, verify=str(server.certificate), timeout=PATIENCE, **options)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>' + envelope(
    _TIME
).replace("ServiceInstance</", "&b;</")
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + login("<userName>&a;</userName>")
MALFORMED = {
    "empty": "",
    "no xml": "GET / HTTP/1.0",
    "truncated": envelope(_TIME)[:-20],
    "bomb": BOMB,
    "external entity": EXTERNAL,
    "processing instruction": "<?php echo 1 ?>" + envelope(_TIME),
    "too deep": envelope("<a>" * 200 + "</a>" * 200),
    "too many": envelope("<a>" + "<b/>" * 200_001 + "</a>"),
    "no envelope": _TIME,
    "no body": f"<e:Envelope {_SOAP}/>",
    "two calls": envelope(_TIME + _TIME),
    "no this": envelope('<CurrentTime xmlns="urn:vim25"/>'),
    "unknown this": envelope(_TIME.replace('type="ServiceInstance"', 'type="Nonsense"')),
    "missing parameter": login("<userName>a</userName>"),
    "unknown parameter": login("<userName>a</userName><password>b</password><extra>c</extra>"),
    "twice": login("<userName>a</userName><userName>b</userName><password>b</password>"),
    "latin-1 as utf-8": envelope(_TIME).encode() + b"\xff",
    "null byte": envelope(_TIME.replace("ServiceInstance</", "\x00</")),
    "unknown encoding": '<?xml version="1.0" encoding="utf-99"?>' + envelope(_TIME),
}


@pytest.mark.parametrize("document", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_documents_get_an_invalid_request(server: Server, document: str | bytes) -> None:
    answer = post(server, document)
    assert answer.status_code == 500
    assert 'xsi:type="InvalidRequest"' in answer.text, answer.text
    assert "Traceback" not in answer.text


def call(method: str, kind: str, moref: str, inner: str = "") -> str:
    return f'<{method} xmlns="urn:vim25"><_this type="{kind}">{moref}</_this>{inner}</{method}>'


_SESSIONS = ("SessionManager", "SessionManager")
_EVENTS = ("EventManager", "EventManager")
_ENTITY = '<entity type="Folder">group-d1</entity><recursion>sideways</recursion>'
WRONG = [
    (call("NoSuchMethod", *_SESSIONS), "MethodNotFound"),
    (call("CurrentTime", "ServiceInstance", "Nobody"), "ManagedObjectNotFound"),
    (call("CurrentTime", *_SESSIONS), "MethodNotFound"),
    (call("Fetch", *_SESSIONS, "<prop>x</prop>"), "InvalidProperty"),
    (call("QueryPerfCounter", "PerformanceManager", "PerfMgr", "<counterId>1</counterId>"), "NotSupported"),
    (call("SessionIsActive", *_SESSIONS, "<sessionID>x</sessionID>"), "InvalidRequest"),
    (call("QueryEvents", *_EVENTS, "<filter><maxCount>many</maxCount></filter>"), "InvalidRequest"),
    (call("QueryEvents", *_EVENTS, '<filter xsi:type="ServiceContent"/>'), "InvalidRequest"),
    (call("QueryEvents", *_EVENTS, '<filter xsi:type="object"/>'), "InvalidRequest"),
    (call("PowerOffVM_Task", "VirtualMachine", "group-v3"), "ManagedObjectNotFound"),
    (call("QueryEvents", *_EVENTS, f"<filter><entity>{_ENTITY}</entity></filter>"), "InvalidRequest"),
]


@pytest.mark.parametrize(("body", "fault"), WRONG)
def test_wrong_calls_get_their_fault(server: Server, client: Any, body: str, fault: str) -> None:
    answer = post(server, envelope(body), headers={"Cookie": client._stub.cookie})
    assert answer.status_code == 500
    assert f'xsi:type="{fault}"' in answer.text, answer.text


def test_oversized_and_unmeasured_requests_are_refused(server: Server) -> None:
    def raw(head: str) -> bytes:
        context = ssl.create_default_context(cafile=str(server.certificate))
        with (
            socket.create_connection((server.host, server.port), 10) as plain,
            context.wrap_socket(plain, server_hostname=server.host) as secured,
        ):
            secured.sendall(f"POST /sdk HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
            return secured.recv(100)

    assert b" 413 " in raw("Content-Length: 99999999999")
    assert b" 411 " in raw("X: y")
    assert b" 411 " in raw("Content-Length: -5")
    assert b" 400 " in raw("Transfer-Encoding: chunked\r\n\r\nzz")


def test_chunked_requests_are_understood(server: Server, client: Any) -> None:
    text = envelope(_TIME).encode()
    answer = post(server, iter([text[:50], text[50:]]), headers={"Cookie": client._stub.cookie})  # type: ignore[arg-type]
    assert answer.status_code == 200


def test_plain_text_and_half_open_connections_hurt_nobody(server: Server, client: Any) -> None:
    with socket.create_connection((server.host, server.port), 10) as silent:
        with socket.create_connection((server.host, server.port), 10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            plain.settimeout(10)
            with suppress(ConnectionResetError):
                while plain.recv(100):
                    pass
        assert client.CurrentTime() is not None
        assert silent.fileno() >= 0


def test_other_paths_and_the_version_document(server: Server) -> None:
    root = server.url.removesuffix("/sdk")

    def get(path: str) -> requests.Response:
        return requests.get(root + path, verify=str(server.certificate), timeout=PATIENCE)

    assert "<version>8.0.3.0</version>" in get("/sdk/vimServiceVersions.xml").text
    assert "9.0.0.0" not in get("/sdk/vimServiceVersions.xml").text
    assert get("/sdk/vimService.wsdl").status_code == 200
    assert get("/").status_code == 200
    assert get("/../../etc/passwd").status_code == 404
    assert (
        requests.post(root + "/pbm", data=b"", verify=str(server.certificate), timeout=PATIENCE).status_code
        == 404
    )


@pytest.mark.parametrize("version", ["vim25/9.1.0.0", "vim25/6.5", "vim25", "", "nonsense", "vim25/8.0.3.0"])
def test_any_version_header_is_served(server: Server, client: Any, version: str) -> None:
    headers = {"Cookie": client._stub.cookie, "SOAPAction": f'"urn:{version}"'}
    assert post(server, envelope(_TIME), headers=headers).status_code == 200


def test_many_clients_at_once(server: Server) -> None:
    def visit(_number: int) -> int:
        instance = connect(server)
        try:
            return sum(len(vm.config.hardware.device) > 0 for vm in all_machines(instance).view)
        finally:
            Disconnect(instance)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(visit, range(16))) == [3] * 16
    assert not server.center.sessions.all()


_TEXT = st.text(
    st.characters(
        exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32))) + "\ufffe\uffff"
    ),
    max_size=40,
)


@given(
    st.lists(st.tuples(_TEXT, _TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans()), max_size=5), _TEXT
)
def test_pyvmomi_reads_what_the_encoder_writes(options: list[tuple[str, Any]], name: str) -> None:
    pairs = [
        vim.option.OptionValue(
            key=key, value=SoapAdapter.GetVmodlType("long")(value) if type(value) is int else value
        )
        for key, value in options
    ]
    spec = vim.vm.ConfigSpec(name=name, extraConfig=pairs, changeTrackingEnabled=True)
    text = Encoder("vim.version.v8_0_3_0").element("spec", spec, vim.vm.ConfigSpec)
    whole = text.replace(
        "<spec>", f'<spec xmlns="urn:vim25" xmlns:xsd="http://www.w3.org/2001/XMLSchema" {_SOAP}>', 1
    )
    back = SoapAdapter.Deserialize(whole, vim.vm.ConfigSpec)
    assert back.name == name
    assert [(option.key, option.value) for option in back.extraConfig] == [
        (key, value) for key, value in options
    ]


@given(_TEXT, st.lists(st.tuples(_TEXT, _TEXT), max_size=4), st.booleans() | st.none())
def test_the_decoder_reads_what_pyvmomi_writes(
    name: str, options: list[tuple[str, str]], flag: bool | None
) -> None:
    spec = vim.vm.ConfigSpec(
        name=name,
        changeTrackingEnabled=flag,
        extraConfig=[vim.option.OptionValue(key=key, value=value) for key, value in options],
    )
    text = SoapAdapter.SerializeToStr(spec, version="vim.version.v8_0_3_0")
    node = decode.parse(text.encode())
    back = decode.value(node, vim.vm.ConfigSpec)
    assert (back.name, back.changeTrackingEnabled) == (name, flag)
    assert [(option.key, option.value) for option in back.extraConfig] == options


@given(st.binary(max_size=200))
def test_the_decoder_raises_nothing_but_malformed(document: bytes) -> None:
    with pytest.raises(decode.Malformed):
        decode.request(document)
