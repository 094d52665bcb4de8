"""Posts one body to a server that a person named, and reads a bounded answer. It follows no redirect and uses no proxy.

The rule: what follows the host in the URL may be a secret, so no error and no log has it.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from connector.clients import failures
from connector.clients.failures import Peer, RequestStage
from connector.clients.https import Answer, Https, RequestLimits
from connector.clients.trust import Trust
from connector.errors import BadInput

#: Seconds and bytes of one exchange.
LIMITS: Final = RequestLimits(connect=10.0, silence=15.0, whole=20.0, largest=64 << 10)
#: Seconds after which an exchange has ended, whatever the other side does.
LONGEST: Final = 45.0


@dataclass(frozen=True, slots=True)
class PostAddress:
    """A URL in its parts. `path`: with the query; it may be a secret, so it has no `repr`."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def shown(self) -> str:
        """The part that may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is an address of this computer, or `localhost`."""
        if self.host == "localhost":
            return True
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return False

    def __repr__(self) -> str:
        return f"PostAddress({self.shown})"


def address(url: str) -> PostAddress:
    """The parts of an `http` or `https` URL without a user. Raises BadInput, which does not repeat the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise BadInput("is no URL", remedy="use https://HOST[:PORT]/PATH") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise BadInput("is no URL with https://", remedy="use https://HOST[:PORT]/PATH")
    if "@" in parts.netloc:
        raise BadInput("contains a user", remedy="leave it out: the signature proves who sent it")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (url.isascii() and url.isprintable() and " " not in url) or parts.fragment:
        raise BadInput("has characters that no URL has", remedy="escape them with %")
    return PostAddress(parts.scheme, parts.hostname, port, path)


def post(to: PostAddress, headers: Mapping[str, str], body: bytes, trust: Trust, peer: Peer) -> Answer:
    """The answer, which may be a refusal. Raises ConnectorErrors of `peer` and TrustFailed, and ends within `LONGEST`."""
    if to.scheme == "https":
        client = Https(to.shown, trust, peer, LIMITS)
        with ends_within(LONGEST, client.abort):
            try:
                return client.ask("POST", to.path, headers, body)
            finally:
                client.close()
    return _plain(to, headers, body, peer)


def _plain(to: PostAddress, headers: Mapping[str, str], body: bytes, peer: Peer) -> Answer:
    """The same without TLS."""
    line = http.client.HTTPConnection(to.host, to.port, timeout=LIMITS.connect)
    at = RequestStage(LIMITS.connect, sent=False)
    try:
        line.connect()
        at = RequestStage(LIMITS.silence, sent=True)
        line.sock.settimeout(at.limit)
        with ends_within(LONGEST, lambda: shut(line.sock)):
            line.request("POST", to.path, body, dict(headers))
            with line.getresponse() as response:
                content = response.read(LIMITS.largest + 1)[: LIMITS.largest]
                answered = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, answered, content)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise failures.failed(error, peer, to.shown, at) from error
    finally:
        line.close()


@contextmanager
def ends_within(seconds: float, abort: Callable[[], object]) -> Iterator[None]:
    """Call `abort` after so many seconds, unless the block has ended: a socket's own limit starts again with every byte."""
    timer = threading.Timer(seconds, abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def shut(sock: socket.socket | None) -> None:
    """Make every call on the socket fail, also one that another thread waits in."""
    if sock is not None:
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
