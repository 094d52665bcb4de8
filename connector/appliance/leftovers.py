"""A job that is over may have left a snapshot in vCenter: the control plane remembers it and orders its removal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, Protocol

from connector.appliance.ledger import ControlLedger
from connector.errors import ConnectorError, NotFound
from connector.model import Machine

log = logging.getLogger(__name__)

EVERY: Final = 30.0  # seconds between two looks


class Orders(Protocol):
    """The part of the control plane that knows what was left."""

    def leftovers(self) -> list[dict[str, Any]]: ...

    def removed(self, token: str) -> None: ...

    def close(self) -> None: ...


class Inventory(Protocol):
    """The part of vCenter that removes snapshots of ours."""

    def find(self, wanted: str) -> Machine: ...

    def clear_leftovers(self, *, machine: str | None = None) -> object: ...


class Cleaner:
    """A context manager around a thread that removes what it is ordered to remove."""

    def __init__(
        self,
        vcenter: Inventory,
        ledger: ControlLedger,
        connect: Callable[[], Orders],
        stop: threading.Event,
        every: float = EVERY,
    ) -> None:
        self._vcenter, self._ledger, self._connect, self._stop = vcenter, ledger, connect, stop
        self._every = every
        self._thread = threading.Thread(target=self._loop, name="cleaner")

    def once(self) -> int:
        """Carry out what is ordered now; answers how many things are gone. The others are ordered again."""
        gone = 0
        with closing(self._connect()) as control:
            for order in control.leftovers():
                try:
                    self._remove(order)
                except ConnectorError as failed:
                    log.warning("%s stays in vCenter for now: %s", order["token"], failed)
                    continue
                control.removed(str(order["token"]))
                gone += 1
        return gone

    def _remove(self, order: dict[str, Any]) -> None:
        """No machine, no snapshot: one that is gone, or whose name another machine has by now, left nothing."""
        machine = str(order["machine"])
        try:
            if self._vcenter.find(machine).instance_uuid != order["instance_uuid"]:
                return
            self._ledger.attach(machine, str(order["pass_id"]))
            self._vcenter.clear_leftovers(machine=machine)
        except NotFound:
            return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.once()
            except ConnectorError as failed:
                log.warning("leftovers were not looked for: %s", failed)
