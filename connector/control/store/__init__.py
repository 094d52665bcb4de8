"""What the control plane knows: one object per kind of row, all behind one door to the database."""

from __future__ import annotations

import time

from connector.control.clock import Clock
from connector.control.store.appliances import Appliances
from connector.control.store.applications import Applications
from connector.control.store.audit import Audit
from connector.control.store.cutovers import Cutovers
from connector.control.store.database import Database
from connector.control.store.epochs import Epochs
from connector.control.store.evidence import EvidenceStore
from connector.control.store.groups import Workgroups
from connector.control.store.jobs import Jobs, Wish
from connector.control.store.keys import Keys
from connector.control.store.limits import Limits
from connector.control.store.log import Log
from connector.control.store.measured import Measured
from connector.control.store.overview import Overview
from connector.control.store.passes import Passes
from connector.control.store.removal import Removal
from connector.control.store.runs import Runs
from connector.control.store.scope import Scope
from connector.control.store.search import JobFilter, Page, SourceFilter
from connector.control.store.sessions import Sessions
from connector.control.store.sources import Sources
from connector.control.store.tags import Tags
from connector.control.store.things import Things
from connector.control.store.tokens import Tokens

__all__ = ["JobFilter", "Limits", "Page", "SourceFilter", "Store", "Wish"]


class Store:
    """Opened on a URL (`sqlite:///FILE`, `postgresql://...`), migrated to the newest schema. Thread-safe."""

    def __init__(self, url: str, clock: Clock = time.time, limits: Limits | None = None) -> None:
        self.limits = limits = limits or Limits()
        self._database = Database(url, clock)
        self._database.migrate()
        self._database.begin_counting()
        self.epochs = Epochs(self._database)
        self.sources = Sources(self._database, limits)
        self.jobs = Jobs(self._database, limits)
        self.log = Log(self._database)
        self.runs = Runs(self._database)
        self.passes = Passes(self._database, limits)
        self.appliances = Appliances(self._database)
        self.measured = Measured(self._database)
        self.things = Things(self._database)
        self.cutovers = Cutovers(self._database)
        self.applications = Applications(self._database)
        self.removal = Removal(self._database)
        self.tags = Tags(self._database)
        self.workgroups = Workgroups(self._database, limits)
        self.tokens = Tokens(self._database)
        self.keys = Keys(self._database)
        self.overview = Overview(self._database)
        self.sessions = Sessions(self._database)
        self.audit = Audit(self._database)
        self.evidence = EvidenceStore(self._database)
        self.scope = Scope(self._database)

    @property
    def url(self) -> str:
        """The database's URL with its driver."""
        return self._database.url

    def now(self) -> float:
        """Seconds since the epoch by the store's clock."""
        return self._database.now()

    @staticmethod
    def ticks() -> float:
        """Seconds that really pass, for pacing; unlike `now` it is never moved."""
        return time.monotonic()

    def become_runner(self) -> bool:
        """Whether this process alone runs workflows on this database; call again to check."""
        return self._database.become_runner()

    def close(self) -> None:
        self._database.close()
