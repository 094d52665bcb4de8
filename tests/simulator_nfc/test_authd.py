"""authd: the banner, both TLS layers, the commands and what they are answered, tickets that are good once."""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path

import pytest

from simulator.nfc import Ticket
from simulator.nfc.tickets import Tickets
from tests.simulator_nfc.conftest import RUNNING, Site
from tests.simulator_nfc.raw import Client
from tests.waiting import PATIENCE


def _sha1(der: bytes) -> str:
    digest = hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, 40, 2))


def test_the_conversation_up_to_the_second_layer_is_this(site: Site) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        banner = client.enter()
        assert banner.startswith("220 VMware Authentication Daemon Version ")
        assert all(word in banner for word in ("SSL Required", "NFCSSL supported", "SHA256 supported"))
        client.session()
        assert client.command("BANNER ").startswith("220 ")
        digest = client.command("THUMBPRINT_SHA2 PlainText")
        client.proxy()
        first, second = client.certificates
        assert _sha1(first) == client.ticket.thumbprint
        named = hashlib.sha256(second).hexdigest().upper()
        assert digest == "200 " + ":".join(named[at : at + 2] for at in range(0, 64, 2))
        assert client.introduce() == 11


def test_data_goes_without_tls_when_asked_for(site: Site) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        client.proxy("vpxa-nfc")
        assert client.introduce() == 11
        assert len(client.certificates) == 1


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("THUMBPRINT_SHA2 AA:BB", "501"),
        ("THUMBPRINT_SHA2", "501"),
        ("USER root", "530"),
        ("PASS secret", "530"),
        ("PROXY ha-nfcssl", "501"),
        ("PROXY vpxa-nfcssl", "530"),
        ("GET / HTTP/1.1", "501"),
    ],
)
def test_a_command_is_refused_with_its_number(site: Site, command: str, number: str) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        assert client.command(command).startswith(f"{number} ")
        client.session()
        client.proxy()


def test_a_host_may_refuse_data_without_tls(site: Site) -> None:
    site.set(plain_data=False)
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        assert client.command("PROXY vpxa-nfc").startswith("501 ")
        client.proxy()


def test_a_ticket_is_good_once(site: Site) -> None:
    ticket = site.hosts.issue(RUNNING)
    with Client(ticket) as client:
        client.begin()
        with Client(ticket) as second:
            second.enter()
            second.session()
            assert second.command("PROXY vpxa-nfcssl").startswith("530 ")


def test_an_expired_ticket_and_one_for_another_host_are_refused(site: Site) -> None:
    site.set(ticket_seconds=0.0)
    expired = site.hosts.issue(RUNNING)
    site.set(ticket_seconds=60.0)
    other = next(moref for moref in site.estate.inventory.hosts if moref != expired.host)
    elsewhere = site.hosts.issue(RUNNING, host=other)
    wrong_host = Ticket(elsewhere.session_id, RUNNING, expired.host, expired.address, expired.port, "")
    for ticket in (expired, wrong_host):
        with Client(ticket) as client:
            client.enter()
            client.session()
            assert client.command("PROXY vpxa-nfcssl").startswith("530 ")


def test_tickets_are_forgotten_when_their_time_is_over() -> None:
    now = [0.0]
    tickets = Tickets(lambda: now[0])
    for name in ("a", "b"):
        tickets.keep(Ticket(name, "vm-1", "host-1", "127.0.0.1", 902, ""), 10)
    now[0] = 9.0
    assert tickets.outstanding == 2
    assert tickets.redeem("a", "host-1") is not None
    now[0] = 10.0
    assert tickets.outstanding == 0
    assert tickets.redeem("b", "host-1") is None


@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_layer_may_show_another_certificate(site: Site, layer: str) -> None:
    site.set(**{f"{layer}_certificate": "other", "digest_of": "first" if layer == "second" else "second"})
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        digest = client.command("THUMBPRINT_SHA2 PlainText").removeprefix("200 ").replace(":", "").lower()
        client.proxy()
        first, second = client.certificates
        assert (_sha1(first) == client.ticket.thumbprint) == (layer == "second")
        assert first != second
        assert digest == hashlib.sha256(first if layer == "second" else second).hexdigest()


def test_the_banner_is_a_switch(site: Site) -> None:
    site.set(banner="220 VMware Authentication Daemon Version 1.0")
    with Client(site.hosts.issue(RUNNING)) as client:
        assert client.enter() == "220 VMware Authentication Daemon Version 1.0"


def test_whoever_speaks_before_tls_is_hung_up_on(site: Site) -> None:
    ticket = site.hosts.issue(RUNNING)
    with socket.create_connection((ticket.address, ticket.port), timeout=PATIENCE) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        received = b""
        try:
            while data := plain.recv(4096):
                received += data
        except ConnectionResetError:
            pass
        assert received.startswith(b"220 ")
        assert b"HTTP" not in received


def test_close_notify_before_the_second_layer_is_no_handshake(site: Site) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        assert client.command("PROXY vpxa-nfcssl").startswith("200 ")
        assert client.wire.layer is not None
        with pytest.raises(ssl.SSLError):
            client.wire.layer.unwrap()
        client.wire.socket.sendall(client.wire.outgoing.read())
        with pytest.raises((ConnectionError, ssl.SSLError)):
            client.wire.secure()


def test_the_simulator_of_nfc_knows_no_client() -> None:
    for source in (Path(__file__).parents[2] / "simulator" / "nfc").glob("*.py"):
        text = source.read_text()
        assert not any(
            f"import {room}" in text or f"from {room}" in text for room in ("nfc", "vddk", "connector")
        )
