"""What must be noticed without being told: appliances that fell silent, instances that died under a pass."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from connector.control.steps import Steps
from connector.control.store import Store
from connector.control.store.rows import Appliance, Pass
from connector.errors import ConnectorError

_LOG: Final = logging.getLogger(__name__)


class Watch:
    """Looks every `interval` seconds. An appliance that is silent for `grace` seconds has lost its passes.

    Silence counts from our own start at the earliest: while we were down, nobody could be heard.
    """

    def __init__(
        self,
        store: Store,
        steps: Steps,
        announce: Callable[[Pass], None],
        *,
        fenced: Callable[[], None],
        grace: float = 60.0,
        interval: float = 2.0,
    ) -> None:
        self._store = store
        self._steps = steps
        self._announce = announce
        self._fenced = fenced
        self._grace = grace
        self._interval = interval
        self._started = store.now()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop looking; returns at once, even when a look is under way."""
        self._end.set()

    def look(self) -> None:
        """One look at everything. Calls `fenced` when another process runs the workflows by now."""
        if not self._store.become_runner():
            self._fenced()
            return
        young = self._store.now() - self._started < self._grace
        alive = self._store.appliances.all() if young else self._store.appliances.alive(self._grace)
        ids = {appliance.id for appliance in alive}
        for ended in self._store.passes.lose(
            lambda p: p.appliance_id not in ids, "its appliance fell silent"
        ):
            self._announce(ended)
        self._store.sources.set_online({appliance.vcenter for appliance in alive})
        for run in self._store.runs.open():
            try:
                self._steps.keep_alive(run)
            except ConnectorError as failed:
                _LOG.warning("the instance of %s cannot be started again: %s", run.id, failed)

    def heard(self, appliance: Appliance, held: set[str]) -> list[str]:
        """A heartbeat: the passes that the appliance must stop.

        A pass that it took and does not hold was lost between us, or in its restart: it is offered again.
        """
        self._store.appliances.beat(appliance.id)
        before = self._store.now() - self._grace / 2

        def dropped(found: Pass) -> bool:
            mine = found.appliance_id == appliance.id
            return mine and found.id not in held and (found.taken or 0.0) < before

        for ended in self._store.passes.lose(dropped, f"{appliance.name} does not hold it any more"):
            self._announce(ended)
        return self._store.passes.to_stop(appliance, held)

    def _loop(self) -> None:
        while not self._end.wait(self._interval):
            try:
                self.look()
            except ConnectorError as failed:
                _LOG.warning("the watch cannot look: %s", failed)
            except Exception:  # noqa: BLE001 - outer door of a thread
                _LOG.exception("the watch stumbled; it goes on")
