"""One TCP connection of the host: plain, in a first TLS layer, and in a second one after the first is left.

TLS runs over memory, so leaving a layer neither sends close_notify nor loses bytes that came after it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time

from simulator.nfc.delay import DelayLine

_PIECE = 1 << 16
_LONGEST_LINE = 1024
_CREDIT = 0.05  # seconds by which a connection may be late and catch up: what encryption and the network took


class Ended(Exception):
    """The connection is over: the other side left, broke a rule or took too long, or a switch cut it."""


class Wire:
    """Blocking reads and writes of one thread. `close` may come from any thread."""

    def __init__(
        self, connection: socket.socket, cut_after: int = -1, bandwidth: int = 0, rtt: float = 0.0
    ) -> None:
        """`cut_after`: bytes sent before the connection drops, below 0 for never. `bandwidth`: bytes a second, or 0.
        `rtt`: seconds that an answer is under way longer than it would be here.
        """
        self._socket = connection
        self._left = cut_after if cut_after >= 0 else None
        self._bandwidth, self._due = bandwidth, 0.0
        self._plain = bytearray()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._layer: ssl.SSLObject | None = None
        self._until = 0.0
        self._closed = threading.Event()
        self._delay = DelayLine(connection, rtt) if rtt else None

    def deadline(self, seconds: float) -> None:
        """Whatever is received from now on must be there within so many seconds."""
        self._until = time.monotonic() + seconds

    def secure(self, context: ssl.SSLContext) -> None:
        """TLS from here on, as the server. Raises Ended when the handshake fails."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(bytes(self._plain))
        self._plain.clear()
        layer = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                layer.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._arrived())
            except ssl.SSLError as error:
                with contextlib.suppress(Ended):
                    self._flush()
                raise Ended(f"TLS handshake: {error.reason or error}") from None
        self._flush()
        self._layer = layer

    def abandon(self) -> None:
        """Leave the TLS layer without a word; bytes that came after it stay. Raises Ended for bytes inside it."""
        if self._plain:
            raise Ended("the client sent more in the TLS layer that it was to leave")
        self._layer = None
        self._plain += self._incoming.read()

    def send(self, data: bytes | bytearray) -> None:
        """All of it, or up to the cut."""
        part = data if self._left is None else data[: self._left]
        self._pace(len(part))
        if self._layer is None:
            self._write(part)
        else:
            self._encrypt(self._layer, memoryview(part))
        if self._left is not None:
            self._left -= len(part)
            if len(part) < len(data) or self._left == 0:
                self._drop()

    def cut(self, data: bytes | bytearray, length: int) -> None:
        """Send the first `length` bytes and drop the connection."""
        if length:
            self.send(data[:length])
        self._drop()

    def receive(self, length: int) -> bytes:
        """Exactly so many bytes."""
        while len(self._plain) < length:
            self._fill()
        data = bytes(self._plain[:length])
        del self._plain[:length]
        return data

    def line(self) -> str:
        """A line without its line end. Raises Ended for one that is too long or no ASCII."""
        while b"\n" not in self._plain:
            if len(self._plain) > _LONGEST_LINE:
                raise Ended("a line of the client is too long")
            self._fill()
        data, _, rest = bytes(self._plain).partition(b"\n")
        self._plain = bytearray(rest)
        try:
            return data.removesuffix(b"\r").decode("ascii")
        except UnicodeDecodeError:
            raise Ended("a line of the client is not ASCII") from None

    def waiting(self, seconds: float = 0.0) -> bool:
        """Whether the client has sent something that was not received yet."""
        if self._plain or self._incoming.pending:
            return True
        try:
            return bool(select.select([self._socket], [], [], seconds)[0])
        except (OSError, ValueError):
            return False

    def pause(self, seconds: float) -> None:
        """Wait, unless the connection is closed meanwhile."""
        if seconds > 0:
            self._closed.wait(seconds)

    def close(self) -> None:
        """Drop the connection. Harmless when it is gone."""
        self._closed.set()
        if self._delay is not None:
            self._delay.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Drop the connection once everything that was said is sent. By the connection's own thread."""
        if self._delay is not None:
            self._delay.drain()
        self.close()
        if self._delay is not None:
            self._delay.join()

    def _drop(self) -> None:
        self.finish()
        raise Ended("cut")

    def _fill(self) -> None:
        """More plain bytes."""
        if self._layer is None:
            self._plain += self._arrived()
            return
        while True:
            try:
                data = self._layer.read(_PIECE)
            except ssl.SSLWantReadError:
                self._incoming.write(self._arrived())
                continue
            except ssl.SSLError as error:
                raise Ended(f"TLS: {error.reason or error}") from None
            if not data:
                raise Ended("the client closed its TLS layer")
            self._plain += data
            return

    def _arrived(self) -> bytes:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Ended("the client took too long")
        try:
            self._socket.settimeout(left)
            data = self._socket.recv(_PIECE)
        except TimeoutError:
            raise Ended("the client took too long") from None
        except OSError as error:
            raise Ended(str(error)) from None
        if not data:
            raise Ended("the client hung up")
        return data

    def _encrypt(self, layer: ssl.SSLObject, data: memoryview) -> None:
        """In pieces: memory that OpenSSL must grow for a whole fragment costs more than encrypting it."""
        for start in range(0, len(data), _PIECE):
            layer.write(data[start : start + _PIECE])
            self._flush()

    def _flush(self) -> None:
        self._write(self._outgoing.read())

    def _write(self, data: bytes | bytearray) -> None:
        if not data:
            return
        try:
            if self._delay is not None:
                self._delay.put(bytes(data))
                return
            self._socket.settimeout(None)
            self._socket.sendall(data)
        except OSError as error:
            raise Ended(str(error)) from None

    def _pace(self, length: int) -> None:
        if self._bandwidth:
            now = time.monotonic()
            self._due = max(self._due, now - _CREDIT) + length / self._bandwidth
            self.pause(max(0.0, self._due - now))
