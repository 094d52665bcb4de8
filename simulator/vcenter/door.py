"""HTTPS door: HTTP/1.1 with keep-alive, one thread per connection, bounded requests, and cuts when a rule
says so.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from simulator.vcenter.certificate import Certificate
from simulator.vcenter.dispatch import Answer, Caller, Dispatcher, versions_document
from simulator.vcenter.sessions import cookie_in

MAXIMUM_REQUEST = 16 << 20
_HANDSHAKE_SECONDS = 20.0
_IDLE_SECONDS = 300.0
_SOAP_PATHS = frozenset({"/sdk", "/sdk/", "/sdk/vimService", "/sdk/webService"})
_log = logging.getLogger("simulator.vcenter.door")


class Door(ThreadingHTTPServer):
    """Listens on one address; TLS handshakes happen in the connection's own thread."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], certificate: Certificate, dispatcher: Dispatcher) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.dispatcher = dispatcher
        self._context = certificate.server_context()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

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
            _Handler(secured, client_address, self)
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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "SimulatedVCenter"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        """A SOAP call."""
        body = self._body()
        if body is None:
            return
        if self.path.partition("?")[0] not in _SOAP_PATHS:
            self._send(Answer(404, b"", "text/plain"))
            return
        caller = Caller(
            cookie_in(self.headers.get("Cookie", "")),
            str(self.client_address[0]),
            self.headers.get("User-Agent", ""),
            self.headers.get("SOAPAction", ""),
        )
        self._send(cast(Door, self.server).dispatcher.answer(body, caller))

    def do_GET(self) -> None:
        """The few documents that clients look at."""
        path = self.path.partition("?")[0]
        if path in ("/sdk/vimServiceVersions.xml", "/sdk//vimServiceVersions.xml"):
            self._send(Answer(200, versions_document()))
        elif path in ("/sdk/vimService.wsdl", "/sdk/vimService"):
            self._send(Answer(200, _WSDL))
        elif path == "/":
            self._send(Answer(200, b"<html><body>Simulated vCenter Server</body></html>", "text/html"))
        else:
            self._send(Answer(404, b"", "text/plain"))

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self._refuse(411)
            return None
        if int(length) > MAXIMUM_REQUEST:
            self._refuse(413)
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
                self._refuse(400)
                return None
            if length < 0 or len(body) + length > MAXIMUM_REQUEST:
                self._refuse(413)
                return None
            body += self.rfile.read(length)
            self.rfile.readline(66)
            if length == 0:
                return bytes(body)

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        self._send(Answer(status, b"", "text/plain", {"Connection": "close"}))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status, HTTPStatus(answer.status).phrase)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-cache")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.cut_after is not None:
            self._cut(answer.body[: answer.cut_after])
            return
        self.end_headers()
        self.wfile.write(answer.body)

    def _cut(self, part: bytes) -> None:
        """Send the beginning of an answer, or nothing at all, and drop the connection."""
        if part:
            self.end_headers()
            self.wfile.write(part)
            self.wfile.flush()
        self.close_connection = True
        self._headers_buffer: list[bytes] = []
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("%s %s", self.client_address[0], format % args)


_WSDL = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<definitions targetNamespace="urn:vim25Service"'
    b' xmlns="http://schemas.xmlsoap.org/wsdl/"><import location="vim.wsdl" namespace="urn:vim25"/>'
    b"</definitions>"
)
