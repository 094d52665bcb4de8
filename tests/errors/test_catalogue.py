"""Each error of the catalogue through its doors; docs/errors.md is the tables. `UPDATE_DOCS=1` writes it."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from connector.cli.main import _tell
from connector.clients.agents import ControlConnection
from connector.clients.refusal import KINDS, kind_of
from connector.control.smc.catalogue import CODES as PUBLIC
from connector.control.smc.catalogue import code_of
from connector.control.state import identity
from connector.error_catalogue import ENTRIES
from connector.errors import EXIT_CODES, ConnectorError, catalogue, from_json
from connector.sources.vddk import explain
from connector.vcenter.faults import RULES, translate
from connector.vcenter.vmomi import support, vmodl
from tools.docs.errors import kind_of_code, page, smc_code
from vddk.codes import CODES
from vddk.errors import from_value

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
KINDS_OF_OURS = sorted(catalogue())


@pytest.mark.generated
def test_the_page_is_the_tables() -> None:
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_every_error_has_an_entry_and_every_entry_an_error() -> None:
    assert set(ENTRIES) == set(catalogue())


@pytest.mark.parametrize("name", KINDS_OF_OURS)
def test_an_entry_is_complete(name: str) -> None:
    kind, entry = catalogue()[name], ENTRIES[name]
    assert entry.causes and entry.remedy and entry.seen and kind.__doc__
    assert kind.exit_code in EXIT_CODES and 400 <= kind.http_status < 600
    assert code_of(smc_code(kind))


@pytest.mark.parametrize("name", KINDS_OF_OURS)
def test_an_error_ends_the_command_line_with_its_code_and_one_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = catalogue()[name]
    code = _tell(kind("broke\nin two", on="disk 1", remedy="mend it"), ["--json"])
    told = capsys.readouterr()
    assert code == kind.exit_code
    assert told.err == "connector: disk 1: broke in two; mend it\n"
    assert type(from_json(json.loads(told.out))) is kind


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlConnection]:
    """A server that fails as a process of ours does: with the error that the path names."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = catalogue()[self.path.strip("/")]
            body = json.dumps(kind("broke", on="disk 1", remedy="mend it").to_json()).encode()
            self.send_response(kind.http_status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    ours = identity.load(tmp_path_factory.mktemp("identity"), "127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ours.certificate_file)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = ControlConnection(f"https://127.0.0.1:{server.server_port}", ours.thumbprint)
        yield connection
        connection.close()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", KINDS_OF_OURS)
def test_an_error_crosses_http_as_itself(echo: ControlConnection, name: str) -> None:
    with pytest.raises(ConnectorError) as told:
        echo.call("GET", f"/{name}")
    assert type(told.value) is catalogue()[name]
    assert str(told.value) == "disk 1: broke; mend it"
    assert told.value.retryable == catalogue()[name].retryable


def _kinds_of_rooms() -> list[type[ConnectorError]]:
    pending, found = [ConnectorError], []
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if kind.__name__ not in catalogue():
            found.append(kind)
    return found


@pytest.mark.parametrize("kind", _kinds_of_rooms(), ids=lambda kind: kind.__name__)
def test_what_a_room_derives_for_itself_goes_out_under_a_catalogued_id(kind: type[ConnectorError]) -> None:
    made = kind.__new__(kind)
    assert issubclass(kind, catalogue()[made.id])


def _fault(name: str) -> object:
    kinds = (support.GetVmodlType(known) for known in support.ListDataTypes() if known.endswith(f".{name}"))
    return next(kind for kind in kinds if issubclass(kind, (vmodl.MethodFault, vmodl.RuntimeFault)))(
        msg="words"
    )


@pytest.mark.parametrize("name", RULES)
def test_a_fault_of_vcenter_becomes_the_error_of_its_row(name: str) -> None:
    told = translate(_fault(name), "web-01")
    rule = RULES[name]
    assert type(told) is rule.error and told.id in ENTRIES
    assert told.retryable == rule.retryable
    assert told.remedy, "a user is told what to do"


@pytest.mark.parametrize("number", CODES)
def test_a_code_of_vddk_becomes_the_error_that_the_page_says(number: int) -> None:
    row = CODES[number]
    told = explain(from_value(number, "Read", "[ds] a.vmdk"), "[ds] a.vmdk")
    kind = kind_of_code(row.family)
    assert type(told) is kind and told.id in ENTRIES
    assert told.retryable == (row.retryable or kind.retryable)
    assert row.remedy in str(told)


@pytest.mark.parametrize("code", PUBLIC, ids=lambda code: code.name)
def test_a_code_of_the_public_api_is_an_error_of_the_catalogue_for_its_client(code: object) -> None:
    name = code.name.replace("*", "Thing")  # type: ignore[attr-defined]
    told = kind_of(name, code.status)("x")  # type: ignore[attr-defined]
    assert told.id in ENTRIES and told.exit_code > 1
    assert code.remedy and code.meaning  # type: ignore[attr-defined]


def test_every_pattern_of_codes_leads_into_the_catalogue() -> None:
    assert {kind("x").id for _, kind in KINDS} <= set(ENTRIES)
