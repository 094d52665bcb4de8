"""TLS 1.3 with both sides authenticated: a peer is trusted by the job's authority and the role in its certificate.

Host names are not checked, because addresses change. Bytes move in large socket calls instead of one system call for each
record of 16 KiB.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable

from connector.errors import BadInput, ConnectorError, TransferFailed, TrustFailed
from connector.model import Credential
from connector.transfer.certificates import APPLIANCE_PREFIX, ROLE_PREFIX, CertificateRole

PROTOCOL = "agentless-blocks/1"
#: Plain bytes that are encrypted for one socket call: large enough that the call costs little, small enough for the cache.
BATCH = 1 << 19
DEAD_AFTER = 30  # seconds without a TCP answer after which the peer counts as dead
HANDSHAKE = 10.0  # seconds
SILENCE = 60.0  # seconds without a byte after which a connection is given up


def context(credential: Credential, *, server: bool, protocol: str | None = PROTOCOL) -> ssl.SSLContext:
    """A context that trusts only the job's authority. The key goes through an anonymous file in memory, never a path.

    Raises BadInput when the credential is not usable.
    """
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    result.minimum_version = ssl.TLSVersion.TLSv1_3
    result.check_hostname = False
    result.verify_mode = ssl.CERT_REQUIRED
    if protocol:
        result.set_alpn_protocols([protocol])
    pem = os.memfd_create("credential", os.MFD_CLOEXEC)
    try:
        os.write(pem, f"{credential.certificate}\n{credential.key}\n".encode())
        result.load_cert_chain(f"/proc/self/fd/{pem}")
        result.load_verify_locations(cadata=credential.authority)
    except (ssl.SSLError, ValueError) as error:
        raise BadInput(
            f"the credential is not usable ({type(error).__name__})", remedy="issue a new one"
        ) from None
    finally:
        os.close(pem)
    if server:
        result.num_tickets = 0  # no session is resumed: a revoked job must not go on with a ticket
    return result


def role_of(certificate: object) -> CertificateRole:
    """The role in the SAN URI of a certificate of `getpeercert()`. Raises TrustFailed when there is none."""
    names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    roles = [
        value.removeprefix(ROLE_PREFIX)
        for kind, value in names
        if kind == "URI" and value.startswith(ROLE_PREFIX)
    ]
    if len(roles) != 1 or roles[0] not in list(CertificateRole):
        raise TrustFailed(
            "the peer's certificate names no role", remedy="use credentials that this job issued"
        )
    return CertificateRole(roles[0])


def appliance_of(certificate: object) -> str:
    """The id of the appliance that the certificate was issued to; empty when it was issued to another side."""
    names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    uris = (value for kind, value in names if kind == "URI")
    return next((uri.removeprefix(APPLIANCE_PREFIX) for uri in uris if uri.startswith(APPLIANCE_PREFIX)), "")


def require_role(certificate: object, roles: Iterable[CertificateRole], on: str) -> CertificateRole:
    """The peer's role. Refuses a peer whose certificate is of this job but for another purpose."""
    role = role_of(certificate)
    expected = list(roles)
    if role not in expected:
        raise TrustFailed(
            f"the peer is {role.value}, expected {' or '.join(expected)}",
            on=on,
            remedy="use the credential that was made for this side",
        )
    return role


class Channel:
    """One connection. One thread may send while another receives; `abort` from any thread wakes both.

    Every method raises TransferFailed when the connection broke, and TrustFailed when the handshake was refused.
    """

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLContext, *, server: bool, timeout: float = SILENCE
    ) -> None:
        self._sock = sock
        self.peer = _name(sock)
        self.peer_certificate: object = None  # of the peer, once the handshake is complete
        _tune(sock, timeout)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_side=server)
        self._state = threading.Lock()  # guards the TLS state; socket calls happen outside of it
        self._raw = memoryview(bytearray(BATCH))
        self.received = 0  # bytes on the wire
        self.sent = 0
        self.blocked = 0.0  # seconds in socket calls that send
        self.starved = 0.0  # seconds in socket calls that receive
        #: Called before bytes are sent: it returns how many of them may be sent now, and may wait.
        self.pace: Callable[[int], int] = lambda count: count

    def handshake(self, roles: Iterable[CertificateRole], timeout: float = HANDSHAKE) -> CertificateRole:
        """Complete the handshake within `timeout` seconds in all and check the peer's role."""
        deadline, usual = time.monotonic() + timeout, self._sock.gettimeout()
        while not self._shake():
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            if time.monotonic() > deadline or not self._pull():
                raise TransferFailed("the TLS handshake did not finish", on=self.peer)
        self._sock.settimeout(usual)
        if self._tls.selected_alpn_protocol() != PROTOCOL:
            raise TransferFailed("the peer does not speak the block protocol", on=self.peer, retryable=False)
        self.peer_certificate = self._tls.getpeercert()
        return require_role(self.peer_certificate, roles, self.peer)

    @property
    def certificate(self) -> str:
        """The serial number of the peer's certificate, once the handshake is complete."""
        return str((self._tls.getpeercert() or {}).get("serialNumber", ""))

    def send(self, parts: Iterable[bytes | memoryview]) -> None:
        """Send everything; one thread at a time. Waits for a slow peer, and raises TransferFailed after the timeout."""
        for part in parts:
            view = memoryview(part)
            for at in range(0, len(view), BATCH):
                with self._state:
                    self._write(view[at : at + BATCH])
                    ready = self._outgoing.pending >= BATCH
                if ready:
                    self._flush()
        self._flush()

    def receive_into(self, room: memoryview) -> int:
        """Fill `room` with the bytes that are there, at least one; returns 0 at a clean end. One thread at a time."""
        while True:
            with self._state:
                filled = self._read(room)
            if filled >= 0:
                return filled
            if not self._pull():
                raise TransferFailed("the connection ended without notice", on=self.peer)

    def goodbye(self) -> None:
        """Tell the peer that nothing more comes; never fails."""
        try:
            with self._state:
                self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass
        self._flush_alert()

    def abort(self) -> None:
        """Break the connection now; `send` and `receive_into` raise TransferFailed."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()

    def _shake(self) -> bool:
        """One step of the handshake; True when it is complete."""
        try:
            self._tls.do_handshake()
            self._flush()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush_alert()
            raise refused(error, self.peer) from None
        return True

    def _write(self, view: memoryview) -> None:
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            raise refused(error, self.peer) from None

    def _read(self, room: memoryview) -> int:
        """Bytes decrypted into `room`, 0 at the end of the stream, -1 when more input is needed."""
        filled = 0
        read = self._tls.read
        try:
            while filled < len(room):
                count = read(len(room) - filled, room[filled:])
                if not count:
                    break
                filled += count  # type: ignore[operator]
        except ssl.SSLWantReadError:
            return filled or -1
        except ssl.SSLZeroReturnError:
            return filled
        except ssl.SSLError as error:
            raise refused(error, self.peer) from None
        return filled

    def _flush(self) -> None:
        with self._state:
            data = self._outgoing.read()
        view = memoryview(data)
        while view:
            piece = view[: self.pace(len(view))]
            began = time.monotonic()
            try:
                self._sock.sendall(piece)
            except OSError as error:
                raise broken(error, self.peer) from None
            self.sent += len(piece)
            self.blocked += time.monotonic() - began
            view = view[len(piece) :]

    def _flush_alert(self) -> None:
        with contextlib.suppress(TransferFailed):
            self._flush()

    def _pull(self) -> bool:
        """Move bytes from the socket into the TLS state; False at the end of the stream."""
        began = time.monotonic()
        try:
            count = self._sock.recv_into(self._raw)
        except OSError as error:
            raise broken(error, self.peer) from None
        self.starved += time.monotonic() - began
        self.received += count
        with self._state:
            self._incoming.write(self._raw[:count])
        return count > 0


def connect(host: str, port: int, credential: Credential, *, timeout: float = SILENCE) -> Channel:
    """Connect to an instance and authenticate both sides. Raises TransferFailed or TrustFailed."""
    tls = context(credential, server=False)
    try:
        sock = socket.create_connection((host, port), timeout=HANDSHAKE)
    except OSError as error:
        raise broken(error, f"{host}:{port}") from None
    channel = Channel(sock, tls, server=False, timeout=timeout)
    try:
        channel.handshake([CertificateRole.INSTANCE])
    except BaseException:
        channel.close()
        raise
    return channel


def broken(error: OSError, peer: str) -> TransferFailed:
    """A socket failure in one line."""
    if isinstance(error, TimeoutError):
        return TransferFailed(
            "the peer does not answer", on=peer, remedy="check the network and the instance"
        )
    reason = error.strerror or type(error).__name__
    return TransferFailed(f"the connection broke ({reason})", on=peer, remedy="it is tried again")


def refused(error: ssl.SSLError, peer: str) -> ConnectorError:
    """A TLS failure in one line: a refused certificate is TrustFailed, everything else TransferFailed."""
    reason = (error.reason or type(error).__name__).replace("_", " ").lower()
    if isinstance(error, ssl.SSLCertVerificationError) or "certificate" in reason or "unknown ca" in reason:
        detail = getattr(error, "verify_message", "") or reason
        return TrustFailed(
            f"certificate refused ({detail})", on=peer, remedy="use credentials that this job issued"
        )
    return TransferFailed(f"TLS failed ({reason})", on=peer)


def _name(sock: socket.socket) -> str:
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return "a closed connection"
    return f"{host}:{port}"


def _tune(sock: socket.socket, timeout: float) -> None:
    sock.settimeout(timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_AFTER // 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, DEAD_AFTER // 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER * 1000)
