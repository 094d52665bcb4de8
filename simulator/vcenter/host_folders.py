"""ESXi hosts serve the files of their datastores too, at `/folder` and by ticket only; the datacenter is `ha-datacenter` there.

A host listens from its first ticket on, at a port of its own on the simulator's address.
"""

from __future__ import annotations

import threading
import time
from http import HTTPStatus
from typing import cast

from simulator.certificate import Certificate
from simulator.estate.errors import EstateFault
from simulator.https import Answer, Handler, TlsServer
from simulator.vcenter import folder
from simulator.vcenter.center import Center


class FolderHandler(Handler):
    """Sends files of datastores. Subclasses say for which vCenter, and for which of its hosts."""

    server_version = "SimulatedVCenter"
    host = ""

    @property
    def center(self) -> Center:
        """The vCenter that knows the files."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """A file, whole or by Range."""
        if self.path.startswith(folder.ROOT):
            self.serve_folder()
        else:
            self.send(Answer(404, b"", "text/plain"))

    def do_HEAD(self) -> None:
        """What GET would answer about a file of a datastore, without its bytes."""
        if self.path.startswith(folder.ROOT):
            self.serve_folder()
        else:
            self.refuse(405)

    def serve_folder(self) -> None:
        """Answer a request for a file."""
        cookie, wanted = self.headers.get("Cookie", ""), self.headers.get("Range", "")
        answer = folder.answer(self.center, self.command, self.path, cookie, wanted, self.host)
        self.send_response(answer.status, HTTPStatus(answer.status).phrase)
        for name, value in {"Content-Length": str(answer.length), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and not self._poured(answer):
            self.drop()

    def _poured(self, answer: folder.FileAnswer) -> bool:
        """Send the bytes; whether all of them were sent."""
        sent, most = 0, answer.length if answer.cut_after is None else answer.cut_after
        try:
            for piece in answer.pieces:
                part = piece[: most - sent]
                self.wfile.write(part)
                sent += len(part)
                if len(part) < len(piece):
                    return False
                time.sleep(len(part) / answer.rate if answer.rate else 0)
        except (EstateFault, EOFError):  # the file was removed meanwhile
            return False
        return sent == answer.length


class _HostHandler(FolderHandler):
    server_version = "SimulatedHost"

    @property
    def center(self) -> Center:
        return cast(_Listener, self.server).center

    @property
    def host(self) -> str:  # type: ignore[override]
        return cast(_Listener, self.server).host


class _Listener(TlsServer):
    def __init__(self, address: str, certificate: Certificate, center: Center, host: str) -> None:
        self.center, self.host = center, host
        super().__init__((address, 0), certificate, _HostHandler)
        self.thread = threading.Thread(
            target=self.serve_forever, args=(0.05,), name=f"https of {host}", daemon=True
        )
        self.thread.start()


class HostFolders:
    """Every host of a vCenter as a server of files. Thread-safe; `close` ends listeners and connections."""

    def __init__(self, center: Center, certificate: Certificate, address: str) -> None:
        self._center, self.certificate, self.address = center, certificate, address
        self._lock = threading.Lock()
        self._listeners: dict[str, _Listener] = {}

    def port(self, host: str) -> int:
        """The port of a host (moref), which listens from now on."""
        with self._lock:
            if host not in self._listeners:
                self._listeners[host] = _Listener(self.address, self.certificate, self._center, host)
            return int(self._listeners[host].server_address[1])

    def close(self) -> None:
        """Nobody is served any more."""
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener.shutdown()
            listener.server_close()
            listener.hang_up()
            listener.thread.join()
