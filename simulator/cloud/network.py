"""Each address of an instance is a forwarder on loopback that asks the security groups, and then forwards.

When an instance loses an address, the connections through it break.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

#: The ports that are forwarded; the others of an instance cannot be reached.
PORTS: Final = (8080, 8703)
_PIECE: Final = 1 << 18
_PATIENCE: Final = 5.0
T = TypeVar("T")

#: Whether a packet from this address to this port is let in.
Allowed = Callable[[str, int], bool]


class _Forwarder:
    def __init__(self) -> None:
        self.servers: list[asyncio.Server] = []
        self.open: set[asyncio.StreamWriter] = set()


class Network:
    """One event loop in a thread of its own, begun with the first address. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forwarders: dict[str, _Forwarder] = {}

    @staticmethod
    def new_address() -> str:
        """A loopback address that no other process uses, as far as this process can know."""
        return f"127.{128 + secrets.randbelow(127)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"

    def open(self, address: str, nic: str, allowed: Allowed) -> None:
        """From now on `address` leads to the instance whose programs listen at `nic`."""
        if address and address not in self._forwarders:
            self._run(self._open(address, nic, allowed))

    def shut(self, address: str) -> None:
        """Close an address, if it is open."""
        if address in self._forwarders:
            self._run(self._shut(self._forwarders.pop(address)))

    def close(self) -> None:
        for address in list(self._forwarders):
            self.shut(address)
        with self._guard:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="network", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _open(self, address: str, nic: str, allowed: Allowed) -> None:
        forwarder = self._forwarders[address] = _Forwarder()
        for port in PORTS:

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port
            ) -> None:
                await _forward(forwarder, reader, writer, (nic, port), allowed)

            forwarder.servers.append(await asyncio.start_server(accept, address, port))

    async def _shut(self, forwarder: _Forwarder) -> None:
        for server in forwarder.servers:
            server.close()
        for writer in list(forwarder.open):
            writer.transport.abort()


async def _forward(
    forwarder: _Forwarder,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: tuple[str, int],
    allowed: Allowed,
) -> None:
    if not allowed(writer.get_extra_info("peername")[0], target[1]):
        writer.transport.abort()
        return
    try:
        inner_reader, inner_writer = await asyncio.open_connection(*target)
    except OSError:
        writer.transport.abort()
        return
    both = {writer, inner_writer}
    forwarder.open |= both
    try:
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
    finally:
        forwarder.open -= both
        for stream in both:
            stream.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
