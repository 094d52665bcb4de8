"""Invariant 12: certificates are verified or pinned before any credential is sent; trust is never learned."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from connector.errors import BadInput, ConnectorError, TrustFailed, Unreachable, VCenterFault
from connector.settings import VCenterSettings
from connector.vcenter.endpoint import VCenterAddress
from connector.vcenter.session import Session
from connector.vcenter.trust import VCenterTrust, presented, thumbprint
from tests.vcenter.witness import PASSWORD, USER, Identity, Witness, identity


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("vc.example", "vc.example", 443),
        ("vc.example:8443", "vc.example", 8443),
        ("https://vc.example", "vc.example", 443),
        ("https://vc.example:444/sdk/", "vc.example", 444),
        (" https://VC.example/sdk ", "vc.example", 443),
        ("https://[2001:db8::1]:9443", "2001:db8::1", 9443),
    ],
)
def test_addresses(url: str, host: str, port: int) -> None:
    assert VCenterAddress.parse(url) == VCenterAddress(host, port)


@pytest.mark.parametrize(
    "url",
    [
        "http://vc.example",
        "https://",
        "",
        "https://root:hunter2@vc.example",
        "https://vc.example/ui/app",
        "https://vc.example:99999",
        "https://[fe80::1",
        "https://root:hunter2@[fe80::1",
        "https://vc.example/sdk?x=1",
    ],
)
def test_bad_addresses_are_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        VCenterAddress.parse(url)
    assert "hunter2" not in str(refused.value)


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert str(VCenterAddress("2001:db8::1", 9443)) == "https://[2001:db8::1]:9443"


@pytest.mark.parametrize(
    ("pin", "authority"), [("", None), ("ab" * 20, Path("ca.pem")), ("ab" * 19, None), ("xy" * 20, None)]
)
def test_trust_needs_exactly_one_usable_source(pin: str, authority: Path | None) -> None:
    with pytest.raises(BadInput):
        VCenterTrust.of(pin, authority)


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize(
    "spell", [str.lower, str.upper, lambda text: text.replace(":", ""), lambda text: f" {text} "]
)
def test_a_pin_is_accepted_in_any_spelling(witness: Witness, digest: str, spell: object) -> None:
    pin = spell(thumbprint(witness.identity.der, digest))  # type: ignore[operator]
    with Session(witness.settings(thumbprint=pin)) as session:
        assert session.thumbprint == thumbprint(witness.identity.der, "sha1")


def test_an_authority_file_is_enough(witness: Witness) -> None:
    with Session(witness.settings(thumbprint="", authority=witness.identity.certificate)) as session:
        assert session.about.api_type == "VirtualCenter"
        assert session.thumbprint == thumbprint(witness.identity.der)


def test_a_foreign_authority_is_refused(witness: Witness, tmp_path: Path) -> None:
    other = identity(tmp_path)
    with (
        pytest.raises(TrustFailed, match="authority"),
        Session(witness.settings(thumbprint="", authority=other.certificate)),
    ):
        pass


def test_an_unreadable_authority_file_is_named(witness: Witness, tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("")
    with pytest.raises(BadInput, match=r"ca\.pem"), Session(witness.settings(thumbprint="", authority=empty)):
        pass


def test_a_person_can_be_shown_the_certificate(witness: Witness) -> None:
    assert presented(VCenterAddress.parse(witness.url)) == witness.identity.der


class Impostor:
    """A TLS server that notes every byte that it is sent after the handshake."""

    def __init__(self, shown: Identity) -> None:
        self.heard = b""
        self._shown = shown
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._shown.certificate, self._shown.key)
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as talk:
                    while data := talk.recv(65536):
                        self.heard += data
            except OSError:
                continue

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._thread.join()


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Impostor]:
    server = Impostor(identity(tmp_path))
    yield server
    server.close()


def _settings(url: str, **changes: object) -> VCenterSettings:
    values: dict[str, object] = {
        "url": url,
        "user": USER,
        "password": SecretStr(PASSWORD),
        "thumbprint": "ab" * 32,
    }
    return VCenterSettings(**(values | changes))  # type: ignore[arg-type]


def test_a_wrong_certificate_is_shown_and_hears_nothing(impostor: Impostor) -> None:
    actual = thumbprint(presented(VCenterAddress.parse(impostor.url)), "sha256")
    with pytest.raises(TrustFailed) as refused, Session(_settings(impostor.url)):
        pass
    assert actual in str(refused.value)
    assert ", and AB:AB:" in refused.value.what
    assert "compare" in refused.value.remedy
    assert "change --thumbprint, or `thumbprint` in the section `vcenter`" in refused.value.remedy
    impostor.close()
    assert impostor.heard == b""


def test_a_pinned_connection_is_checked_every_time(tmp_path: Path, witness: Witness) -> None:
    """A server that swaps its certificate between two connections of one session gets no second request."""
    (tmp_path / "other").mkdir()
    swapped = Impostor(identity(tmp_path / "other"))
    try:
        with Session(witness.settings()) as session:
            genuine = session.endpoint
            session._stub._endpoint = VCenterAddress.parse(swapped.url)
            session._stub.DropConnections()
            with pytest.raises(TrustFailed):
                session._login()
            session._stub._endpoint = genuine
    finally:
        swapped.close()
    assert swapped.heard == b""


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match="refused"), Session(_settings(f"https://127.0.0.1:{port}")):
        pass


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(Unreachable), Session(_settings("https://no-such-host.invalid")):
        pass


def test_clear_text_at_the_other_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            talk, _ = listener.accept()
            talk.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            talk.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            pytest.raises(Unreachable, match="TLS"),
            Session(_settings(f"https://127.0.0.1:{listener.getsockname()[1]}")),
        ):
            pass
        thread.join()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (b"404 Not Found", b"nothing here"),
        (b"200 OK", b"<html><body>Welcome</body></html>"),
        (b"200 OK", b"<<<not even html"),
        (b"302 Found", b""),
        (
            b"200 OK",
            b"<namespaces><namespace><name>urn:other</name><version>1</version></namespace></namespaces>",
        ),
    ],
)
def test_something_that_is_no_vcenter(tmp_path: Path, status: bytes, body: bytes) -> None:
    shown = identity(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.certificate, shown.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as talk:
                talk.recv(65536)
                talk.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with (
            pytest.raises(VCenterFault, match="vCenter") as refused,
            Session(_settings(url, thumbprint=shown.thumbprint("sha1"))),
        ):
            pass
        thread.join()
    assert not isinstance(refused.value, Unreachable)


def test_no_secret_in_any_error_or_repr(witness: Witness) -> None:
    bad = witness.settings(password=SecretStr("hunter2"))
    with pytest.raises(ConnectorError) as refused, Session(bad):
        pass
    chain: BaseException | None = refused.value
    while chain is not None:
        assert "hunter2" not in repr(chain) and "hunter2" not in str(chain)
        chain = chain.__cause__ or chain.__context__
    assert "hunter2" not in repr(bad)
