"""Facts about NFC: tickets, the daemon at port 902, both TLS layers, the messages behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from connector.model import NfcTicket
from nfc import aio, allocation, authd, codec
from nfc.authd import LineDecoder, Reply
from nfc.codec import Compression
from nfc.connection import Connection, Stream, TlsLayer, connect
from nfc.conversation import Conversation
from nfc.disk import open_disk
from nfc.engine import Engine
from nfc.errors import HostError, NfcError, TicketRefused
from nfc.spec import DiskSpec, Patience, Ticket
from tests.live.facts import Fact, Mark, Seen, Site, holds, not_seen

MIB: Final = 1 << 20
_PATIENCE: Final = Patience(connect=20.0, answer=30.0, opening=60.0, silence=60.0)


def _ticket(site: Site) -> Ticket:
    return _of(site.vcenter.nfc_ticket(site.machine.moref))


def _of(given: NfcTicket) -> Ticket:
    return Ticket(given.host, given.thumbprint, given.session_id, given.port, given.service)


@dataclass(frozen=True, slots=True)
class Entrance:
    """What the daemon said to one connection, and the certificates of both TLS layers."""

    greeting: str
    banner: Reply
    digest: Reply
    proxy: Reply
    first: bytes
    second: bytes


def _entered(ticket: Ticket) -> Entrance:
    """Through the daemon, answer by answer, without judging them."""
    stream = Stream(ticket, _PATIENCE)
    try:
        greeting = _line(lambda: stream.receive(authd.LONGEST_LINE, "the greeting"))
        layer = TlsLayer(stream, "the first TLS layer", stream.record)

        def said(command: bytes) -> Reply:
            layer.send(command, "a command")
            return authd.reply(_line(lambda: layer.receive(authd.LONGEST_LINE, "an answer")))

        layer.send(authd.session(ticket.session_id), "SESSION")
        banner, digest, proxy = said(authd.BANNER), said(authd.THUMBPRINT), said(authd.proxy(ticket.service))
        second = TlsLayer(stream, "the second TLS layer", lambda what: stream.receive(1 << 16, what))
        return Entrance(greeting, banner, digest, proxy, layer.certificate, second.certificate)
    finally:
        stream.socket.close()


def _line(receive: Callable[[], bytes]) -> str:
    decoder, line = LineDecoder(), None
    while line is None:
        line = decoder.feed(receive())
    return line


@contextmanager
def _engine(site: Site, compression: Compression = Compression.NONE) -> Iterator[Engine]:
    connection: Connection = connect(_ticket(site), None, _PATIENCE)
    engine = Engine(connection, Conversation(site.disk.path, compression), _PATIENCE.silence)
    try:
        yield engine
    finally:
        engine.stop(politely=True)


def _spec(site: Site, **settings: object) -> DiskSpec:
    return DiskSpec(_ticket(site), site.disk.path, patience=_PATIENCE, **settings)  # type: ignore[arg-type]


def _first(site: Site, length: int = MIB, **settings: object) -> bytes:
    """The first bytes of the disk, by a connection of its own."""
    data = bytearray(min(length, site.disk.capacity))
    with open_disk(_spec(site, **settings)) as disk:
        disk.read_into(0, data)
    return bytes(data)


def _refusal(engine: Engine, question: aio.Question) -> HostError | None:
    try:
        engine.ask(question)
    except HostError as error:
        return error
    return None


def ticket(site: Site) -> Seen:
    given = site.vcenter.nfc_ticket(site.machine.moref)
    other = site.vcenter.nfc_ticket(site.machine.moref)
    fits = given.service in ("vpxa-nfc", "ha-nfc") and len(given.thumbprint.replace(":", "")) == 40
    return holds(
        fits and given.session_id != other.session_id,
        f"{given.service} at {given.host}:{given.port}, thumbprint of {len(given.thumbprint)} characters",
    )


def greeting(site: Site) -> Seen:
    seen = _entered(_ticket(site))
    authd.check_greeting(seen.greeting, "the host")
    return holds(True, seen.greeting)


def banner(site: Site) -> Seen:
    seen = _entered(_ticket(site)).banner
    return holds(seen.code == 220, str(seen))


def first_layer(site: Site) -> Seen:
    used = _ticket(site)
    sha1 = hashlib.sha1(_entered(used).first, usedforsecurity=False).hexdigest()
    return holds(sha1 == used.thumbprint.replace(":", "").lower(), f"the host shows {sha1}")


def second_layer(site: Site) -> Seen:
    seen = _entered(_ticket(site))
    second = hashlib.sha256(seen.second).hexdigest()
    same = "the same certificate as" if seen.first == seen.second else "another certificate than"
    return holds(
        seen.digest.code == 200 and authd.digest(seen.digest) == second,
        f"{seen.digest}; the second layer shows {same} the first, SHA-256 {second}",
    )


def proxy(site: Site) -> Seen:
    seen = _entered(_ticket(site)).proxy
    return holds(seen.code == 200 and seen.text.endswith("nfcssl"), str(seen))


def used_twice(site: Site) -> Seen:
    used = _ticket(site)
    _entered(used)
    try:
        connect(used, None, _PATIENCE).close()
    except TicketRefused as refused:
        return holds(True, str(refused))
    except NfcError as error:
        return holds(False, f"another error: {error}")
    return holds(False, "the second connection was accepted")


def version(site: Site) -> Seen:
    connection = connect(_ticket(site), None, _PATIENCE)
    connection.close()
    return holds(connection.version == 11, f"version {connection.version}")


def buffers(site: Site) -> Seen:
    with _engine(site) as engine:
        large = _refusal(engine, aio.open_session(16 * MIB, 1))
        small = _refusal(engine, aio.open_session(2 * MIB, 4))
    refused = f"16 MiB: {large or 'accepted'}; then 4 x 2 MiB on the same connection: {small or 'accepted'}"
    return holds(large is not None and small is None, refused)


def opened(site: Site) -> Seen:
    with open_disk(_spec(site)) as disk:
        size, buffer = disk.info.capacity, disk.host_buffer
    return holds(size == site.disk.capacity, f"{size} bytes; buffers {buffer[1]} x {buffer[0]}")


def running(site: Site) -> Seen:
    live = site.vcenter.find(site.machine.moref)
    path = next(disk.path for disk in live.disks if disk.key == site.disk.key)
    with _engine(site) as engine:
        engine.ask(aio.open_session(0, 0))
        refused = _refusal(engine, aio.open_file(path))
    return holds(refused is not None, f"error {refused.code:#x}: {refused}" if refused else "it opened")


def compressions(site: Site) -> Seen:
    plain = _first(site)
    seen = [name for name in codec.KNOWN if _first(site, compression=name) == plain]
    return holds(len(seen) == len(codec.KNOWN), f"equal bytes with {', '.join(seen)}")


def in_flight(site: Site) -> Seen:
    data = _first(site, 8 * MIB, depth=8)
    return holds(data == _first(site, 8 * MIB, depth=1), f"{len(data)} bytes by 8 reads at once")


def bitmap(site: Site) -> Seen:
    with open_disk(_spec(site)) as disk:
        areas = list(disk.allocated(0, disk.info.capacity))
    return holds(
        all(area.length > 0 for area in areas),
        f"{sum(area.length for area in areas)} of {site.disk.capacity} bytes in {len(areas)} areas",
    )


def unaligned(site: Site) -> Seen:
    if site.disk.capacity < 4 * MIB:
        return not_seen("the disk is too small")
    with _engine(site) as engine:
        engine.ask(aio.open_session(0, 0))
        handle = aio.parse_file(engine.ask(aio.open_file(site.disk.path)).payload).handle
        refused = _refusal(engine, aio.query_allocated(handle, 512, 4, 65536))
        again = engine.ask(aio.query_allocated(handle, 0, 4, 65536))
    whole = len(again.extra) == allocation.bitmap_size(4)
    return holds(refused is not None and whole, f"{refused or 'it was answered'}; the session goes on")


FACTS: Final = (
    Fact("N1", Mark.NOTES, "vCenter names an NfcService, and each question gives a new ticket", ticket),
    Fact("N2", Mark.NOTES, "port 902 greets in one plain line that offers NFC over TLS", greeting),
    Fact("N3", Mark.NOTES, "BANNER is answered 220 after SESSION", banner),
    Fact("N4", Mark.NOTES, "the first TLS layer shows the certificate that the ticket names", first_layer),
    Fact("N5", Mark.GUESS, "THUMBPRINT_SHA2 names the certificate of the second TLS layer", second_layer),
    Fact("N6", Mark.NOTES, "PROXY is answered 200, and a second handshake follows", proxy),
    Fact("N7", Mark.NOTES, "a ticket serves one connection", used_twice),
    Fact("N8", Mark.NOTES, "the protocol version is 11", version),
    Fact("N9", Mark.GUESS, "16 MiB of buffers are refused, and the connection may ask for less then", buffers),
    Fact("N10", Mark.NOTES, "the disk of a snapshot opens, with vCenter's capacity", opened),
    Fact("N11", Mark.NOTES, "the disk that a running machine writes to is refused", running),
    Fact("N12", Mark.NOTES, "fragments compressed by zlib and SkipZ unpack to the same bytes", compressions),
    Fact("N13", Mark.NOTES, "several reads may be in flight on one connection", in_flight),
    Fact("N14", Mark.NOTES, "allocated areas are answered as a bitmap", bitmap),
    Fact("N15", Mark.NOTES, "an unaligned question for allocation is an error, and the session goes on", unaligned),
)  # fmt: skip
