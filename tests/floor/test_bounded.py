"""An answer that drips, or has no end, ends: our clients wait for so long and take so much, and no more."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from connector import bounded
from connector.clients.agents import PEER
from connector.clients.https import Https, RequestLimits
from connector.clients.trust import Pinned
from connector.control.state import identity
from connector.errors import ControlFailed
from connector.instance.user_data import _answer


class Dripping(http.server.BaseHTTPRequestHandler):
    """By path: `/drip` a byte now and then without end, `/flood` as fast as it goes, `/head` a header without end."""

    def do_GET(self) -> None:
        if self.path == "/head":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while not self.server.ended.wait(0 if self.path == "/flood" else 0.05):  # type: ignore[attr-defined]
                self.wfile.write(b"x" * (1 << 16 if self.path == "/flood" else 1))

    def log_message(self, *_: Any) -> None:
        """Not on the terminal."""


@pytest.fixture(params=["https", "http"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL and thumbprint of a server that never comes to an end."""
    mine = identity.load(tmp_path, "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    server.ended = threading.Event()  # type: ignore[attr-defined]
    server.daemon_threads = True
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(mine.certificate_file)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"{request.param}://127.0.0.1:{server.server_address[1]}", mine.thumbprint.replace(":", "").lower()
    server.ended.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/drip", "/head", "/flood"])
@pytest.mark.parametrize("served", ["https"], indirect=True)
def test_a_client_over_tls_gives_up(served: tuple[str, str], path: str) -> None:
    url, thumbprint = served
    https = Https(url, Pinned(thumbprint), PEER, RequestLimits(whole=1.0, largest=1 << 20))
    with closing(https), pytest.raises(ControlFailed):
        https.ask("GET", path, {})


@pytest.mark.parametrize("path", ["/drip", "/flood"])
@pytest.mark.parametrize("served", ["http"], indirect=True)
def test_the_metadata_service_is_not_believed_for_ever(
    served: tuple[str, str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.instance.user_data._TOTAL", 1.0)
    with requests.Session() as session, pytest.raises(requests.exceptions.ReadTimeout):
        _answer(session, "GET", served[0] + path, {})


@pytest.mark.parametrize("served", ["https"], indirect=True)
def test_a_new_request_has_new_bounds(served: tuple[str, str], tmp_path: Path) -> None:
    context = bounded.bound(ssl.create_default_context(cafile=str(tmp_path / "control.crt")), 60.0, 100)
    assert context.sslsocket_class is not None
    kind: Any = context.sslsocket_class
    assert issubclass(kind, bounded.BoundedSocket)
    assert (kind.longest, kind.largest) == (60.0, 100)
    assert bounded.BoundedSocket.largest == bounded.LARGEST
    assert bounded.LONGEST > 120  # a long poll is a minute
