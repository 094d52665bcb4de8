"""A client that keeps the control plane waiting is dropped, so that others are served.

The time for a request runs from the connection, or from the beginning of the next request, until the request is complete.
After that the client may wait for its answer as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import socket
from dataclasses import dataclass
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_LOG: Final = logging.getLogger(__name__)

_DROPPED: Final = "%s is dropped: %s"
_OWING: Final = (h11.IDLE, h11.SEND_BODY)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long a client may keep us waiting, and how many clients may do so.

    `patience`: seconds for the handshake, and for a request; each `rate` bytes of a request give one second more. A
    client that does not read its answer is dropped after three times as long. `waiting`: if more connections than this
    have no complete request, the oldest of them is dropped; each costs half a MiB.
    """

    patience: float = 20.0
    rate: int = 16 << 10
    waiting: int = 256


class Waiting:
    """The connections without a complete request, oldest first. Only the loop's thread uses it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._dropped = 0
        self._found: dict[Any, Any] = {}  # the peer's address to its socket

    def enter(self, peer: Any, sock: Any) -> None:
        """Add a connection that waits from now on. If too many wait, drop the oldest."""
        self._found.pop(peer, None)
        self._found[peer] = sock
        while len(self._found) > self._most:
            self._drop_oldest()
            # asyncio's objects of a connection form a cycle: nothing else frees them soon
            if self._dropped % self._most == 0:
                gc.collect()

    def _drop_oldest(self) -> None:
        peer = next(iter(self._found))
        self._dropped += 1
        with contextlib.suppress(OSError):  # it is already closed
            self._found.pop(peer).shutdown(socket.SHUT_RDWR)
            why = f"more than {self._most} connections have no complete request, and it has waited longest"
            _LOG.info(_DROPPED, peer, why)

    def leave(self, peer: Any) -> None:
        """Remove a connection: its request is complete, or it is closed."""
        self._found.pop(peer, None)


class Listener(socket.socket):
    """A listening socket that counts the connections that it accepts, before the handshake."""

    waiting: Waiting

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, peer = super().accept()
        self.waiting.enter(peer, accepted)
        return accepted, peer


class _Loop(asyncio.SelectorEventLoop):
    """uvicorn has no setting for how long a handshake may take; the default is a minute."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience

    async def create_server(self, *args: Any, **options: Any) -> Any:
        options |= {"ssl_handshake_timeout": self._patience, "ssl_shutdown_timeout": self._patience}
        return await super().create_server(*args, **options)


class _Protocol(H11Protocol):
    """uvicorn's protocol with bounds on how long a client may take."""

    bounds: ConnectionLimits
    waiting: Waiting

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peername")
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._received += len(data)
        if self.conn.their_state not in _OWING:
            self._satisfied()
        elif self._deadline is None:
            self.waiting.enter(self._peer, self.transport.get_extra_info("socket"))
            self._expect(len(data))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state in _OWING and not self.transport.is_closing():
            self.waiting.enter(self._peer, self.transport.get_extra_info("socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._satisfied()
        self._reads_again()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(3 * self.bounds.patience, self._drop, "does not read its answer")

    def resume_writing(self) -> None:
        self._reads_again()
        super().resume_writing()

    def _expect(self, received: int = 0) -> None:
        """Expect a complete request, counting from now."""
        self._begun, self._received = self.loop.time(), received
        self._deadline = self.loop.call_later(self.bounds.patience, self._look)

    def _look(self) -> None:
        if self.flow.read_paused:  # the client waits for us
            self._expect()
            return
        until = self._begun + self.bounds.patience + self._received / self.bounds.rate
        if self.loop.time() < until:
            self._deadline = self.loop.call_at(until, self._look)
        else:
            self._drop("does not complete its request")

    def _satisfied(self) -> None:
        self.waiting.leave(self._peer)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _reads_again(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _drop(self, why: str) -> None:
        _LOG.info(_DROPPED, self._peer, f"it {why}")
        self.transport.abort()


def protocol(listener: Listener, bounds: ConnectionLimits) -> type[asyncio.Protocol]:
    """The protocol class for the configuration of the server that `run` runs."""
    listener.waiting = Waiting(bounds.waiting)
    return type("Protocol", (_Protocol,), {"bounds": bounds, "waiting": listener.waiting})


def _says_something(record: logging.LogRecord) -> bool:
    """Not of uvicorn's error about the tasks that it cancelled, if there was none."""
    return not (str(record.msg).startswith("Cancel %s running task") and record.args == (0,))


def run(server: uvicorn.Server, listener: Listener, bounds: ConnectionLimits) -> None:
    """Serve until the server is told to exit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.getLogger("uvicorn.error").addFilter(_says_something)
    with asyncio.Runner(loop_factory=lambda: _Loop(bounds.patience)) as runner:
        runner.run(server.serve(sockets=[listener]))
