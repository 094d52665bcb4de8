"""Rescans keep the control plane's sources current: every machine that vCenter shows, and its findings."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from connector.clients.heartbeat import HeartbeatAnswer
from connector.errors import ConnectorError, ControlFailed, Unreachable
from connector.model import Finding, Inventory, Machine, TargetLimits, Traits
from connector.outages import Outages
from connector.vcenter.client import VCenter
from connector.vcenter.eligibility import survey
from connector.vcenter.partial import remembered
from connector.vcenter.watching import InventoryWatch

log = logging.getLogger(__name__)

#: The peers of an appliance, by the error of each when it does not answer.
PEERS: Final = {ControlFailed: "the control plane", Unreachable: "vCenter"}
AGAIN = 30.0  # seconds after which a silent vCenter is watched again
QUIET = 1.0  # seconds between two changes that are passed on; changes within them are passed on together
POLL_INTERVAL = 0.5  # seconds between two calls that end the wait for news


class Registry(Protocol):
    def put_sources(
        self, machines: Sequence[Machine], findings: Mapping[str, Sequence[Finding]], vcenter_url: str
    ) -> dict[str, str]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class KnownTarget:
    """The limits of the target, as in the newest heartbeat. They are replaced as a whole; any thread may read them."""

    limits: TargetLimits = field(default_factory=TargetLimits)

    def hear(self, answer: HeartbeatAnswer) -> None:
        self.limits = answer.limits or self.limits


class Rescan:
    """A context manager around a thread that keeps the control plane's sources of this vCenter current.

    With `watch` vCenter reports changes, which are passed on within seconds. A whole sweep every `every` seconds finds what
    is not watched, such as the free space of datastores.
    """

    def __init__(
        self,
        vcenter: VCenter,
        connect: Callable[[], Registry],
        every: float,
        stop: threading.Event,
        *,
        watch: bool = False,
        outages: Outages | None = None,
        target: KnownTarget | None = None,
    ) -> None:
        """`target`: the limits for the checks."""
        self._target = target or KnownTarget()
        self._outages = outages or Outages(log, PEERS)
        self._vcenter, self._connect, self._every, self._stop = vcenter, connect, every, stop
        self._known: dict[str, Machine] = {}  # as the last sweep showed them, by moref
        self._watch = vcenter.watch(stop) if watch else None
        self._thread = threading.Thread(target=self._loop, name="rescan")

    def once(self) -> int:
        """Sweep and register; returns the number of machines."""
        inventory = self._vcenter.inventory()
        self._register(inventory)
        return len(inventory.machines)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            if self._watch is not None:
                self._watch.hush()
            self._thread.join(POLL_INTERVAL)

    def _loop(self) -> None:
        while self._watch is not None or not self._stop.wait(self._every):
            try:
                if self._watch is None:
                    self.once()
                else:
                    self._follow(self._watch)
                    return
            except ConnectorError as failed:
                self._outages.missed("the inventory was not renewed", failed)
                if self._watch is not None and self._stop.wait(min(self._every, AGAIN)):
                    return

    def _follow(self, watch: InventoryWatch) -> None:
        """Pass on every change until the end. At most a tenth of the time is spent with it."""
        for change in watch.changes(lasting=self._every):
            began = time.monotonic()
            self._register(change.inventory)
            self._stop.wait(max(QUIET, 9 * (time.monotonic() - began)))

    def _register(self, inventory: Inventory) -> None:
        """Register the machines. Parts that a sweep does not show are taken from the sweep before."""
        machines = tuple(
            remembered(self._known.get(machine.moref), machine) for machine in inventory.machines
        )
        inventory, self._known = (
            replace(inventory, machines=machines),
            {machine.moref: machine for machine in machines},
        )
        findings = survey(inventory, self._target.limits, now=self._vcenter.now())
        bare = [replace(machine, traits=_selectable(machine.traits)) for machine in inventory.machines]
        with closing(self._connect()) as registry:
            registry.put_sources(bare, findings, self._vcenter.url)
        self._outages.heard(ControlFailed, Unreachable)


def _selectable(traits: Traits) -> Traits:
    """The traits that selectors of a wave and descriptions of images need. The checks need the others, and they ran here."""
    return Traits(cluster=traits.cluster, tags=traits.tags, secure_boot=traits.secure_boot, nics=traits.nics)
