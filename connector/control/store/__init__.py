"""What the control plane knows is in one database. One class for each kind of row reads and writes it."""

from __future__ import annotations

import time

from connector.control.domain.clock import Clock
from connector.control.store.appliances import Appliances
from connector.control.store.applications import ApplicationStore
from connector.control.store.audit import Audit
from connector.control.store.cutovers import Cutovers
from connector.control.store.database import Database
from connector.control.store.drills import DrillStore
from connector.control.store.epochs import Epochs
from connector.control.store.evidence import EvidenceStore
from connector.control.store.groups import Workgroups
from connector.control.store.hand_overs import HandOverStore
from connector.control.store.jobs import Jobs, NewJob
from connector.control.store.keys import AccessKeyStore
from connector.control.store.limits import Quotas
from connector.control.store.log import Log
from connector.control.store.notifications import NotificationStore
from connector.control.store.overview import Measured, Overview
from connector.control.store.pass_ends import PassEnds
from connector.control.store.pass_queue import PassQueue
from connector.control.store.passes import Passes
from connector.control.store.removal import Removal
from connector.control.store.runs import RunStore
from connector.control.store.search import JobFilter, ResultPage, Scope, SourceFilter
from connector.control.store.sessions import Sessions
from connector.control.store.sources import Sources
from connector.control.store.tags import Tags
from connector.control.store.tokens import Tokens
from connector.control.store.tracked_resources import TrackedResources
from connector.control.store.watched import Watched

__all__ = ["JobFilter", "NewJob", "Quotas", "ResultPage", "SourceFilter", "Store"]


class Store:
    """The store, opened on a URL (`sqlite:///FILE`, `postgresql://...`) and migrated to the newest schema. Thread-safe."""

    def __init__(self, url: str, clock: Clock = time.time, limits: Quotas | None = None) -> None:
        self.limits = limits = limits or Quotas()
        self._database = Database(url, clock)
        self._database.migrate()
        self._database.begin_counting()
        self.epochs = Epochs(self._database)
        self.sources = Sources(self._database, limits)
        self.jobs = Jobs(self._database, limits)
        self.log = Log(self._database)
        self.runs = RunStore(self._database)
        self.passes = Passes(self._database)
        self.pass_queue = PassQueue(self._database, limits)
        self.pass_ends = PassEnds(self._database)
        self.appliances = Appliances(self._database)
        self.measured = Measured(self._database)
        self.resources = TrackedResources(self._database)
        self.drills = DrillStore(self._database)
        self.hand_overs = HandOverStore(self._database)
        self.cutovers = Cutovers(self._database)
        self.applications = ApplicationStore(self._database)
        self.removal = Removal(self._database)
        self.tags = Tags(self._database)
        self.workgroups = Workgroups(self._database, limits)
        self.tokens = Tokens(self._database)
        self.keys = AccessKeyStore(self._database)
        self.overview = Overview(self._database)
        self.watched = Watched(self._database)
        self.notifications = NotificationStore(self._database)
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
        """Seconds of a monotonic clock, for pacing. Unlike `now`, nothing sets it."""
        return time.monotonic()

    def become_runner(self) -> bool:
        """Whether this process is the active runner of this database. Call it again to check."""
        return self._database.become_runner()

    def close(self) -> None:
        self._database.close()
