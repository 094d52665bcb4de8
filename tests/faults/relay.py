"""The way between appliance and instance, in the test's hands: it counts bytes, and cuts, stalls, slows or spoils them.

It stands where a cloud's address translation stands, sees TLS records and nothing inside, and acts exactly before a chosen
byte passes.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

CONTROL, BLOCKS = 8080, 8703
CHUNK = 1 << 14


@dataclass(slots=True)
class _Link:
    """One connection through the relay."""

    port: int
    near: socket.socket
    far: socket.socket

    def drop(self) -> None:
        for end in (self.near, self.far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True)
class _Spoil:
    """What happens to bytes on their way to the instance."""

    rate: float = 0.0  # bytes a second; 0: as fast as they come
    flips: int = 0  # so many chunks lose one bit
    garbage: int = 0  # so many chunks become noise
    stalled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.stalled.set()  # set: bytes pass


class Relay:
    """Listens on `host` with an instance's two ports; `target` says where the instance is now."""

    def __init__(self, host: str, target: Callable[[], str]) -> None:
        self.host, self._target = host, target
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._passed = 0
        self._at: list[tuple[int, Callable[[], None]]] = []
        self._after: Callable[[], None] | None = None
        self._spoil = _Spoil()
        self._refusals = 0
        self._listeners = [self._listen(port) for port in (CONTROL, BLOCKS)]

    def reset(self) -> None:
        """Forget what was armed and counted; bytes pass unharmed again."""
        with self._lock:
            self._passed, self._at, self._after, self._refusals = 0, [], None, 0
            self._spoil.stalled.set()
            self._spoil = _Spoil()

    def at(self, count: int, do: Callable[[], None]) -> None:
        """`do` once, before byte `count` of the blocks passes on to the instance."""
        with self._lock:
            self._at.append((count, do))
            self._at.sort(key=lambda armed: armed[0])

    def after_blocks(self, do: Callable[[], None]) -> None:
        """`do` once, before the first request that follows the last block."""
        self._after = do

    def cut(self) -> None:
        """Every connection ends now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.drop()

    def refuse(self, connections: int) -> None:
        """So many connections to come end as soon as they begin."""
        self._refusals = connections

    def stall(self, seconds: float) -> None:
        """Nothing passes for so long; the connections stay."""
        spoil = self._spoil
        spoil.stalled.clear()
        threading.Timer(seconds, spoil.stalled.set).start()

    @property
    def passed(self) -> int:
        """Bytes towards the instance's block port since `reset`."""
        return self._passed

    def slow(self, rate: float) -> None:
        self._spoil.rate = rate

    def flip(self) -> None:
        self._spoil.flips += 1

    def garble(self) -> None:
        self._spoil.garbage += 1

    def close(self) -> None:
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server((self.host, port))
        threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near, port), daemon=True).start()

    def _serve(self, near: socket.socket, port: int) -> None:
        if port == CONTROL:
            self._follow_up()
        if self._refusals:
            self._refusals -= 1
            near.close()
            return
        try:
            far = socket.create_connection((self._target(), port), timeout=10.0)
        except OSError:  # as a cloud does for an instance that is not there
            near.close()
            return
        far.settimeout(None)
        link = _Link(port, near, far)
        with self._lock:
            self._links.append(link)
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        try:
            self._pump(link)
        finally:
            with suppress(OSError):
                far.shutdown(socket.SHUT_WR)
            back.join()
            with self._lock:
                self._links.remove(link)
            near.close()
            far.close()

    def _follow_up(self) -> None:
        with self._lock:
            over = self._passed > CHUNK and not any(link.port == BLOCKS for link in self._links)
            do, self._after = (self._after, None) if over else (None, self._after)
        if do is not None:
            do()

    def _pump(self, link: _Link) -> None:
        with suppress(OSError):
            while chunk := link.near.recv(CHUNK):
                if link.port == BLOCKS:
                    self._forward(link, chunk)
                else:
                    self._send(link, chunk)

    def _forward(self, link: _Link, chunk: bytes) -> None:
        with self._lock:
            start, self._passed = self._passed, self._passed + len(chunk)
            due = [armed for armed in self._at if armed[0] < self._passed]
            self._at = self._at[len(due) :]
        sent = 0
        for count, do in due:
            part = max(sent, count - start)
            link.far.sendall(chunk[sent:part])
            sent = part
            do()
        self._send(link, chunk[sent:])

    def _send(self, link: _Link, chunk: bytes) -> None:
        spoil = self._spoil
        spoil.stalled.wait()
        if spoil.rate:
            time.sleep(len(chunk) / spoil.rate)
        if spoil.flips and chunk:
            spoil.flips -= 1
            spoiled = bytearray(chunk)
            spoiled[len(spoiled) // 2] ^= 1
            chunk = bytes(spoiled)
        if spoil.garbage:
            spoil.garbage -= 1
            chunk = bytes(len(chunk))
        link.far.sendall(chunk)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
