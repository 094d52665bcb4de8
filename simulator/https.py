"""HTTP/1.1 over TLS for every simulated service, with one thread for each connection, bounded requests, cut answers."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from simulator.certificate import Certificate

MAXIMUM_REQUEST = 16 << 20
_HANDSHAKE_SECONDS = 20.0
_IDLE_SECONDS = 300.0
_CHUNK = 8 << 10
_log = logging.getLogger("simulator.https")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. `cut_after`: drop the connection after this number of its bytes. `chunked`: its length is not told."""

    status: int
    body: bytes
    content_type: str = "text/xml; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    chunked: bool = False


class TlsServer(ThreadingHTTPServer):
    """Listens on one address; TLS handshakes happen in the connection's own thread."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], certificate: Certificate, handler: type[BaseHTTPRequestHandler]
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._context = certificate.server_context()
        self._handler = handler
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Runs in the connection's thread."""
        request.settimeout(_HANDSHAKE_SECONDS)
        try:
            secured = self._context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError) as error:
            _log.debug("handshake with %s failed: %s", client_address, error)
            return
        with self._lock:
            self._open.add(secured)
        try:
            secured.settimeout(_IDLE_SECONDS)
            self._handler(secured, client_address, self)
        except (OSError, ssl.SSLError) as error:
            _log.debug("connection of %s ended: %s", client_address, error)
        finally:
            with self._lock:
                self._open.discard(secured)
            secured.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that vanishes is no news; a bug of ours is."""
        _log.exception("connection of %s failed", client_address)

    def hang_up(self) -> None:
        """Drop every open connection."""
        with self._lock:
            open_now = list(self._open)
        for connection in open_now:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Handler(BaseHTTPRequestHandler):
    """The base of every service's handler: it reads whole bodies and sends answers."""

    protocol_version = "HTTP/1.1"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1

    def body(self) -> bytes | None:
        """The request's body; None when it was refused or broke off, and has been answered."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        length = self.headers.get("Content-Length", "" if self.command == "POST" else "0")
        if not length.isdigit():
            self.refuse(411)
            return None
        if int(length) > MAXIMUM_REQUEST:
            self.refuse(413)
            return None
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    def _chunks(self) -> bytes | None:
        body = bytearray()
        while True:
            size = self.rfile.readline(66).partition(b";")[0].strip()
            try:
                length = int(size, 16)
            except ValueError:
                self.refuse(400)
                return None
            if length < 0 or len(body) + length > MAXIMUM_REQUEST:
                self.refuse(413)
                return None
            body += self.rfile.read(length)
            self.rfile.readline(66)
            if length == 0:
                return bytes(body)

    def refuse(self, status: int) -> None:
        """An answer without a body, then the end of the connection."""
        self.close_connection = True
        self.send(Answer(status, b"", "text/plain", {"Connection": "close"}))

    def send(self, answer: Answer) -> None:
        self.send_response(answer.status, HTTPStatus(answer.status).phrase)
        self.send_header("Content-Type", answer.content_type)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-cache")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.cut_after is not None:
            self._cut(_coded(answer, answer.body[: answer.cut_after]))
            return
        self.end_headers()
        self.wfile.write(_coded(answer, answer.body))

    def _cut(self, part: bytes) -> None:
        """Send the beginning of an answer, or nothing at all, and drop the connection."""
        if part:
            self.end_headers()
            self.wfile.write(part)
        self.drop()

    def drop(self) -> None:
        """Send what was written so far, and drop the connection."""
        self.wfile.flush()
        self.close_connection = True
        self._headers_buffer: list[bytes] = []
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("%s %s", self.client_address[0], format % args)


def _coded(answer: Answer, part: bytes) -> bytes:
    """The bytes that carry this beginning of the answer's body. Chunks are announced as the whole body has them."""
    if not answer.chunked:
        return part
    coded = bytearray()
    for start in range(0, len(part), _CHUNK):
        coded += b"%x\r\n" % len(answer.body[start : start + _CHUNK]) + part[start : start + _CHUNK]
        if len(part) < len(answer.body) and start + _CHUNK >= len(part):
            return bytes(coded)
        coded += b"\r\n"
    return bytes(coded) if len(part) < len(answer.body) else bytes(coded + b"0\r\n\r\n")
