"""A step of a run may be killed at any point and done again: it first looks at what exists.

What the steps of a run do to instances is in `job_instances`, what they do to images in `job_images`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from connector import log_context
from connector.cloud.provider import Drills, Provider
from connector.control.domain import definition, image_format
from connector.control.domain.entities import Job, Json, Outcome, Run, Source, Task
from connector.control.domain.jobs import CLEANING, JobEvent, JobStatus
from connector.control.domain.refusals import OutOfRange
from connector.control.engine.job_images import JobImages, is_last
from connector.control.engine.job_instances import OVER, JobInstances
from connector.control.engine.target_instances import TargetInstanceSteps
from connector.control.store import Store
from connector.control.store.provider_ledger import instance_token
from connector.control.store.runs import ROLLBACK
from connector.errors import BadInput, TargetFailed
from connector.model import TargetLimits
from connector.specification.fields import JOB_FIELDS, NEEDS


class Steps:
    """Everything that a run of a job does outside of appliances. Thread-safe."""

    def __init__(self, store: Store, provider: Provider, instances: JobInstances) -> None:
        self._store = store
        self._provider = provider
        self.instances = instances
        self.target_instances = TargetInstanceSteps(store, provider.target_instances)
        self.images = JobImages(store, provider, instances, self.target_instances)

    @property
    def limits(self) -> TargetLimits:
        """What the target takes."""
        return self._provider.limits

    @property
    def billed(self) -> bool:
        """Whether what the provider makes costs money."""
        return self._provider.billed

    @property
    def drills(self) -> Drills | None:
        """Drills of the target's images; None if it offers none."""
        return self._provider.drills

    def check(
        self, fields: Mapping[str, Any], region: str, source: Source, left_out: Collection[int]
    ) -> None:
        """Raise `OutOfRange` for fields of a job, which leaves these disks out, that the provider cannot carry out."""
        for field in JOB_FIELDS:
            is_wanted = bool(field.needs) and fields.get(field.name, field.default) != field.default
            if is_wanted and not self._provider.offers(field.needs):
                raise OutOfRange(
                    field.name,
                    f"this provider has no {field.needs}: leave it at {field.default}{NEEDS.get(field.needs, '')}",
                )
        try:
            self._provider.check(definition.placement(fields, region, source))
        except BadInput as refused:
            raise OutOfRange(definition.parameter(refused.on), refused.what) from refused
        if image_format.FIELD in fields:
            image_format.require_fitting(fields[image_format.FIELD], source, left_out)

    def plan(self, run_id: str) -> int:
        """The number of passes of the run."""
        return len(self._store.runs.get(run_id).plan)

    def prepare(self, run_id: str) -> None:
        """Make sure that the intermediate instance exists and trusts this job's certificates."""
        run, job = self._look(run_id)
        if _has_its_image(run, job):
            return
        changes: Json = {}
        if run.plan:
            if run.kind != ROLLBACK:
                image_format.require_fitting(job.image_format, self._store.sources.of(job), job.left_out)
            instance = self.instances.needed(job.id)
            self.instances.meet(job.id, instance)
            changes["instance"] = asdict(instance.address)
        self._store.jobs.advance(run_id, JobEvent.PREPARED, changes)

    def offer(self, run_id: str, slot: int) -> None:
        """Offer the pass to appliances."""
        self._store.passes.offer(run_id, slot)

    def verdict(self, run_id: str, slot: int) -> Json | None:
        """The outcome of the pass; None while it runs, or while a final pass waits for its cohort to be proved."""
        attempt = self._store.passes.verdict(run_id, slot)
        if attempt is None:
            return None
        outcome = attempt.outcome
        if outcome is Outcome.DONE and attempt.task is Task.FINAL:
            outcome = self._store.applications.final_outcome(run_id)
        return None if outcome is None else {"outcome": outcome, "error": attempt.error}

    def image(self, run_id: str) -> None:
        """Make an image of the disks of this run."""
        run, job = self._look(run_id)
        if _has_its_image(run, job):
            return
        self._store.jobs.advance(run_id, JobEvent.SYNCED)
        if run.plan:
            self.images.make(run, job)
        self._store.jobs.advance(run_id, JobEvent.PROCESSED)

    def clean(self, run_id: str) -> None:
        """Remove and release what only this run needed. The disks of an incremental job stay for its next run.

        The image exists, so nothing that the cloud refuses here fails the run: `tidy` does it again.
        """
        _, job = self._look(run_id)
        self.images.prune(job)
        self.instances.release_or_record(job.id, keep_disks=not is_last(job), unless_running=False)

    def tidy(self, job_id: str) -> None:
        """Do again what the cloud refused when the job's last run ended, or when the job expired."""
        job = self._store.jobs.get(job_id)
        if job.status is JobStatus.RUNNING:
            return
        self.images.prune(job)
        over = job.status in OVER
        self.instances.release_or_record(job_id, keep_disks=not over, unless_running=True)
        left = [r.trouble for r in self._store.resources.of(job_id, "cloud") if r.trouble and not r.removed]
        self._store.jobs.mark(job_id, waiting="; ".join(left))

    def settle(self, run_id: str) -> None:
        """End the run, which has done everything."""
        run, job = self._look(run_id)
        if run.kind != ROLLBACK:
            event = JobEvent.FINISHED if is_last(job) else JobEvent.PAUSED
            self._store.jobs.settle(run_id, event, Outcome.DONE)
        elif run.ended is None:
            rolled_back = self._store.passes.verdict(run_id, 0)
            result = (rolled_back.result if rolled_back else None) or {}
            self._store.cutovers.came_up(job.id, _rolled_back(result), again=bool(result.get("powered_on")))
            self._store.jobs.settle(run_id, JobEvent.ROLLED_BACK, Outcome.DONE)

    def give_up(self, run_id: str, error: Json | None) -> None:
        """End the run as failed, or as stopped if there is no error."""
        event, outcome = (JobEvent.FAILED, Outcome.FAILED) if error else (JobEvent.STOPPED, Outcome.STOPPED)
        self._store.jobs.settle(run_id, event, outcome, error)

    def park(self, run_id: str) -> None:
        """After `give_up`: stop the instance and keep its disks, unless the job was started again meanwhile.

        If the cloud refuses, `tidy` does it again.
        """
        self.instances.release_or_record(
            self._store.runs.get(run_id).job_id, keep_disks=True, unless_running=True
        )

    def forget(self, job_id: str) -> None:
        """Release all intermediate resources of a deleted job."""
        if self._store.jobs.get(job_id).status is not JobStatus.DELETING:
            return
        try:
            self._provider.remove_drill(instance_token(job_id))
            self.instances.release(job_id, keep_disks=False, unless_running=True)
        except TargetFailed as failed:
            self._store.jobs.mark(job_id, waiting=f"what it made in the cloud cannot be released: {failed}")
            raise
        remaining = [t for t in self._store.resources.of(job_id, "vcenter") if not t.removed and t.reference]
        for resource in remaining:
            text = f"{resource.kind} {resource.reference} may still exist in vCenter"
            self._store.jobs.note(job_id, "left", text)
        self._store.jobs.apply(job_id, JobEvent.DELETED)

    def _look(self, run_id: str) -> tuple[Run, Job]:
        run = self._store.runs.get(run_id)
        log_context.add(job=run.job_id, run=run_id)
        return run, self._store.jobs.get(run.job_id)


def _rolled_back(result: Json) -> str:
    """What a rollback did, in one line for the job's log."""
    words = ["the source has its state back"]
    words += ["powered on again"] if result.get("powered_on") else ["its power was left as it was"]
    words += ["CBT off as before"] if result.get("restored_cbt") else []
    words += [f"trouble: {trouble}" for trouble in result.get("troubles", ())]
    return ", ".join(words)


def _has_its_image(run: Run, job: Job) -> bool:
    """Whether the step's work is done: the process died after the work and before the engine recorded it."""
    return run.ended is not None or job.state == CLEANING
