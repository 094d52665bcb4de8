"""What must be noticed without being told: appliances that fell silent, instances that died, what waits for what."""

from __future__ import annotations

from connector.control.attendance import Attendance
from connector.control.background import Aside
from connector.control.steps import Steps
from connector.control.store import Store


class Watch:
    """Only the active runner looks. An appliance that is silent for `grace` seconds has lost its passes.

    Silence counts from our first look at the earliest: while nobody was here, nobody could be heard.
    """

    def __init__(
        self, store: Store, steps: Steps, aside: Aside | None = None, *, grace: float = 60.0
    ) -> None:
        self._store = store
        self._attendance = Attendance(store, steps, aside)
        self._grace = grace
        self._since: float | None = None

    def look(self) -> None:
        """One look at everything."""
        now = self._store.now()
        if self._since is None:
            self._since = now
        young = now - self._since < self._grace
        alive = self._store.appliances.all() if young else self._store.appliances.alive(self._grace)
        ids = {appliance.id for appliance in alive}
        online = {appliance.vcenter for appliance in alive}
        self._store.passes.lose(lambda p: p.appliance_id not in ids, "its appliance fell silent")
        self._store.sources.set_online(online)
        self._store.passes.explain(online)
        self._attendance.look()
