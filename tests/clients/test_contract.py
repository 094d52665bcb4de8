"""What every client says of a peer that is not as it should be: one clear line, the same for the same failure, no secret."""

from __future__ import annotations

import contextlib
import datetime
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connector.clients.agents import ControlConnection
from connector.clients.endpoint import InstanceEndpoint
from connector.clients.https import RequestLimits
from connector.clients.smc import Access, SmcClient
from connector.errors import BadInput, ConnectorError, ControlFailed, TransferFailed, TrustFailed
from connector.model import Credential, InstanceAddress
from connector.patience import Patience
from connector.transfer.certificates import Authority, CertificateRole
from tests.clients.wire import (
    DAY,
    Listening,
    Server,
    answer,
    certificate,
    raw,
    serving,
    silent,
    thumbprint,
    without_end,
)
from tests.waiting import PATIENCE

SECRET = "hunter2-in-the-header"
LIMITS = RequestLimits(connect=5.0, silence=1.0, whole=3.0, largest=1 << 20)
HTML = ("<html>sign in, hunter3</html>", "text/html; charset=utf-8")


@dataclass
class Party:
    """One client against one server. `ask` may be repeated, `act` may not; `words`: how messages call the server."""

    server: Server
    ask: Callable[[], Any]
    act: Callable[[], Any]
    kind: type[ConnectorError]
    words: str


class Case:
    """How one client is made, and what its server shows."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name
        self.authority = Authority.create("j-1")

    def file(self, until: datetime.timedelta = DAY, role: CertificateRole = CertificateRole.INSTANCE) -> Path:
        if self.name != "instance":
            return certificate(self.home, until=until)
        issued = self.authority.issue(role, lifetime=until)
        file = self.home / f"{time.monotonic_ns()}.pem"
        file.write_text(issued.key + issued.certificate)
        return file

    @contextlib.contextmanager
    def against(self, shown: Path, trusted: Path | None = None) -> Iterator[Party]:
        """A party whose server shows `shown`; `trusted`: what its client was told to trust, if that is another one."""
        context = serving(shown, self.authority.certificate_pem if self.name == "instance" else "")
        with Listening(context) as server:
            yield self.party(server, trusted or shown)

    def party(self, server: Server, trusted: Path, limits: RequestLimits = LIMITS) -> Party:
        if self.name == "instance":
            credential = self.authority.issue(CertificateRole.APPLIANCE)
            return instance(server, credential, limits)
        if self.name == "appliance":
            return appliance(server, thumbprint(trusted), limits)
        pin, file = (thumbprint(trusted), None) if self.name == "pinned" else ("", trusted)
        return signed(server, pin, file, limits)


def signed(server: Server, pin: str, file: Path | None, limits: RequestLimits) -> Party:
    client = SmcClient(Access.of(server.url, "AKtest", SECRET, pin, file), limits=limits)
    look, change = lambda: client.call("DescribeX"), lambda: client.call("StartX")
    return Party(server, look, change, ControlFailed, "the control plane")


def appliance(server: Server, pin: str, limits: RequestLimits) -> Party:
    client = ControlConnection(server.url, pin, SECRET, limits=limits)
    call = lambda: client.call("POST", "/agents/v1/x", {"x": 1})  # noqa: E731 - a name for both
    return Party(server, call, call, ControlFailed, "the control plane")


def instance(server: Server, credential: Credential, limits: RequestLimits) -> Party:
    address = InstanceAddress("127.0.0.1", server.port)
    client = InstanceEndpoint(address, credential, Patience(2.0), limits)
    return Party(server, client.health, InstanceEndpoint(address, credential, limits=limits).health,
                 TransferFailed, "the instance")  # fmt: skip


@pytest.fixture(params=["pinned", "authority", "appliance", "instance"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(tmp_path, request.param)


@pytest.fixture
def party(case: Case) -> Iterator[Party]:
    with case.against(case.file()) as made:
        yield made


def refused(party: Party, kind: type[ConnectorError], call: Callable[[], Any] | None = None) -> str:
    """The one line."""
    with pytest.raises(kind) as caught:
        (call or party.act)()
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert said.isprintable()
    assert str(party.server.port) in said, "it says on which object"
    assert caught.value.remedy, "it says what to do"
    assert SECRET not in said + repr(caught.value.__cause__)
    assert "hunter" not in said
    assert "PRIVATE KEY" not in said
    return said


def test_an_answer(party: Party) -> None:
    party.server.answers = [answer(200, '{"a": 1}')]
    assert party.ask() == party.act() == {"a": 1}


def test_a_connection_is_kept_and_made_anew_when_it_was_closed(case: Case) -> None:
    if case.name == "instance":
        return  # every call makes its own
    with case.against(case.file()) as party:
        party.server.answers = [answer(200, "{}")] * 2 + [
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        ]
        for _ in range(3):
            party.act()
        assert party.server.connections == 1
        time.sleep(0.2)  # the end of the connection arrives
        party.act()
        assert party.server.connections == 2


def test_another_certificate(case: Case) -> None:
    shown, other = case.file(), case.file()
    if case.name == "instance":
        shown = Case(case.home, "instance").file()  # of another job
    with case.against(shown, trusted=other) as party:
        said = refused(party, TrustFailed)
        assert party.words in said
        if case.name in ("pinned", "appliance"):
            assert thumbprint(shown) in said
        else:
            assert "not the trusted one (" in said
        assert party.server.asked == []


def test_a_certificate_out_of_date(case: Case) -> None:
    with case.against(case.file(until=-5 * DAY if case.name != "instance" else -DAY / 1000)) as party:
        party.server.answers = [answer(200, "{}")]
        if case.name in ("pinned", "appliance"):
            assert party.act() == {}  # the pin decides, and nothing else
            return
        said = refused(party, TrustFailed)
        assert "out of date" in said
        assert "clock" in said
        assert party.server.asked == []


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    file = certificate(tmp_path, "control.example")
    with Listening(serving(file)) as server:
        said = refused(signed(server, "", file, LIMITS), TrustFailed)
    assert "not valid for '127.0.0.1'" in said


def test_the_certificate_of_another_side_of_the_job(tmp_path: Path) -> None:
    case = Case(tmp_path, "instance")
    foreign = case.file(role=CertificateRole.CONTROL)
    with case.against(foreign) as party:
        refused(party, TrustFailed)
        assert party.server.asked == []


def test_a_server_that_refuses_our_certificate(tmp_path: Path) -> None:
    case = Case(tmp_path, "instance")
    context = serving(case.file(), Authority.create("another").certificate_pem)
    with Listening(context) as server:
        said = refused(case.party(server, case.file()), TrustFailed)
        assert "the instance refuses our certificate" in said
        assert server.asked == []


def test_nobody_listens(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    party = case.party(Server(port), case.file())
    began = time.monotonic()
    said = refused(party, party.kind, party.ask)
    assert "no answer (Connection refused)" in said
    assert "look whether" not in said, "nothing can have been done"
    assert time.monotonic() - began < PATIENCE


def test_silence(party: Party) -> None:
    party.server.answers = [silent]
    assert "no answer within 1 s" in refused(party, party.kind)


def test_silence_in_the_handshake(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = Server(mute.getsockname()[1])
        party = case.party(server, case.file(), RequestLimits(connect=1.0))
        assert "no answer within 1 s" in refused(party, party.kind)


def test_it_hangs_up(party: Party) -> None:
    party.server.answers = [raw(b"")]
    assert "it hung up without an answer" in refused(party, party.kind)


@pytest.mark.parametrize(
    "half",
    [
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a": ',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"a": ',
    ],
    ids=["length", "chunked"],
)
def test_half_an_answer(party: Party, half: bytes) -> None:
    party.server.answers = [raw(half)]
    assert "in the middle of" in refused(party, party.kind)


def test_an_answer_that_drips(party: Party) -> None:
    party.server.answers = [without_end(b"x", 0.1)]
    assert "the answer did not end within 3 s" in refused(party, party.kind)


def test_an_answer_that_floods(party: Party) -> None:
    party.server.answers = [without_end(b"x" * 65536, 0)]
    assert "the answer is larger than 1048576 bytes" in refused(party, party.kind)


def test_no_http(party: Party) -> None:
    party.server.answers = [raw(b"220 mail.example ESMTP\r\n")]
    assert "it does not speak HTTP" in refused(party, party.kind)


def test_no_tls(case: Case) -> None:
    with Listening(None, greeting=b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n") as server:
        said = refused(case.party(server, case.file()), case.party(server, case.file()).kind)
    assert "it does not speak TLS" in said
    assert "check host and port" in said


@pytest.mark.parametrize("status", [200, 302, 401, 404, 407, 500])
def test_a_page_of_a_proxy(party: Party, status: int) -> None:
    party.server.answers = [answer(status, *HTML, "Location: https://127.0.0.1:1/elsewhere")]
    said = refused(party, ControlFailed, party.act)
    if status == 200 and party.words == "the instance":
        assert "something else than an object" in said
        return
    assert f"it answered {status} with text/html instead of the API's JSON" in said
    assert len(party.server.asked) == 1, "no redirect is followed, nothing is repeated"


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a": NaN', "\ufeff{}", "nul", "1" * 10_000])
def test_json_that_is_none(party: Party, body: str) -> None:
    party.server.answers = [answer(500, body)]
    assert "it answered 500" in refused(party, ControlFailed)


@pytest.mark.parametrize("body", ["{}", '{"disks": {"a": 1}}', '{"disks": ["a"]}'])
def test_a_list_that_is_none(tmp_path: Path, body: str) -> None:
    case = Case(tmp_path, "instance")
    with case.against(case.file()) as party:
        party.server.answers = [answer(200, body)] * 2
        endpoint = InstanceEndpoint(
            InstanceAddress("127.0.0.1", party.server.port), case.authority.issue(CertificateRole.APPLIANCE)
        )
        for call in (endpoint.settle, endpoint.disks):
            assert "no list of objects as 'disks'" in refused(party, ControlFailed, call)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_balancer_that_does_not_reach_it_for_a_moment(party: Party, status: int, case: Case) -> None:
    party.server.answers = [answer(status, *HTML), answer(200, "{}")]
    if case.name == "appliance":  # its callers repeat, and know better when
        assert "it answered" in refused(party, ControlFailed)
    assert party.ask() == {}
    assert len(party.server.asked) == 2


def test_what_is_not_harmless_is_not_repeated(tmp_path: Path) -> None:
    file = certificate(tmp_path)
    with Listening(serving(file)) as server:
        party = signed(server, thumbprint(file), None, LIMITS)
        server.answers = [raw(b""), answer(200, "{}")]
        assert "look whether StartX was done before repeating it" in refused(party, ControlFailed)
        assert len(server.asked) == 1
        assert party.act() == {}


def test_headers_and_cookies_of_the_answer_change_nothing(party: Party) -> None:
    party.server.answers = [
        answer(200, "{}", "application/json", "Set-Cookie: a=b", "WWW-Authenticate: Basic")
    ]
    party.act()
    party.act()
    assert b"cookie" not in party.server.asked[-1].lower()


def test_a_netrc_and_a_proxy_of_the_environment_are_not_used(
    party: Party, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    party.server.answers = [answer(200, "{}")]
    assert party.act() == {}
    assert b"Basic" not in party.server.asked[0]


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "sch\u00fcssel", "\udcff"])
def test_a_credential_that_no_header_can_carry(tmp_path: Path, text: str) -> None:
    file = certificate(tmp_path)
    with Listening(serving(file)) as server:
        client = ControlConnection(server.url, thumbprint(file), text, limits=LIMITS)
        with pytest.raises(BadInput) as caught:
            client.call("GET", "/agents/v1/x")
        assert "credential cannot be sent" in str(caught.value)
        assert text not in str(caught.value)
        assert server.asked == []


@pytest.mark.parametrize(
    "url", ["http://host", "https://", "host", "https://h:x", "https://user:hunter2@host", "https://[::1"]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        ControlConnection(url, "AB" * 32)
    assert "hunter2" not in str(caught.value)
    assert caught.value.remedy


def test_a_name_that_nobody_has() -> None:
    for name in ("nobody.invalid", "a" * 70 + ".example"):
        client = ControlConnection(f"https://{name}", "AB" * 32, limits=LIMITS)
        with pytest.raises(ControlFailed, match="check the name in the address"):
            client.call("GET", "/")
