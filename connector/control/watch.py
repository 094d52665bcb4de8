"""What must be noticed without being told: appliances that fell silent, instances that died, what waits for what."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from connector.clients.heartbeat import SILENCE
from connector.control.attendance import Attendance
from connector.control.background import Aside
from connector.control.steps import Steps
from connector.control.store import Store

_LOG: Final = logging.getLogger(__name__)


class Watch:
    """Only the active runner looks. An appliance that is silent for `grace` seconds has lost its passes.

    Silence counts from our first look at the earliest: while nobody was here, nobody could be heard.
    """

    def __init__(
        self,
        store: Store,
        steps: Steps,
        aside: Aside | None = None,
        *,
        grace: float = SILENCE,
        ticks: Callable[[], float] | None = None,
    ) -> None:
        """`ticks`: seconds that really pass; with them a clock that was set is noticed."""
        self._store = store
        self._attendance = Attendance(store, steps, aside)
        self._grace = grace
        self._since: float | None = None
        self._ticks = ticks
        self._seen: tuple[float, float] | None = None  # our clock and the ticks at the last look

    def _was_set(self, now: float) -> bool:
        """Whether the clock has jumped since the last look: then nobody was silent, and everybody is heard anew."""
        before, ticks = self._seen, now if self._ticks is None else self._ticks()
        self._seen = (now, ticks)
        if before is None:
            return False
        jumped = (now - before[0]) - (ticks - before[1])
        if abs(jumped) < self._grace / 2 and now >= before[0]:
            return False
        _LOG.warning("the clock of this machine was set by %.0f s: silence is counted anew", jumped)
        return True

    def look(self) -> None:
        """One look at everything."""
        now = self._store.now()
        if self._since is None or self._was_set(now):
            self._since = now
        young = now - self._since < self._grace
        alive = self._store.appliances.alive(float("inf") if young else self._grace)
        ids = {appliance.id for appliance in alive}
        online = {appliance.vcenter for appliance in alive}
        self._store.passes.lose(lambda p: p.appliance_id not in ids, "its appliance fell silent")
        self._store.sources.set_online(online)
        self._store.passes.explain(online)
        self._attendance.look()
