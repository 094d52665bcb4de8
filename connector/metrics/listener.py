"""Serves GET /metrics, /healthz and /readyz, and nothing else, on an address of its own (docs/decisions/0141).

The rule: it has threads of its own, so that a service that hangs still says so. It knows no secret and changes nothing.
"""

from __future__ import annotations

import errno
import logging
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from connector.errors import BadInput, PortInUse
from connector.metrics.address import MetricsAddress
from connector.metrics.exposition import Exposition
from connector.service_manager import ServiceManager

_LOG: Final = logging.getLogger(__name__)
_TEXT: Final = "text/plain; charset=utf-8"
#: Connections at a time; one more ends the oldest, which is slow or silent.
CONNECTIONS: Final = 16
#: Seconds that a client may be silent within its one request.
SILENCE: Final = 10.0


class MetricsListener:
    """A context manager. The port is taken when it is made, and served while it is entered."""

    def __init__(self, address: MetricsAddress, exposition: Exposition, manager: ServiceManager) -> None:
        """Raises BadInput for an address that this machine does not have, PortInUse for one that is taken."""
        handler = type("Handler", (_Handler,), {"exposition": exposition, "manager": manager})
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        server = type("Server", (_Server,), {"address_family": family})
        try:
            self._server: _Server = server(tuple(address), handler)
        except OSError as failed:
            raise _refusal(address, failed) from failed
        self.url = address.url(self._server.server_address[1])
        if not address.is_loopback:
            _LOG.warning("metrics are served at %s, to everybody who reaches this address", self.url)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _refusal(address: MetricsAddress, failed: OSError) -> BadInput | PortInUse:
    on = f"metrics {address.host}:{address.port}"
    if failed.errno in (errno.EADDRINUSE, errno.EACCES):
        return PortInUse(f"cannot listen: {failed.strerror}", on=on, remedy="choose another port for metrics")
    return BadInput(
        f"cannot listen: {failed.strerror}",
        on=on,
        remedy="give an address of this machine, or a port alone for 127.0.0.1",
    )


class _Server(socketserver.ThreadingTCPServer):
    """One thread for each connection, and few connections."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, *arguments: Any) -> None:
        self._lock = threading.Lock()
        self._open: list[Any] = []  # sockets, oldest first
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.append(request)
            oldest = self._open.pop(0) if len(self._open) > CONNECTIONS else None
        if oldest is not None:
            _end(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            if request in self._open:
                self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """The outermost handler of a connection: a client that left is nothing, everything else is a defect."""
        if isinstance(sys.exception(), OSError):
            _LOG.debug("a client of the metrics has left: %s", client_address)
        else:
            _LOG.exception("a scrape failed unexpectedly")


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended by itself
        return


class _Handler(BaseHTTPRequestHandler):
    """One request; then the connection ends."""

    exposition: ClassVar[Exposition]
    manager: ClassVar[ServiceManager]
    timeout = SILENCE

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, self.exposition.text(), CONTENT_TYPE_PLAIN_0_0_4)
        elif path == "/healthz":
            hanging = self.manager.hanging()
            self._say(503 if hanging else 200, f"{hanging} hangs" if hanging else "ok")
        elif path == "/readyz":
            ready = self.manager.is_ready
            self._say(200 if ready else 503, "ready" if ready else "not ready")
        else:
            self._say(404, "there are /metrics, /healthz and /readyz")

    def _refuse(self) -> None:
        self._say(405, "only GET")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _say(self, status: int, text: str) -> None:
        self._answer(status, f"{text}\n".encode(), _TEXT)

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "connector"

    def log_message(self, *_: Any) -> None:
        """Scrapes are not logged: there is one every few seconds."""
