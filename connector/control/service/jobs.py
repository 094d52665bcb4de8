"""What people can ask for. The public API and the console both come through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from connector.clients.heartbeat import SILENCE
from connector.cloud import licences
from connector.cloud.provider import Health
from connector.control.domain import proof
from connector.control.domain.clock import SET_BACK
from connector.control.domain.definition import PARAMETERS, shown
from connector.control.domain.downtime import Downtime, predicted
from connector.control.domain.entities import (
    Appliance,
    Job,
    Json,
    Outcome,
    Pass,
    PassState,
    Source,
    TrackedResource,
)
from connector.control.domain.jobs import WAITING, JobEvent, JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.engine.monitors import InstanceMonitor
from connector.control.engine.steps import Steps
from connector.control.store import NewJob, Store
from connector.control.store.passes import stoppable
from connector.errors import BadInput, Conflict, ConnectorError, ControlFailed, Ineligible, TransferFailed
from connector.model import Credential, PowerState, Severity, TargetLimits
from connector.specification.fields import BY_NAME, JOB_FIELDS
from connector.transfer import evidence
from connector.transfer.certificates import CertificateRole

#: Fields with a column of their own that not every provider can have.
_COLUMNS_CHECKED: Final = {field.column: field.name for field in JOB_FIELDS if field.needs and field.column}


class JobService:
    """Operations on jobs. Thread-safe; each is durable when it returns."""

    def __init__(
        self, store: Store, steps: Steps, poke: Callable[[], None] = lambda: None, *, grace: float = SILENCE
    ) -> None:
        """`poke` tells the active runner to look at once when it is in this process; otherwise it looks soon.

        `grace`: seconds of silence after which an appliance counts as lost.
        """
        self.store = store
        self._steps = steps
        self._instance_monitor = InstanceMonitor(store, steps)
        self.poke = poke
        self.grace = grace

    def create(self, new_job: NewJob) -> Job:
        """A job in Ready. Raises `Ineligible` when a finding blocks the source, `OutOfRange` for what cannot be had."""
        source = self.store.sources.get(new_job.source_id)
        for first in blocking(source):
            raise Ineligible(first["message"], on=source.name, remedy=first["remedy"])
        asked = {name: getattr(new_job, column) for column, name in _COLUMNS_CHECKED.items()}
        self._steps.check(new_job.definition | asked, new_job.region, source)
        guest = str(source.facts.get("guest_id", ""))
        notes = licences.warnings(guest, str(new_job.definition.get("LicenseType", "")))
        return self.store.jobs.create(replace(new_job, notes=notes))

    def start(self, job_id: str, changes: Json | None = None) -> Job:
        """Begin or resume: from Ready, Stopped, InError, Waiting. `changes` as for `cutover`."""
        run = self.store.jobs.begin(self.store.jobs.get(job_id).id, JobEvent.START, changes)
        self.poke()
        return self.store.jobs.get(run.job_id)

    def stop(self, job_id: str) -> Job:
        """Pause: from Waiting at once; while Syncing the appliance stops first. The position is kept."""
        job = self.store.jobs.get(job_id)
        if not stoppable(job.state):
            return self.store.jobs.apply(job.id, JobEvent.STOP)
        self.store.passes.stop(job.id)
        self.poke()
        return self.store.jobs.get(job.id)

    def cutover(self, job_id: str, *, last_sync: bool | None, changes: Json) -> Job:
        """From Waiting: shut the source down, last pass, last image; or without a last pass just finish.

        `changes` are columns that are set with it.
        """
        job = self.store.jobs.get(job_id)
        if job.run_once and job.state == WAITING:
            raise Conflict("this job runs once", on=job.id, remedy="cutover is for incremental jobs")
        wanted = job.last_sync if last_sync is None else last_sync
        if wanted and (told := self.downtime(job)) is not None:
            changes = changes | {"predicted_downtime": told.seconds}
        self.store.jobs.begin(job.id, JobEvent.CUTOVER if wanted else JobEvent.CLOSE, changes)
        self.poke()
        return self.store.jobs.get(job.id)

    def downtime(self, job: Job) -> Downtime | None:
        """The downtime of a cutover that begins now; None when nothing is known of it yet."""
        return predicted(
            job, self.store.passes.of(job.id), self.store.resources.images(job.id), self.store.now()
        )

    def rollback(self, job_id: str, *, keep_cbt: bool = False) -> Job:
        """After a cutover: the source is powered on again if that cutover shut it down, as it was found; then Stopped.

        `keep_cbt`: leave CBT on although a pass turned it on, because another cutover will follow.
        """
        job = self.store.jobs.get(job_id)
        if not (job.cutover or job.last_sync):
            raise StateRefusal(
                RefusalCode.JOB_STATUS,
                "this job never shut its source down",
                on=job.id,
                remedy="rollback works after a cutover",
            )
        self.store.jobs.begin(job.id, JobEvent.ROLLBACK, {"keep_cbt": keep_cbt})
        self.poke()
        return self.store.jobs.get(job.id)

    def delete(self, job_id: str) -> Job:
        """From any state but Running: releases everything intermediate; images stay."""
        job = self.store.jobs.apply(self.store.jobs.get(job_id).id, JobEvent.DELETE)
        self.poke()
        return job

    def modify(self, job_id: str, changes: Json) -> Job:
        """Change fields of a job, as far as its state allows; see `store.Jobs.modify`."""
        job = self.store.jobs.get(job_id)
        asked = {_COLUMNS_CHECKED.get(name, name): value for name, value in changes.items()}
        if any(name in PARAMETERS or BY_NAME[name].needs for name in asked if name in BY_NAME):
            self._steps.check(job.definition | asked, job.region, self.store.sources.of(job))
        return self.store.jobs.modify(job.id, changes)

    def replication(self, appliance: Appliance, held: set[str]) -> dict[str, Json]:
        """How each of these passes of an appliance shall use the line by now."""
        passes = self.store.passes.definitions(appliance, held).items()
        return {one: shown(definition, final=final) for one, (definition, final) in passes}

    def delete_source(self, source_id: str, *, force: bool = False) -> None:
        """The source is Deleting; with `force` so are its jobs. It is gone when they are released."""
        self.store.removal.source(source_id, force=force)
        self.store.removal.finish()
        self.poke()

    @property
    def limits(self) -> TargetLimits:
        """What the target takes of a machine."""
        return self._steps.limits

    def heard(self, appliance: Appliance, held: set[str]) -> list[str]:
        """A heartbeat: the passes that the appliance must stop.

        A pass that it took and does not hold was lost between us, or in its restart: it is offered again.
        """
        self.store.appliances.beat(appliance.id)
        if self.store.epochs.current().restored:  # what it holds is decided when the restore is confirmed
            return self.store.passes.to_stop(appliance, held)
        now = self.store.now()

        def dropped(found: Pass) -> bool:
            mine = found.appliance_id == appliance.id and found.id not in held
            return mine and not -SET_BACK < now - (found.taken or 0.0) <= self.grace / 2

        if self.store.passes.lose(dropped, f"{appliance.name} does not hold it any more"):
            self.poke()
        return self.store.passes.to_stop(appliance, held)

    def finish(
        self,
        pass_id: str,
        appliance: Appliance,
        outcome: Outcome,
        error: Json | None,
        result: Json,
        rest: float = 0.0,
    ) -> Pass:
        """An appliance's last word on a pass. One that lost its instance on the way is offered again (R55).

        `rest`: seconds until a pass that it hands back is offered again. Raises Conflict then: the pass is not the
        caller's any more.
        """
        if outcome is Outcome.FAILED and error is None:
            error = ControlFailed("the appliance gave no reason", on=pass_id, retryable=False).to_json()
        if outcome is Outcome.DONE:
            self._require_proof(pass_id, appliance)
        if error is not None and (error.get("error"), error.get("retryable")) == (
            TransferFailed.__name__,
            True,
        ):
            found = self.store.passes.owned(pass_id, appliance)
            if found.state is PassState.TAKEN:
                self._instance_monitor.displaced(found.run_id)
        ended = self.store.passes.finish(pass_id, appliance, outcome, error, result, rest)
        self.poke()
        return ended

    def keep_evidence(self, pass_id: str, appliance: Appliance, manifest: bytes) -> None:
        """Only what is signed with the appliance's own key, and is of this pass and machine, is kept."""
        found = self.store.passes.owned(pass_id, appliance)
        read = evidence.read(manifest)
        evidence.heads(read)  # readable, or refused here
        job = self.store.jobs.get(found.job_id)
        source = self.store.sources.get(job.source_id)
        readings = {found.id, *(earlier.id for earlier in self.store.passes.before(found))}
        keys = self.store.appliances.keys(appliance.id)
        wrong = proof.signed_by(read, keys, found.taken or 0.0) or proof.of_this_pass(
            read, found, source, job, readings, appliance.vcenter
        )
        if wrong:
            self.store.jobs.note(job.id, "refused", f"pass {found.id}, appliance {appliance.name}: {wrong}")
            raise BadInput(wrong, on=found.id, remedy="nothing of it is kept: run the pass again")
        self.store.evidence.put(found, manifest, evidence.pem(read.key))

    def _require_proof(self, pass_id: str, appliance: Appliance) -> None:
        """A pass that read is done when its evidence is here and its instance confirms it; else it has failed, and the
        appliance is refused. An instance that cannot be asked is a ControlFailed, and the report is repeated.
        """
        found = self.store.passes.owned(pass_id, appliance)
        if found.state is not PassState.TAKEN or not found.task.reads:
            return
        manifest = self.store.evidence.find(pass_id)
        if manifest is None:
            wrong = "no evidence of this pass was delivered"
        else:
            read = evidence.read(manifest)
            job = self.store.jobs.get(found.job_id)
            wanted = found.wanted or self._wanted(job)
            wrong = proof.complete(read, wanted, may_lack=job.accept_removed_disks)
            wrong = wrong or proof.confirmed(read, self._steps.shown(found.job_id))
        if not wrong:
            return
        refused = ControlFailed(
            f"the pass is not done: {wrong}",
            on=pass_id,
            remedy=f"look at appliance {appliance.name}, then start the job again",
            retryable=False,
        )
        self.store.jobs.note(found.job_id, "refused", f"pass {pass_id}, appliance {appliance.name}: {wrong}")
        self.store.passes.finish(pass_id, appliance, Outcome.FAILED, refused.to_json(), {})
        self.poke()
        raise refused

    def _wanted(self, job: Job) -> list[int]:
        """Of a pass that was taken before it was written down."""
        disks = self.store.sources.get(job.source_id).disks
        return [disk.key for disk in disks if disk.key not in job.left_out]

    def order(self, appliance: Appliance, errands: bool = False) -> tuple[Job, Pass] | None:
        """The next pass for this appliance, now its own; with `errands` one that powers a machine instead.

        None while the state is held.
        """
        if self.store.epochs.current().restored:
            return None
        found = self.store.passes.take(appliance, errands)
        return None if found is None else (self.store.jobs.get(found.job_id), found)

    def leftovers(self, appliance: Appliance) -> list[tuple[Source, TrackedResource]]:
        """What this appliance shall remove from its vCenter, job by job; one living appliance of a vCenter is asked at a time."""
        found = self.store.resources.leftovers(appliance.vcenter)
        if not found:
            return []
        alive = [a.id for a in self.store.appliances.alive(self.grace) if a.vcenter == appliance.vcenter]
        return found if min([*alive, appliance.id]) == appliance.id else []

    def credential(self, job_id: str, appliance: Appliance) -> Credential:
        """The appliance's side of mutual TLS for one job; it carries its id, by which it can be revoked."""
        return self._steps.credential(job_id, CertificateRole.APPLIANCE, appliance.id)

    def approve(self, appliance_id: str) -> Appliance:
        """It may act for its vCenter."""
        approved = self.store.appliances.approve(appliance_id)
        self._outlaw()
        return approved

    def revoke(self, appliance_id: str) -> Appliance:
        """It is out now: its secret is refused, its passes are offered again, instances refuse its certificates."""
        revoked = self.store.appliances.revoke(appliance_id)
        self._shut_out([revoked], "its appliance was revoked")
        return revoked

    def suspend(self, token_id: str) -> list[Appliance]:
        """What enrolled with this code waits for approval again, and is out until then."""
        waiting = self.store.appliances.suspend(token_id)
        self._shut_out(waiting, "its appliance waits for approval again")
        return waiting

    def _shut_out(self, gone: list[Appliance], why: str) -> None:
        ids = {row.id for row in gone}
        if ids:
            self.store.passes.lose(lambda found: found.appliance_id in ids, why)
            self._outlaw()
            self.poke()

    def _outlaw(self) -> None:
        """Every running instance hears whom to refuse; one that cannot be told now is told by the watch."""
        for job in self.store.jobs.all([JobStatus.RUNNING]):
            try:
                found = self._steps.find(job.id)
                if found is not None and found.health is Health.RUNNING:
                    self._steps.outlaw(job.id, found)
            except ConnectorError as failed:
                self.store.jobs.note(job.id, "appliance", failed.what)


def blocking(source: Source) -> list[Json]:
    """The findings that no job of this source gets past: some matter only while the machine runs."""
    grave = {Severity.BLOCK}
    if source.facts.get("power") == PowerState.ON:
        grave.add(Severity.WARM_BLOCK)
    return [finding for finding in source.findings if finding["severity"] in grave]
