"""The block port admits a bounded number of authenticated appliances, and gives each connection to a receiver."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections import Counter

from connector import log_context
from connector.errors import ConnectorError, PeerRefused
from connector.instance.disk import WriteSession
from connector.instance.revoked import Revoked
from connector.instance.store import DiskStore
from connector.transfer.certificates import CertificateRole
from connector.transfer.receiver import Hello, Receiver
from connector.transfer.tls import Channel

log = logging.getLogger(__name__)

CONNECTIONS = 128  # at most, authenticated or not; a connection with blocks may need about 20 MiB of memory
HANDSHAKES = 16  # of them not yet authenticated; one more aborts the oldest
PER_CERTIFICATE = 64  # of them with the same certificate


class BlockServer:
    """Listens with threads of its own; `close` ends every connection and returns when all have ended."""

    def __init__(
        self, listener: socket.socket, tls: ssl.SSLContext, store: DiskStore, revoked: Revoked
    ) -> None:
        self._listener, self._tls, self._store, self._revoked = listener, tls, store, revoked
        self._lock = threading.Condition()
        self._channels: set[Channel] = set()
        self._strangers: list[Channel] = []  # not yet authenticated, oldest first
        self._known: Counter[str] = Counter()  # connections by certificate
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name="blocks", daemon=True)

    @property
    def connections(self) -> int:
        """How many are open, authenticated or not."""
        with self._lock:
            return len(self._channels)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            for channel in self._channels:
                channel.abort()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            self._lock.wait_for(lambda: not self._channels, 30)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if len(self._channels) >= CONNECTIONS or self._closing:
                    sock.close()
                    continue
                if len(self._strangers) >= HANDSHAKES:
                    # an honest handshake takes milliseconds: the oldest is no honest one
                    self._strangers.pop(0).abort()
                channel = Channel(sock, self._tls, server=True)
                self._channels.add(channel)
                self._strangers.append(channel)
            threading.Thread(
                target=self._serve, args=(channel,), name=f"blocks {channel.peer}", daemon=True
            ).start()

    @log_context.log_context()  # for what `_open` adds
    def _serve(self, channel: Channel) -> None:
        certificate = ""
        try:
            certificate, count = self._admit(channel)
            with self._revoked.admitted(channel.peer_certificate, channel.abort, channel.peer):
                receiver = Receiver(channel, lambda hello: self._open(hello, channel))
                if count > PER_CERTIFICATE:
                    receiver.refuse(_crowded(channel))
                    return
                receiver.run()
                channel.goodbye()
        except ConnectorError as error:
            log.warning("block connection ended: %s", error)
        except Exception:
            log.exception("block connection failed")
        finally:
            channel.close()
            with self._lock:
                self._channels.discard(channel)
                self._known[certificate] -= 1
                self._known += Counter()  # drops entries of zero
                self._lock.notify_all()

    def _admit(self, channel: Channel) -> tuple[str, int]:
        """The peer's certificate, and how many connections it has now."""
        try:
            channel.handshake([CertificateRole.APPLIANCE])
        finally:
            with self._lock:
                if channel in self._strangers:
                    self._strangers.remove(channel)
        with self._lock:
            self._known[channel.certificate] += 1
            return channel.certificate, self._known[channel.certificate]

    def _open(self, hello: Hello, channel: Channel) -> WriteSession:
        log_context.add(pass_id=hello.reading_id, disk=hello.disk)
        try:
            return self._store.get(hello.disk).open_session(hello.reading_id, hello.capacity, channel.abort)
        except ConnectorError as error:
            raise PeerRefused(error.what, on=error.on, remedy=error.remedy) from error


def _crowded(channel: Channel) -> PeerRefused:
    log.warning("block connection refused: %s has %d already", channel.peer, PER_CERTIFICATE)
    return PeerRefused(
        f"{PER_CERTIFICATE} connections with this certificate are open",
        on=channel.peer,
        remedy="use fewer connections per disk, or wait",
        retryable=True,
    )
