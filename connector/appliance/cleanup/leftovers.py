"""The cleaner removes snapshots that jobs without a running pass have left in vCenter, as the control plane orders.

A removal that fails is reported and ordered again, until the snapshot is gone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, Protocol

from connector.appliance.cleanup.ledger import ControlLedger
from connector.appliance.cleanup.machine_lock import MachineLocks
from connector.appliance.inventory import PEERS
from connector.errors import ConnectorError, Interrupted, NotFound, Unreachable, VCenterFault
from connector.model import Machine
from connector.outages import Outages
from connector.vcenter.partial import nameless

log = logging.getLogger(__name__)

EVERY: Final = 30.0  # seconds between two rounds


class Orders(Protocol):
    """The part of the control plane that knows the leftovers."""

    def leftovers(self) -> list[dict[str, Any]]: ...

    def removed(self, token: str) -> None: ...

    def resists(self, token: str, trouble: str) -> None: ...

    def close(self) -> None: ...


class SnapshotRemover(Protocol):
    """The part of vCenter that removes snapshots of ours."""

    def find(self, phrase: str) -> Machine: ...

    def dismiss(self, machine: str, token: str) -> None: ...


class Cleaner:
    """A context manager around a thread that removes the ordered snapshots."""

    def __init__(
        self,
        vcenter: SnapshotRemover,
        ledger: ControlLedger,
        connect: Callable[[], Orders],
        locks: MachineLocks,
        stop: threading.Event,
        every: float = EVERY,
        first: Callable[[], None] = lambda: None,
        outages: Outages | None = None,
    ) -> None:
        """The thread calls `first` once, before its first round."""
        self._outages = outages or Outages(log, PEERS)
        self._vcenter, self._ledger, self._connect, self._stop = vcenter, ledger, connect, stop
        self._locks, self._every, self._first = locks, every, first
        self._thread = threading.Thread(target=self._loop, name="cleaner")

    def once(self) -> int:
        """Carry out the present orders; returns how many snapshots are gone. The others are ordered again."""
        gone = 0
        with closing(self._connect()) as control:
            for order in control.leftovers():
                with self._locks.tried(str(order["machine"])) as free:
                    gone += free and self._carry_out(order, control)
        return gone

    def _carry_out(self, order: dict[str, Any], control: Orders) -> bool:
        token = str(order["token"])
        try:
            self._remove(token, order)
        except Interrupted:  # this program ends, which is no trouble of the snapshot's
            return False
        except ConnectorError as failed:
            self._outages.missed(f"{token} was not removed from vCenter", failed)
            control.resists(token, failed.what)
            return False
        self._outages.heard(Unreachable)
        control.removed(token)
        return True

    def _remove(self, token: str, order: dict[str, Any]) -> None:
        """Remove the snapshot. When the machine is gone, or its moref names another machine now, there is none.

        A removal may miss something else, such as a file: its failure says nothing about the machine.
        """
        machine = str(order["machine"])
        try:
            machine_now = self._vcenter.find(machine)
        except NotFound:
            return
        if part := nameless(machine_now):  # the snapshot may still exist, so the order stays
            raise VCenterFault(
                f"vCenter does not show the machine's {part} now",
                on=machine_now.name,
                remedy="it is tried again",
                retryable=True,
            )
        if machine_now.instance_uuid != order["instance_uuid"]:
            return
        self._ledger.attach(machine, str(order["pass_id"]))
        self._vcenter.dismiss(machine, token)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        try:
            self._first()
        except ConnectorError as failed:
            self._outages.missed("leftovers of earlier runs were not looked for", failed)
        while not self._stop.wait(self._every):
            try:
                self.once()
            except ConnectorError as failed:
                self._outages.missed("leftovers were not looked for", failed)
