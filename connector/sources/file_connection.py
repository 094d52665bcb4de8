"""One kept-alive, verified connection over which a file of an HTTPS server is asked for.

Redirects are not followed, because the cookie belongs to one server. Every status that is no content becomes an error of ours.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from typing import Final

from connector.errors import NotPermitted, ReaderFailed, SessionExpired
from connector.model import FileRoute
from connector.sources.reader import HostClosed, ServerBusy
from connector.vcenter.trust import PinnedConnection, VCenterTrust

Answer = HTTPResponse
PRIVILEGE: Final = "Datastore.Browse"
WHOLE: Final = 2  # times the longest silence: how long one answer may take
_SMALL: Final = 64 << 10  # bytes of an answer that is read only to keep the connection
_OTHER_READER: Final = "read the disk with another reader (reader: vddk or nfc)"
_NETWORK: Final = "check the server and the network in between"


class Way:
    """The route to one file, asked for again when its cookie is refused. Thread-safe: connections may share it."""

    def __init__(self, ask: Callable[[], FileRoute]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._route: FileRoute | None = None

    def route(self, refused: FileRoute | None = None) -> FileRoute:
        """The route; a new one when the present one is `refused`."""
        with self._lock:
            if self._route is None or self._route is refused:
                self._route = self._ask()
            return self._route


class FileConnection:
    """One kept-alive connection to the server of a file. One thread at a time.

    Whether a ticket is good for one request or for many is not known of all servers. So after tickets that were good for one,
    each request gets its own.
    """

    def __init__(self, way: Way, on: str, silence: float) -> None:
        self._way, self._on, self._silence = way, on, silence
        self._route: FileRoute | None = None
        self._served = 0  # requests with the present route
        self._single = 0  # routes in a row that served one request
        self._connection: PinnedConnection | None = None
        self._used = self._over = False

    @contextmanager
    def get(self, headers: Mapping[str, str]) -> Iterator[Answer]:
        """The answer to one request. Raises ReaderFailed and others for a status without content.

        What is left of the answer in the end is dropped together with the connection.
        """
        try:
            answer = self._answered(headers)
            try:
                _accept(answer, self._on)
                yield answer
            finally:
                if not answer.isclosed():
                    self.close()
        except (OSError, HTTPException) as broken:
            self.close()
            kind = HostClosed if isinstance(broken, ConnectionRefusedError) else ReaderFailed
            raise kind(
                f"the connection broke ({_words(broken)})", on=self._on, remedy=_NETWORK, retryable=True
            ) from broken

    def close(self) -> None:
        """Drop the connection; the next request makes a new one."""
        connection, self._connection, self._used = self._connection, None, False
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Let the request that is under way fail, and send no other. From any thread."""
        self._over = True
        sock = None if self._connection is None else self._connection.sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of TLS would wait for its lock

    def _answered(self, headers: Mapping[str, str]) -> Answer:
        if self._single > 1 and self._served:
            self._renew()
        answer = self._asked(headers)
        if answer.status in (401, 403):  # the session may have been renewed, and its cookie with it
            answer.read(_SMALL)
            self._single = self._single + 1 if self._served == 1 else 0
            self._renew()
            answer = self._asked(headers)
        self._served += 1
        return answer

    def _renew(self) -> None:
        """Get another route. One that leads elsewhere needs another connection: a cookie is shown to its own server only."""
        before, self._served = self._route, 0
        now = self._route = self._way.route(before)
        if before is not None and _server(before) != _server(now):
            self.close()

    def _asked(self, headers: Mapping[str, str]) -> Answer:
        """Send the request. A connection that was kept alive may be closed by now: then on a new one."""
        if self._used:
            try:
                return self._sent(headers)
            except TimeoutError:
                raise
            except (OSError, HTTPException):
                self.close()
        return self._sent(headers)

    def _sent(self, headers: Mapping[str, str]) -> Answer:
        if self._over:
            raise closed(self._on)
        route = self._route = self._route or self._way.route()
        if self._connection is None:
            trust = VCenterTrust(route.pin, route.authority, route.setting)
            self._connection = PinnedConnection(
                route.host, route.port, trust=trust, patience=self._silence, whole=WHOLE * self._silence
            )
        fixed = {"Cookie": route.cookie, "Accept-Encoding": "identity", "User-Agent": "connector"}
        self._connection.request("GET", route.target, headers={**fixed, **headers})
        answer = self._connection.getresponse()
        self._used = True
        return answer


def _server(route: FileRoute) -> tuple[object, ...]:
    return route.host, route.port, route.pin, route.authority


def whole_text(connection: FileConnection, most: int, on: str) -> bytes:
    """A small file. Raises ReaderFailed when it is longer than `most`."""
    with connection.get({}) as answer:
        if answer.status != 200:
            raise strange(f"the server answers {answer.status} to a request for the whole file", on)
        content = answer.read(most + 1)
        if len(content) > most:
            raise strange(f"the file is longer than {most} bytes", on)
        if answer.length:
            raise ReaderFailed("the answer ended early", on=on, remedy=_NETWORK, retryable=True)
        return content


def receive(answer: Answer, room: memoryview, on: str) -> None:
    """Fill the room with the whole answer. Raises ReaderFailed when it is shorter or longer."""
    filled = 0
    while filled < len(room):
        count = answer.readinto(room[filled:])
        if not count:
            raise ReaderFailed(
                f"the answer ended after {filled} of {len(room)} bytes",
                on=on,
                remedy=_NETWORK,
                retryable=True,
            )
        filled += count
    if answer.read(1):
        raise strange("the answer is longer than asked for", on)


def _accept(answer: Answer, on: str) -> None:
    """Raise the error of a status that is no content."""
    status = answer.status
    if status in (200, 206):
        return
    if status == 401:
        raise SessionExpired("the server does not accept the session", on=on)
    if status == 403:
        raise NotPermitted(
            f"the server refuses the file (HTTP {status})",
            on=on,
            remedy=f"grant {PRIVILEGE} on its datastore; a machine without a snapshot locks its files",
        )
    if status in (404, 410, 416):
        raise strange(f"there is no such file or range (HTTP {status})", on)
    if status in (429, 503):
        raise ServerBusy(f"the server is busy (HTTP {status})", on=on, retryable=True)
    if 300 <= status < 400:
        raise strange(f"the server refers to another address (HTTP {status}), which is not followed", on)
    raise ReaderFailed(f"the server answers HTTP {status}", on=on, remedy=_NETWORK, retryable=status >= 500)


def strange(what: str, on: str) -> ReaderFailed:
    """The error for a server that does not do what it was asked for."""
    return ReaderFailed(what, on=on, remedy=_OTHER_READER)


def closed(on: str) -> ReaderFailed:
    """The error for a read after closing."""
    return ReaderFailed("the disk is closed", on=on, remedy="open it again")


def _words(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
