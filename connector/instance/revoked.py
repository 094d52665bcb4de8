"""The certificate of a revoked appliance is refused, and its open connections are ended.

The control plane sends the whole list. It is kept beside the disks, so that it is valid after a restart.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from connector.errors import TrustFailed
from connector.files import replace
from connector.transfer.certificates import CertificateRole
from connector.transfer.tls import appliance_of, role_of

FILE: Final = "revoked.json"
_DAMAGED: Final = "the control plane sends it again when it next needs the instance"

log = logging.getLogger(__name__)


class Revoked:
    """The list, and the open connections. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        """If the list cannot be read, every appliance is refused until the control plane has sent it again."""
        self._file = directory / FILE
        self._lock = threading.Lock()
        self._ids = _read(self._file)  # None: not known
        self._open: dict[Callable[[], object], str] = {}  # appliance by the function that ends its connection

    def put(self, ids: Collection[str]) -> None:
        """Store the whole list, and end the connections of the appliances in it."""
        with self._lock:
            if set(ids) != self._ids:
                replace(self._file, json.dumps(sorted(ids)).encode())
                self._ids = set(ids)
            ended = [end for end, appliance in self._open.items() if appliance in ids]
        for end in ended:
            end()

    @contextlib.contextmanager
    def admitted(self, certificate: object, end: Callable[[], object], on: str) -> Iterator[None]:
        """Register a connection. `end` is called, from any thread, when its appliance is revoked. Raises TrustFailed."""
        self.enter(certificate, end, on)
        try:
            yield
        finally:
            self.leave(end)

    def enter(self, certificate: object, end: Callable[[], object], on: str) -> None:
        """Register a connection that begins. Raises TrustFailed."""
        appliance = appliance_of(certificate)
        with self._lock:
            if self._ids is None and role_of(certificate) is CertificateRole.APPLIANCE:
                raise TrustFailed("the list of revoked appliances is damaged", on=on, remedy=_DAMAGED)
            if self._ids is not None and appliance in self._ids:
                raise TrustFailed(
                    f"appliance {appliance} was revoked", on=on, remedy="approve it again, or use another one"
                )
            self._open[end] = appliance

    def leave(self, end: Callable[[], object]) -> None:
        with self._lock:
            self._open.pop(end, None)


def _read(file: Path) -> set[str] | None:
    try:
        ids = json.loads(file.read_text())
    except FileNotFoundError:
        return set()
    except (OSError, ValueError):
        ids = None
    if isinstance(ids, list) and all(isinstance(entry, str) for entry in ids):
        return set(ids)
    log.error("%s: the list of revoked appliances is damaged; %s", file, _DAMAGED)
    return None
