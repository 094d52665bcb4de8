"""`serve(region)`: the HTTPS endpoint of a region, in this process, until the context ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from simulator import certificate
from simulator.certificate import Certificate
from simulator.cloud.authenticator import AccessKey, Authenticator
from simulator.cloud.codes import Refused
from simulator.cloud.dispatch import Dispatcher
from simulator.cloud.region import Region
from simulator.cloud.signature import Request, decode
from simulator.https import Answer, Handler, TlsServer

_FORM: Final = "application/x-www-form-urlencoded"
_DRAIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running region: its address, its certificate, and the region behind it."""

    host: str
    port: int
    certificate: Path
    region: Region = field(repr=False)

    @property
    def endpoint(self) -> str:
        """As SDKs want it: without a scheme."""
        return f"{self.host}:{self.port}"


class RegionListener(TlsServer):
    """Serves one dispatcher."""

    def __init__(self, address: tuple[str, int], certificate: Certificate, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        super().__init__(address, certificate, _Handler)


class _Handler(Handler):
    server_version = "SimulatedCloud"

    def do_POST(self) -> None:
        self._call()

    def do_GET(self) -> None:
        self._call()

    def _call(self) -> None:
        body = self.body()
        if body is None:
            return
        path, _, query = self.path.partition("?")
        if path != "/":
            self.send(Answer(404, b"", "text/plain"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        form = body if headers.get("content-type", "").startswith(_FORM) else b""
        try:
            query_parameters = decode(query)
            parameters = query_parameters | decode(form)
        except Refused:
            self.refuse(400)
            return
        request = Request(self.command, parameters, query_parameters, headers, body)
        self.send(cast(RegionListener, self.server).dispatcher.answer(request))


@contextmanager
def serve(
    region: Region,
    keys: Iterable[AccessKey],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificates: Path | None = None,
) -> Iterator[Server]:
    """Serve until the block ends; then every instance is switched off. `certificates`: a directory that keeps ours."""
    own_certificate = certificate.load_or_create(
        certificates or region.directory / "certificate", host, "ecs.simulated.test"
    )
    listener = RegionListener(
        (host, port), own_certificate, Dispatcher(region, Authenticator(keys, region.clock))
    )
    thread = threading.Thread(target=listener.serve_forever, args=(0.1,), name="cloud https", daemon=True)
    thread.start()
    try:
        yield Server(host, int(listener.server_address[1]), own_certificate.certificate, region)
    finally:
        listener.shutdown()
        listener.hang_up()
        listener.server_close()
        region.close()
        thread.join(_DRAIN_SECONDS)
