"""One request over HTTPS is bounded, and trusted before its first byte. It follows no redirect and uses no proxy and no .netrc.

Failures are our errors. Only a call that is harmless to repeat is repeated here.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from connector import __version__, bounded
from connector.clients import failures
from connector.clients.failures import Peer, RequestStage
from connector.clients.trust import OtherCertificate, Trust
from connector.errors import BadInput, ControlFailed, TrustFailed
from connector.patience import Patience

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Seconds for a connection with its handshake, for silence in an answer, and for the whole; bytes of an answer."""

    connect: float = 10.0
    silence: float = 60.0
    whole: float = bounded.LONGEST
    largest: int = bounded.LARGEST


LIMITS: Final = RequestLimits()
_PIECE: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. `headers`: by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    def json(self) -> Any:
        """The content as JSON; None if it is not JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


class Https:
    """Requests to one server, one at a time, over a kept connection. Each thread has its own."""

    def __init__(
        self,
        url: str,
        trust: Trust,
        peer: Peer,
        limits: RequestLimits = LIMITS,
        patience: Patience | None = None,
    ) -> None:
        """`patience`: how long a passing failure of a harmless call is outlasted. Raises BadInput for a bad URL."""
        host, port, self._root = _parts(url, peer)
        context = bounded.bound(trust.context(), limits.whole, limits.largest)
        self.on, self._peer, self._limits = url.rstrip("/"), peer, limits
        self._patience = patience or Patience(0.0)
        self._line = _Line(host, port, context, trust, self.on, limits.connect)

    def repeated(self, call: Callable[[], T], *, harmless: bool) -> T:
        """The answer of `call`, repeated after a passing failure if that is harmless."""
        return self._patience.outlast(call) if harmless else call()

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        wait: float = 0.0,
        doubt: str = "",
    ) -> Answer:
        """The answer, which may be a refusal. Raises ConnectorErrors, with `doubt` if the request may have been carried out.

        `wait`: seconds for which the server may deliberately delay the answer.
        """
        at = RequestStage(self._limits.connect, sent=False)
        try:
            sock = self._line.ready()
            at = RequestStage(self._limits.silence + wait, sent=True)
            sock.settimeout(at.limit)
            return self._exchange(method, self._root + path, headers, body)
        except (OSError, http.client.HTTPException, UnicodeError, OtherCertificate) as error:
            self.close()
            raise failures.failed(error, self._peer, self.on, at, doubt) from error
        except BaseException:
            self.close()
            raise

    def foreign(self, answer: Answer) -> ControlFailed:
        """The error for an answer that is not the API's."""
        return failures.foreign(answer.status, answer.headers.get("content-type", ""), self._peer, self.on)

    def close(self) -> None:
        self._line.close()

    def abort(self) -> None:
        """End the exchange that another thread waits in; its call fails."""
        if (sock := self._line.sock) is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        all_headers = {"User-Agent": f"connector/{__version__}", **headers}
        if not all(_sendable(value) for value in all_headers.values()):
            raise BadInput("the credential cannot be sent", on=self.on, remedy="check the file that it is in")
        with suppress(
            ConnectionError, ssl.SSLEOFError
        ):  # the server stopped reading because it has answered: read the answer
            self._line.request(method, path, body, all_headers)
        with self._line.getresponse() as response:
            content = _content(response)
        answer_headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, answer_headers, content)


def _content(response: http.client.HTTPResponse) -> bytes:
    """The content, read piece by piece: memory is used for received bytes, not for what a header promises."""
    content = bytearray()
    while piece := response.read(_PIECE):
        content += piece
    if response.length:
        raise http.client.IncompleteRead(b"")
    return bytes(content)


class _Line(http.client.HTTPSConnection):
    """A connection that is made when it is needed, and made again if the other side has closed it."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext, trust: Trust, on: str, limit: float
    ) -> None:
        super().__init__(host, port, timeout=limit, context=context)
        self._trust, self._on = trust, on

    def ready(self) -> ssl.SSLSocket:
        if self.sock is not None and _readable(self.sock):  # no request is open: readable means closed
            self.close()
        if self.sock is None:
            self.connect()
        return self._secure()

    def connect(self) -> None:
        super().connect()
        self._trust.accept(self._secure(), self._on)

    def _secure(self) -> ssl.SSLSocket:
        if not isinstance(self.sock, ssl.SSLSocket):
            raise TrustFailed(
                "the connection is not encrypted", on=self._on, remedy="use an address with https://"
            )
        return self.sock


def _parts(url: str, peer: Peer) -> tuple[str, int, str]:
    """Host, port and the base path. A bad URL is not shown in errors: people have written passwords into URLs."""
    form = "https://HOST[:PORT]"
    try:
        address = urlsplit(url)
        port = address.port or 443
    except ValueError:
        raise BadInput(f"this is no URL of {peer.noun}", remedy=form) from None
    if address.scheme != "https" or not address.hostname:
        raise BadInput(f"{peer.noun} speaks HTTPS only", on=_shown(url), remedy=form)
    if "@" in address.netloc:
        raise BadInput(f"the URL of {peer.noun} contains a user", on=address.hostname, remedy=form)
    return address.hostname, port, address.path.rstrip("/")


def _shown(url: str) -> str:
    return "" if "@" in url else url


def _sendable(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _readable(sock: ssl.SSLSocket) -> bool:
    waiting = select.poll()  # select() knows no descriptor beyond 1023
    waiting.register(sock, select.POLLIN)
    return bool(sock.pending() or waiting.poll(0))
