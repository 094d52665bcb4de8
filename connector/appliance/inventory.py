"""The control plane knows every machine that this vCenter shows, with what stands in its way; renewed now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from connector.errors import ConnectorError
from connector.model import Finding, Machine, Traits
from connector.vcenter.client import VCenter
from connector.vcenter.eligibility import survey

log = logging.getLogger(__name__)


class Registry(Protocol):
    def put_sources(
        self, machines: Sequence[Machine], findings: Mapping[str, Sequence[Finding]]
    ) -> dict[str, str]: ...

    def close(self) -> None: ...


class Rescan:
    """A context manager around a thread that sweeps the inventory every `every` seconds."""

    def __init__(
        self, vcenter: VCenter, connect: Callable[[], Registry], every: float, stop: threading.Event
    ) -> None:
        self._vcenter, self._connect, self._every, self._stop = vcenter, connect, every, stop
        self._thread = threading.Thread(target=self._loop, name="rescan")

    def once(self) -> int:
        """Sweep and register; answers how many machines there are."""
        seen = self._vcenter.inventory()
        findings = survey(seen, now=time.time())
        bare = [replace(machine, traits=_told(machine.traits)) for machine in seen.machines]
        with closing(self._connect()) as registry:
            registry.put_sources(bare, findings)
        return len(bare)

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
                log.warning("the inventory was not renewed: %s", failed)


def _told(traits: Traits) -> Traits:
    """What selectors of a wave ask for; the rest only the checks need, and they ran here."""
    return Traits(cluster=traits.cluster, tags=traits.tags)
