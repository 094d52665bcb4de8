"""What the control plane knows: one object per kind of row, all behind one door to the database."""

from __future__ import annotations

import time
from collections.abc import Callable

from connector.control.store.appliances import Appliances
from connector.control.store.database import Database
from connector.control.store.jobs import Jobs, Runs, Wish
from connector.control.store.passes import Passes
from connector.control.store.sources import Sources
from connector.control.store.things import Things

__all__ = ["Store", "Wish"]


class Store:
    """Opened on a URL (`sqlite:///FILE`, `postgresql://...`), migrated to the newest schema. Thread-safe."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(url, clock)
        self._database.migrate()
        self.sources = Sources(self._database)
        self.jobs = Jobs(self._database)
        self.runs = Runs(self._database)
        self.passes = Passes(self._database)
        self.appliances = Appliances(self._database)
        self.things = Things(self._database)

    @property
    def url(self) -> str:
        """The database's URL with its driver."""
        return self._database.url

    def now(self) -> float:
        """Seconds since the epoch by the store's clock."""
        return self._database.now()

    def become_runner(self) -> bool:
        """Whether this process alone runs workflows on this database; call again to check."""
        return self._database.become_runner()

    def close(self) -> None:
        self._database.close()
