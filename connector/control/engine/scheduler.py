"""Every timer is a column of a job that is compared with the clock at each look.

So no timer can be lost, and a changed date counts from the next look on. The timers are for validity, scheduled and
repeated runs, and the deletion of expired jobs. What could not be stopped or released in the cloud is tried again here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from connector.control.domain.jobs import JobEvent
from connector.control.engine.background import BackgroundWork, Foreground
from connector.control.engine.steps import Steps
from connector.control.engine.target_instances import TARGET
from connector.control.store import Store
from connector.errors import BadInput, Conflict, ConnectorError, Ineligible, TargetFailed

_LOG: Final = logging.getLogger(__name__)

#: Seconds between two attempts to stop or release what a job has left in the cloud.
TIDYING: Final = 60.0


class Scheduler:
    """Begins and ends what is due. Only the active runner looks. Each change is a compare-and-set: a person may be faster."""

    def __init__(self, store: Store, steps: Steps, background: BackgroundWork | None = None) -> None:
        self._store = store
        self._steps = steps
        self._background = background or Foreground()
        self._tidied: dict[str, float] = {}  # when each job was tidied last
        self._targets_seen: dict[
            str, float
        ] = {}  # when a target instance that cannot be used was looked at last

    def look(self) -> None:
        """Do everything that is due now. Expired jobs end before runs begin."""
        due_jobs = self._store.jobs.due()
        self._each(due_jobs.expiring, lambda job: self._apply(job, JobEvent.EXPIRED))
        self._each(due_jobs.remnants, lambda job: self._apply(job, JobEvent.DELETE))
        left = self._store.resources.left_in_cloud()
        self._tidied = {job_id: at for job_id, at in self._tidied.items() if job_id in left}
        self._each(left, self._tidy)
        self._each(due_jobs.starting, self._begin)
        self._store.removal.finish()
        self._store.keys.forget_nonces()

    def _begin(self, job_id: str) -> None:
        if job_id not in self._store.jobs.due().starting:  # it has just expired, or a person was faster
            return
        if not self._target_is_ready(job_id):
            return
        try:
            if together := self._store.applications.together_with(job_id):
                self._store.jobs.begin_together(JobEvent.START, together, {}, "Schedule")
            else:
                self._store.jobs.begin(job_id, JobEvent.START, kind="Schedule")
        except (Conflict, Ineligible) as refused:
            self._store.jobs.mark(job_id, waiting=f"its scheduled run waits: {refused.what}")

    def _target_is_ready(self, job_id: str) -> bool:
        """Whether the job's target instance can be used, if it has one. At most once in a while: each look calls the cloud."""
        job = self._store.jobs.get(job_id)
        if job.definition.get("TargetType") != TARGET:
            return True
        now = self._store.now()
        if abs(now - self._targets_seen.get(job_id, -TIDYING)) < TIDYING:
            return False
        self._targets_seen[job_id] = now
        try:
            self._steps.target_instances.check_start(job, self._store.sources.of(job), {})
        except (BadInput, Conflict, TargetFailed) as refused:
            self._store.jobs.mark(job_id, waiting=f"its scheduled run waits: {refused.what}")
            return False
        del self._targets_seen[job_id]
        return True

    def _apply(self, job_id: str, event: JobEvent) -> None:
        try:
            with self._store.audit.announced("system", "", str(event), job_id):
                self._store.jobs.apply(job_id, event)
        except Conflict as refused:
            _LOG.info("%s", refused)

    def _tidy(self, job_id: str) -> None:
        """Stop or release what a job that rests has in the cloud, at most once in a while: each attempt calls the cloud."""
        now = self._store.now()
        if abs(now - self._tidied.get(job_id, -TIDYING)) < TIDYING:
            return
        self._tidied[job_id] = now
        self._background.once(f"release of {job_id}", lambda: self._steps.tidy(job_id))

    @staticmethod
    def _each(jobs: Iterable[str], work: Callable[[str], None]) -> None:
        for job_id in jobs:
            try:
                work(job_id)
            except ConnectorError as failed:
                _LOG.warning("what is due for %s could not be done: %s", job_id, failed)
