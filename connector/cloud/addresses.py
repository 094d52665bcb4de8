"""Each local instance has its own loopback address, so that all of them can use the real ports 8080 and 8703."""

from __future__ import annotations

import errno
import hashlib
import socket
import time
from collections.abc import Collection, Iterator
from typing import Final

from connector.errors import PortInUse

CONTROL_PORT: Final = 8080
BLOCK_PORT: Final = 8703
_CANDIDATES: Final = 24


def candidates(token: str) -> Iterator[str]:
    """Addresses in 127.64.0.0/10 for this token, always the same in the same order."""
    for n in range(_CANDIDATES):
        digest = hashlib.sha256(f"{token}/{n}".encode()).digest()
        yield f"127.{64 + digest[0] % 64}.{digest[1]}.{1 + digest[2] % 254}"


def choose(token: str, used: Collection[str]) -> str:
    """The first address for this token on which both ports are free. Raises `PortInUse`."""
    busy: set[int] = set()
    for host in candidates(token):
        if host in used:
            continue
        ports = busy_ports(host)
        if not ports:
            return host
        busy.update(ports)
    listed = " and ".join(map(str, sorted(busy))) or f"{CONTROL_PORT} and {BLOCK_PORT}"
    raise PortInUse(
        f"port {listed} is taken on all of {_CANDIDATES} loopback addresses",
        on="local provider",
        remedy="stop the program that listens on every address of this machine (ss -ltnp shows it)",
    )


def wait_free(host: str, seconds: float) -> None:
    """Wait until both ports of a known address are free. Raises `PortInUse` after `seconds`."""
    deadline = time.monotonic() + seconds
    while ports := busy_ports(host):
        if time.monotonic() > deadline:
            raise PortInUse(
                f"port {' and '.join(map(str, ports))} is taken by another program",
                on=host,
                remedy="stop that program (ss -ltnp shows it), then start the job again",
            )
        time.sleep(0.05)


def busy_ports(host: str) -> list[int]:
    """Which of the instance's ports are in use on `host`."""
    return [port for port in (CONTROL_PORT, BLOCK_PORT) if not _is_free(host, port)]


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise PortInUse(
                    f"port {port} cannot be used: {error.strerror}",
                    on=host,
                    remedy="the local provider needs Linux loopback addresses",
                ) from error
            return False
    return True
