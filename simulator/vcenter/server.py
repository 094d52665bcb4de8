"""`serve(estate)`: an HTTPS vCenter over an estate, in this process, until the context ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from simulator import certificate
from simulator.estate.estate import Estate
from simulator.nfc import Hosts, Switches
from simulator.vcenter.center import Center
from simulator.vcenter.dispatch import Dispatcher
from simulator.vcenter.host_folders import HostFolders
from simulator.vcenter.https import SoapListener
from simulator.vcenter.options import Options

DEFAULT_USER = "administrator@vsphere.local"
_DRAIN_SECONDS = 5.0


class Front:
    """The listener at one address; it can be closed and opened again."""

    def __init__(self, address: tuple[str, int], files: certificate.Certificate, center: Center) -> None:
        self._address, self._kept, self._center = address, files, center
        self.open()

    def open(self) -> None:
        """Answer, at the same port as before."""
        self.listener = SoapListener(self._address, self._kept, Dispatcher(self._center))
        self._address = (self._address[0], int(self.listener.server_address[1]))
        self._thread = threading.Thread(
            target=self.listener.serve_forever, args=(0.05,), name="vcenter https", daemon=True
        )
        self._thread.start()

    def shut(self) -> None:
        """Refuse new connections, and break the existing ones."""
        self.listener.shutdown()
        self.listener.server_close()
        self.listener.hang_up()
        self._thread.join(_DRAIN_SECONDS)

    @property
    def port(self) -> int:
        return self._address[1]


@dataclass(frozen=True, slots=True)
class Server:
    """A running vCenter: its address, a user who may log in, and the Center behind it (for tests)."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    thumbprint: str
    thumbprint_sha256: str
    certificate: Path
    center: Center = field(repr=False)
    front: Front = field(repr=False)
    nfc: Hosts = field(repr=False)

    @property
    def listener(self) -> SoapListener:
        return self.front.listener

    @contextmanager
    def down(self) -> Iterator[None]:
        """Restart vCenter: inside the block nothing answers, and it forgets sessions, collectors and tasks.

        The work of hosts goes on meanwhile, as in reality.
        """
        self.front.shut()
        for session in self.center.sessions.all():
            self.center.sessions.end(session)
        self.center.tasks.forget()
        try:
            yield
        finally:
            self.front.open()

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
    nfc_switches: Switches | None = None,
) -> Iterator[Server]:
    """Serve until the block ends. `accounts`: passwords by user name, the first one is `Server.user`.

    The certificate is kept in the estate's directory. On the way out: no new connections, waiting calls are
    cancelled,
    running tasks get five seconds, sessions end.
    """
    files = certificate.load_or_create(estate.directory / "certificate", host)
    estate.export.access(files.sha1, accounts.items())
    nfc = Hosts(estate, files, host, switches=nfc_switches)
    center = Center(estate, accounts, options or Options(), files.sha1, nfc)
    center.host_folders = host_folders = HostFolders(center, files, host)
    front = Front((host, port), files, center)
    user, password = next(iter(accounts.items()))
    try:
        yield Server(
            host, front.port, user, password, files.sha1, files.sha256, files.certificate, center, front, nfc
        )
    finally:
        front.listener.shutdown()
        center.close()
        center.tasks.drain(_DRAIN_SECONDS)
        front.shut()
        host_folders.close()
        nfc.close()
