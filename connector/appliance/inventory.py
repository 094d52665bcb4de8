"""The control plane knows every machine that this vCenter shows, with what stands in its way, as it is now."""

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

#: Who an appliance calls, by the error that silence is.
PEERS: Final = {ControlFailed: "the control plane", Unreachable: "vCenter"}
AGAIN = 30.0  # seconds after which a vCenter that did not answer is followed again
QUIET = 1.0  # seconds between two changes that are passed on: what comes together goes together
LOOK = 0.5  # seconds between two calls that end the waiting for news


class Registry(Protocol):
    def put_sources(
        self, machines: Sequence[Machine], findings: Mapping[str, Sequence[Finding]]
    ) -> dict[str, str]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class KnownTarget:
    """What the control plane's target takes, as the newest heartbeat said. Replaced as a whole, read by any thread."""

    limits: TargetLimits = field(default_factory=TargetLimits)

    def hear(self, heard: HeartbeatAnswer) -> None:
        self.limits = heard.limits or self.limits


class Rescan:
    """A context manager around a thread that keeps the control plane's picture of this vCenter current.

    With `watch` vCenter tells what changes, and it is passed on within seconds; a whole sweep every `every` seconds finds
    what is not watched, such as the room on datastores.
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
        """`target`: what the checks go by."""
        self._target = target or KnownTarget()
        self._outages = outages or Outages(log, PEERS)
        self._vcenter, self._connect, self._every, self._stop = vcenter, connect, every, stop
        self._known: dict[str, Machine] = {}  # as they were last seen, by moref
        self._watch = vcenter.watch(stop) if watch else None
        self._thread = threading.Thread(target=self._loop, name="rescan")

    def once(self) -> int:
        """Sweep and register; answers how many machines there are."""
        seen = self._vcenter.inventory()
        self._register(seen)
        return len(seen.machines)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            if self._watch is not None:
                self._watch.hush()
            self._thread.join(LOOK)

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
        """Until the end: every change, but no more often than leaves nine tenths of the time to others."""
        for change in watch.changes(lasting=self._every):
            began = time.monotonic()
            self._register(change.inventory)
            self._stop.wait(max(QUIET, 9 * (time.monotonic() - began)))

    def _register(self, seen: Inventory) -> None:
        """What a sweep does not show of a machine is as the sweep before showed it."""
        machines = tuple(remembered(self._known.get(one.moref), one) for one in seen.machines)
        seen, self._known = replace(seen, machines=machines), {one.moref: one for one in machines}
        findings = survey(seen, self._target.limits, now=self._vcenter.now())
        bare = [replace(machine, traits=_told(machine.traits)) for machine in seen.machines]
        with closing(self._connect()) as registry:
            registry.put_sources(bare, findings)
        self._outages.heard(ControlFailed, Unreachable)


def _told(traits: Traits) -> Traits:
    """What selectors of a wave ask for; the rest only the checks need, and they ran here."""
    return Traits(cluster=traits.cluster, tags=traits.tags)
