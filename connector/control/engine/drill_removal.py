"""What drills have left in the cloud is removed, also when their process was killed or its database was put back.

A drill removes what it made when it ends. This is for those that could not. What cannot be removed is said at the job.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from connector.cloud.provider import DRILL_PREFIX, Provider
from connector.control.domain.drills import DrillState
from connector.control.store import Store
from connector.control.store.provider_ledger import instance_token, job_of
from connector.errors import ConnectorError, NotFound

_LOG: Final = logging.getLogger(__name__)
PACE: Final = 60.0  # seconds between two tries


class DrillRemoval:
    """Only the active runner looks. The work is done in a thread of its own."""

    def __init__(self, store: Store, provider: Provider, ticks: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._provider = provider
        self._ticks = ticks
        self._next = float("-inf")
        self._has_listed = False  # whether the cloud was asked for what the database does not know
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a removal is under way."""
        return self._thread is not None and self._thread.is_alive()

    def look(self) -> None:
        """Begin a removal when there is something to remove, none is under way, and the last one was long enough ago."""
        if self.is_busy or self._ticks() < self._next:
            return
        jobs = self._store.resources.left_by_drills()
        if jobs or not self._has_listed:
            self._next = self._ticks() + PACE
            self._thread = threading.Thread(
                target=self._work, args=(jobs,), name="drill removal", daemon=True
            )
            self._thread.start()

    def _work(self, jobs: Sequence[str]) -> None:
        try:
            for job_id in dict.fromkeys((*jobs, *self._listed())):
                if not self._has_drill(job_id):
                    self._remove(job_id)
        except ConnectorError as failed:
            _LOG.warning("what drills made cannot be looked for, it is tried again: %s", failed)
        except Exception:  # noqa: BLE001 - outermost handler of a thread
            _LOG.exception("what drills made could not be removed, it is tried again")

    def _listed(self) -> list[str]:
        """The jobs of which the cloud shows the instance of a drill, asked once in the life of a process."""
        if self._has_listed:
            return []
        tokens = [instance.token for instance in self._provider.describe()]
        self._has_listed = True
        jobs = [job_of(token) for token in tokens if token.startswith(DRILL_PREFIX)]  # of plans too
        return [job for job in jobs if self._is_known(job)]

    def _is_known(self, job_id: str) -> bool:
        try:
            self._store.jobs.get(job_id)
        except NotFound:
            _LOG.warning(
                "the cloud has an instance of a drill of job %s, which the database does not know", job_id
            )
            return False
        return True

    def _has_drill(self, job_id: str) -> bool:
        """Whether a drill of the job runs, which will remove what it makes."""
        drills = self._store.drills.open()
        return any(drill.job_id == job_id and drill.state is DrillState.RUNNING for drill in drills)

    def _remove(self, job_id: str) -> None:
        try:
            self._provider.remove_drill(instance_token(job_id))
        except ConnectorError as failed:
            _LOG.warning("what a drill of job %s made could not be removed: %s", job_id, failed)
            left = [row for row in self._store.resources.of(job_id, "cloud") if not row.removed]
            for row in [row for row in left if row.token.startswith(DRILL_PREFIX)][:1]:
                text = (
                    f"what a drill made could not be removed and goes on costing: {failed}; it is tried again"
                )
                self._store.resources.leave(row.token, text)
