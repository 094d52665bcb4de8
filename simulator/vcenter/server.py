"""`serve(estate)`: an HTTPS vCenter over an estate, in this process, until the context ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from simulator import certificate
from simulator.estate.estate import Estate
from simulator.vcenter.center import Center, Options
from simulator.vcenter.dispatch import Dispatcher
from simulator.vcenter.door import Door

DEFAULT_USER = "administrator@vsphere.local"
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running vCenter: where it is, who may come in, and the Center behind it (for tests to reach into)."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    thumbprint: str
    thumbprint_sha256: str
    certificate: Path
    center: Center = field(repr=False)
    door: Door = field(repr=False)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}/sdk"


@contextmanager
def serve(
    estate: Estate,
    *,
    accounts: Mapping[str, str],
    host: str = "127.0.0.1",
    port: int = 0,
    options: Options | None = None,
) -> Iterator[Server]:
    """Serve until the block ends. `accounts`: passwords by user name, the first one is `Server.user`.

    The certificate is kept in the estate's directory. On the way out: no new connections, waiting calls are
    cancelled,
    running tasks get five seconds, sessions end.
    """
    kept = certificate.load_or_create(estate.directory / "certificate", host)
    estate.export.access(kept.sha1, accounts.items())
    center = Center(estate, accounts, options or Options(), kept.sha1)
    door = Door((host, port), kept, Dispatcher(center))
    thread = threading.Thread(target=door.serve_forever, args=(0.1,), name="vcenter door", daemon=True)
    thread.start()
    user, password = next(iter(accounts.items()))
    bound = int(door.server_address[1])
    try:
        yield Server(host, bound, user, password, kept.sha1, kept.sha256, kept.certificate, center, door)
    finally:
        door.shutdown()
        center.close()
        center.tasks.drain(_DRAIN_SECONDS)
        door.hang_up()
        door.server_close()
        thread.join(_DRAIN_SECONDS)
