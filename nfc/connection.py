"""One TCP connection to a host, with both TLS layers and the classic messages behind them. Nothing is sent in clear, ever.

The first layer is fed record by record, because what follows the answer to PROXY belongs to the second [P]. Hosts sign their own
certificates, so trust comes from digests: the ticket's SHA-1 and the user's SHA-256 pin for the first layer, the digest that the
daemon names for the second. Each is compared before one byte of ours goes through that layer, and a mismatch ends it.
"""

import hashlib
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from nfc import authd, classic
from nfc.aio import Decoder
from nfc.authd import LineDecoder
from nfc.errors import (
    AUTHORITY,
    PIN,
    BadSetting,
    FirstLayerUntrusted,
    NotSigned,
    SecondLayerUntrusted,
    SessionCut,
    TimedOut,
    TlsFailed,
    Unreachable,
    readable,
)
from nfc.spec import Patience, Ticket, digits_of

RECORD_HEADER: Final = 5
LONGEST_RECORD: Final = 16384 + 2048
"""Bytes after a record's header: the limit of TLS 1.2, which is above that of TLS 1.3."""
RECEIVE: Final = 512 << 10
"""Bytes taken from the kernel at once while data comes."""
_TLS_TYPES: Final = range(20, 25)

T = TypeVar("T")


@dataclass(frozen=True)
class HostIdentity:
    """What a host showed. `pinned`: a pin fits, or an authority has signed; else only the ticket's SHA-1 vouches for layer 1."""

    first_sha1: str
    first_sha256: str
    second_sha256: str
    pinned: bool


class Observer(Protocol):
    """Hears one connection above TLS and below the codec. Called by whichever thread serves the connection; must not raise."""

    def sent(self, data: bytes) -> None:
        """Bytes that the client said, in the clear or inside of a TLS layer."""
        ...

    def received(self, data: bytes) -> None:
        """Bytes that the host said, before anybody has judged them."""
        ...

    def secured(self, certificate: bytes) -> None:
        """A handshake is over; the host showed this certificate (DER). What follows is inside of this layer."""
        ...


class _ObservedTls:
    """A TLS layer after its handshake whose bytes are heard."""

    def __init__(self, tls: ssl.SSLObject, observer: Observer) -> None:
        self._tls, self._observer = tls, observer

    def read(self, most: int, buffer: memoryview | None = None) -> bytes:
        """As `SSLObject.read`: with a buffer it is the count."""
        if buffer is None:
            data = self._tls.read(most)
            self._observer.received(data)
            return data
        count = self._tls.read(most, buffer)
        self._observer.received(bytes(buffer[:count]))  # type: ignore[index]
        return count

    def write(self, data: bytes) -> int:
        count = self._tls.write(data)
        self._observer.sent(data[:count])
        return count


class Stream:
    """The TCP connection while it is being opened: each wait is bounded, and all together."""

    def __init__(self, ticket: Ticket, patience: Patience) -> None:
        self.host, self.name = f"{ticket.host}:{ticket.port}", ticket.host
        self._patience = patience
        self._end = time.monotonic() + patience.opening
        try:
            self.socket = socket.create_connection((ticket.host, ticket.port), patience.connect)
        except TimeoutError as error:
            raise Unreachable(
                self.host, f"no answer within {patience.connect:g} s, perhaps filtered"
            ) from error
        except OSError as error:
            raise Unreachable(self.host, error.strerror or str(error)) from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes, what: str) -> None:
        self._bounded(lambda: self.socket.sendall(data), what)

    def receive(self, most: int, what: str) -> bytes:
        """At least one byte."""
        data = self._bounded(lambda: self.socket.recv(most), what)
        if not data:
            raise SessionCut(self.host, f"the connection ended while {what} was due")
        return data

    def receive_exactly(self, count: int, what: str) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += self.receive(count - len(data), what)
        return bytes(data)

    def record(self, what: str) -> bytes:
        """One TLS record, and not one byte more."""
        header = self.receive_exactly(RECORD_HEADER, what)
        length = int.from_bytes(header[3:], "big")
        if header[0] not in _TLS_TYPES or header[1] != 3 or length > LONGEST_RECORD:
            raise TlsFailed(self.host, f"{what}: {readable(header)!r} begins no TLS record")
        return header + self.receive_exactly(length, what)

    def _bounded(self, call: Callable[[], T], what: str) -> T:
        left = min(self._patience.answer, self._end - time.monotonic())
        try:
            if left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            return call()
        except TimeoutError as error:
            raise TimedOut(self.host, f"{what} did not come in time") from error
        except OSError as error:
            raise SessionCut(self.host, f"{error.strerror or error} while {what} was due") from error


def require_authority(authority: str) -> None:
    """Raises BadSetting unless the file has certificates of authorities."""
    _context(authority)


def _context(authority: str | None) -> ssl.SSLContext:
    """Without an authority none is asked, since hosts may sign for themselves. In any case digests are compared afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # asks for a valid certificate of the right name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(cafile=authority)
    except OSError as error:  # ssl.SSLError too
        raise BadSetting(
            "authority", f"{authority} has no certificates ({error.strerror or error})"
        ) from error
    return context


class TlsLayer:
    """TLS over a `Stream`. `feed` brings the next received bytes of this layer. `certificate` is as it is signed (DER)."""

    def __init__(
        self,
        stream: Stream,
        name: str,
        feed: Callable[[str], bytes],
        observer: Observer | None = None,
        authority: str | None = None,
    ) -> None:
        self._stream, self._name, self._feed = stream, name, feed
        self.received, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = _context(authority).wrap_bio(
            self.received, self.sent, server_hostname=stream.name if authority else None
        )
        self._pump(tls.do_handshake, f"the handshake of {name}")
        certificate = tls.getpeercert(binary_form=True)
        if not certificate:
            raise TlsFailed(stream.host, f"{name}: the host shows no certificate")
        self.certificate = certificate
        self.tls: ssl.SSLObject | _ObservedTls = tls
        if observer is not None:
            observer.secured(certificate)
            self.tls = _ObservedTls(tls, observer)

    def send(self, data: bytes, what: str) -> None:
        self._pump(lambda: self.tls.write(data), what)

    def receive(self, most: int, what: str) -> bytes:
        """At least one byte."""
        data = self._pump(lambda: self.tls.read(most), what)
        if not data:
            raise SessionCut(self._stream.host, f"the host ended {self._name} while {what} was due")
        return data

    def receive_exactly(self, count: int, what: str) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += self.receive(count - len(data), what)
        return bytes(data)

    def _pump(self, call: Callable[[], T], what: str) -> T:
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                self._flush(what)
                self.received.write(self._feed(what))
            except ssl.SSLZeroReturnError as error:
                raise SessionCut(
                    self._stream.host, f"the host ended {self._name} while {what} was due"
                ) from error
            except ssl.SSLCertVerificationError as error:
                raise NotSigned(self._stream.host, "", "", error.verify_message, AUTHORITY) from error
            except ssl.SSLError as error:
                raise TlsFailed(self._stream.host, f"{what}: {error.reason or error}") from error
            else:
                self._flush(what)
                return result

    def _flush(self, what: str) -> None:
        if self.sent.pending:
            self._stream.send(self.sent.read(), what)


def connect(
    ticket: Ticket,
    pin: str | None,
    patience: Patience,
    observer: Observer | None = None,
    authority: str | None = None,
) -> "Connection":
    """A connection that speaks frames. Uses the ticket up, whether it succeeds or not."""
    with ExitStack() as unless_open:
        stream = Stream(ticket, patience)
        unless_open.callback(stream.socket.close)
        _greeting(stream, observer)
        first = TlsLayer(stream, "the first TLS layer", stream.record, observer, authority)
        certificate = first.certificate
        _check_first(stream.host, certificate, ticket, pin)
        named = _log_in(stream.host, first, ticket)
        second = TlsLayer(
            stream, "the second TLS layer", lambda what: stream.receive(RECEIVE, what), observer
        )
        fingerprint = _sha256(second.certificate)
        if fingerprint != named:
            raise SecondLayerUntrusted(
                stream.host, "SHA-256", fingerprint, named, "its authentication daemon"
            )
        version = _classic(stream.host, second)
        identity = HostIdentity(
            _sha1(certificate), _sha256(certificate), fingerprint, pin is not None or authority is not None
        )
        connection = Connection(stream.host, stream.socket, second, version, identity)
        unless_open.pop_all()
    return connection


def _greeting(stream: Stream, observer: Observer | None) -> None:
    decoder, line = LineDecoder(), None
    while line is None:
        data = stream.receive(authd.LONGEST_LINE, "the greeting")
        if observer is not None:
            observer.received(data)
        line = decoder.feed(data)
    authd.check_greeting(line, stream.host)


def _sha1(certificate: bytes) -> str:
    return hashlib.sha1(certificate, usedforsecurity=False).hexdigest()


def _sha256(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()


def _check_first(host: str, certificate: bytes, ticket: Ticket, pin: str | None) -> None:
    sha1, sha256 = _sha1(certificate), _sha256(certificate)
    expected = digits_of("ticket's thumbprint", ticket.thumbprint, 40)
    if sha1 != expected:
        raise FirstLayerUntrusted(host, "SHA-1", sha1, expected, "the ticket")
    if pin is not None and sha256 != (pinned := digits_of("pin", pin, 64)):
        raise FirstLayerUntrusted(host, "SHA-256", sha256, pinned, PIN)


def _log_in(host: str, layer: TlsLayer, ticket: Ticket) -> str:
    """Shows the ticket and asks for the service; the digest that the daemon names for the second layer's certificate."""

    def command(sent: bytes, word: str) -> authd.Reply:
        layer.send(sent, word)
        decoder, line = LineDecoder(), None
        while line is None:
            line = decoder.feed(layer.receive(authd.LONGEST_LINE, f"the answer to {word}"))
        return authd.reply(line)

    layer.send(authd.session(ticket.session_id), "SESSION")
    authd.check(command(authd.BANNER, "BANNER"), 220, "BANNER", host)
    named = command(authd.THUMBPRINT, "THUMBPRINT_SHA2")
    authd.check(named, 200, "THUMBPRINT_SHA2", host)
    authd.check_connected(command(authd.proxy(ticket.service), "PROXY"), host)
    return authd.digest(named)


def _classic(host: str, layer: TlsLayer) -> int:
    layer.send(classic.hello(), "the first message")
    classic.check_accepted(layer.receive_exactly(classic.SIZE, "the first message"))
    layer.send(classic.version(), "the version")
    version = classic.check_version(layer.receive_exactly(classic.SIZE, "the host's NFC version"), host)
    layer.send(classic.switch(), "the switch to asynchronous reads")
    classic.check_switched(layer.receive_exactly(classic.SIZE, "the switch to asynchronous reads"), host)
    return version


class Connection:
    """An open connection, for the one thread that serves it; no call blocks. Raises SessionCut and TlsFailed."""

    def __init__(
        self, host: str, connected: socket.socket, layer: TlsLayer, version: int, identity: HostIdentity
    ) -> None:
        self.host, self.version, self.identity = host, version, identity
        self.socket = connected
        self.socket.setblocking(False)
        self._layer = layer
        self._unsent = b""
        self._space = memoryview(bytearray(RECEIVE))

    @property
    def sending(self) -> bool:
        """Whether something waits until the network takes it."""
        return bool(self._unsent or self._layer.sent.pending)

    def send(self, data: bytes) -> None:
        try:
            self._layer.tls.write(data)
        except ssl.SSLError as error:
            raise TlsFailed(self.host, f"the second TLS layer: {error.reason or error}") from error
        self.flush()

    def flush(self) -> None:
        """Sends as much as the network takes."""
        self._unsent += self._layer.sent.read()
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise SessionCut(self.host, error.strerror or str(error)) from error

    def receive(self, decoder: Decoder) -> bool:
        """Gives what has come to the decoder, straight into its target; whether anything had come."""
        try:
            count = self.socket.recv_into(self._space)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SessionCut(self.host, error.strerror or str(error)) from error
        if not count:
            raise SessionCut(self.host, "the host ended the connection")
        self._layer.received.write(self._space[:count])
        self._decrypt(decoder)
        return True

    def close(self) -> None:
        self.socket.close()

    def _decrypt(self, decoder: Decoder) -> None:
        read = self._layer.tls.read
        try:
            while True:
                target = decoder.target
                count = read(len(target), target)
                if not count:
                    raise SessionCut(self.host, "the host ended the session")
                decoder.advance(count)  # type: ignore[arg-type]  # with a buffer it is the count
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError as error:
            raise SessionCut(self.host, "the host ended the session") from error
        except ssl.SSLError as error:
            raise TlsFailed(self.host, f"the second TLS layer: {error.reason or error}") from error
