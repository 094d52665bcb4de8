"""Every operation on a job goes through `JobService`, from the public API, the console and the agents' API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from connector.clients.heartbeat import SILENCE
from connector.cloud import licences
from connector.cloud.provider import Drills, Health
from connector.control.domain import evidence_check, findings
from connector.control.domain.clock import SET_BACK
from connector.control.domain.definition import PARAMETERS, shown
from connector.control.domain.downtime import Downtime, predicted
from connector.control.domain.entities import (
    Appliance,
    HandOver,
    HandOverState,
    Job,
    Json,
    Outcome,
    Pass,
    PassState,
    Source,
    TrackedResource,
)
from connector.control.domain.image_format import require_fitting
from connector.control.domain.jobs import WAITING, JobEvent, JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.engine.monitors import InstanceMonitor
from connector.control.engine.steps import Steps
from connector.control.engine.target_instances import TARGET_FIELDS
from connector.control.store import NewJob, Store
from connector.control.store.pass_ends import stoppable
from connector.errors import BadInput, Conflict, ConnectorError, ControlFailed, TransferFailed
from connector.model import Credential, TargetLimits
from connector.specification.fields import BY_NAME, JOB_FIELDS
from connector.transfer import evidence
from connector.transfer.certificates import CertificateRole

#: Fields with their own column that not every provider supports.
_COLUMNS_CHECKED: Final = {field.column: field.name for field in JOB_FIELDS if field.needs and field.column}


class JobService:
    """Operations on jobs. Each is durable when it returns. Thread-safe."""

    def __init__(
        self, store: Store, steps: Steps, poke: Callable[[], None] = lambda: None, *, grace: float = SILENCE
    ) -> None:
        """`poke` makes the active runner look at once if it is in this process; otherwise it looks soon.

        `grace`: seconds of silence after which an appliance counts as lost.
        """
        self.store = store
        self._steps = steps
        self._instance_monitor = InstanceMonitor(store, steps)
        self.poke = poke
        self.grace = grace

    @property
    def billed(self) -> bool:
        """Whether the target costs money."""
        return self._steps.billed

    def former_disks(self, job_id: str, request: HandOverState) -> HandOver:
        """Ask for the former disks of the job's target instance to be put back, or removed. Raises `StateRefusal`."""
        hand_over = self.store.hand_overs.ask(self.store.jobs.get(job_id).id, request)
        self.poke()
        return hand_over

    @property
    def drills(self) -> Drills | None:
        """Drills of the target's images; None if it offers none."""
        return self._steps.drills

    def create(self, new_job: NewJob) -> Job:
        """Create a job in Ready. Raises `Ineligible` if a finding blocks the source, `OutOfRange` for unsupported fields.

        A finding about a disk that can be left out blocks the first start instead.
        """
        source = self.store.sources.get(new_job.source_id)
        findings.must_be_eligible(source, findings.removable(source))
        fields = {name: getattr(new_job, column) for column, name in _COLUMNS_CHECKED.items()}
        self._steps.check(new_job.definition | fields, new_job.region, source, findings.removable(source))
        left_out = findings.removable(source)
        capacities = [disk.capacity for disk in source.disks if disk.key not in left_out]
        self._steps.target_instances.check(new_job.definition, source, capacities, running=False)
        guest = str(source.facts.get("guest_id", ""))
        notes = licences.warnings(guest, str(new_job.definition.get("LicenseType", "")))
        return self.store.jobs.create(replace(new_job, notes=notes))

    def start(self, job_id: str, changes: Json | None = None) -> Job:
        """Begin or resume from Ready, Stopped, InError or Waiting. `changes` as for `cutover`.

        Raises `Ineligible` for the first run while a finding blocks the source or one of the disks that it reads, `OutOfRange`
        when a disk has become too large for the format of the image.
        """
        job = self.store.jobs.get(job_id)
        source = self.store.sources.of(job)
        require_fitting(job.image_format, source, job.left_out)
        self._steps.target_instances.check_start(job, source, changes or {})
        run = self.store.jobs.begin(job.id, JobEvent.START, changes)
        self.poke()
        return self.store.jobs.get(run.job_id)

    def stop(self, job_id: str) -> Job:
        """Stop: from Waiting at once; while Syncing the appliance stops first. The position is kept."""
        job = self.store.jobs.get(job_id)
        if not stoppable(job.state):
            return self.store.jobs.apply(job.id, JobEvent.STOP)
        self.store.pass_ends.stop(job.id)
        self.poke()
        return self.store.jobs.get(job.id)

    def cutover(self, job_id: str, *, last_sync: bool, changes: Json) -> Job:
        """From Waiting: shut the source down, read it, make the last image. Without `last_sync` only finish.

        `changes`: columns that are set with it.
        """
        job = self.store.jobs.get(job_id)
        if job.run_once and job.state == WAITING:
            raise Conflict("this job runs once", on=job.id, remedy="cutover is for incremental jobs")
        if last_sync:
            require_fitting(job.image_format, self.store.sources.of(job), job.left_out)
        if last_sync and (downtime := self.downtime(job)) is not None:
            changes = changes | {"predicted_downtime": downtime.seconds}
        self.store.jobs.begin(job.id, JobEvent.CUTOVER if last_sync else JobEvent.CLOSE, changes)
        self.poke()
        return self.store.jobs.get(job.id)

    def downtime(self, job: Job) -> Downtime | None:
        """The predicted downtime of a cutover that begins now; None if nothing is known yet."""
        passes, images = self.store.passes.of(job.id), self.store.resources.images(job.id)
        drill = self.store.drills.last([job.id], plans=False).get(job.id)
        return predicted(job, passes, images, self.store.now(), drill)

    def rollback(self, job_id: str, *, keep_cbt: bool = False) -> Job:
        """After a cutover: give the source its state back, and power it on if that cutover shut it down; then Stopped.

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
        """From any state but Running: release the intermediate resources. Images stay.

        Raises `StateRefusal` while the former disks of its target instance are kept: nobody would list them.
        """
        job = self.store.jobs.apply(self.store.jobs.get(job_id).id, JobEvent.DELETE)
        self.poke()
        return job

    def modify(self, job_id: str, changes: Json) -> Job:
        """Change fields of a job, if its state allows it; see `store.Jobs.modify`."""
        job = self.store.jobs.get(job_id)
        fields = {_COLUMNS_CHECKED.get(name, name): value for name, value in changes.items()}
        if any(name in PARAMETERS or BY_NAME[name].needs for name in fields if name in BY_NAME):
            self._steps.check(job.definition | fields, job.region, self.store.sources.of(job), job.left_out)
        if TARGET_FIELDS & changes.keys():
            source = self.store.sources.of(job)
            capacities = [disk.capacity for disk in source.disks if disk.key not in job.left_out]
            self._steps.target_instances.check(
                job.definition | changes, source, capacities, job.id, running=False
            )
        return self.store.jobs.modify(job.id, changes)

    def replication(self, appliance: Appliance, pass_ids: set[str]) -> dict[str, Json]:
        """How each of these passes of an appliance shall use the link now."""
        passes = self.store.passes.definitions(appliance, pass_ids).items()
        return {pass_id: shown(definition, final=final) for pass_id, (definition, final) in passes}

    def delete_source(self, source_id: str, *, force: bool = False) -> None:
        """Set the source to Deleting; with `force` its jobs too. It is gone when they are released."""
        self.store.removal.source(source_id, force=force)
        self.store.removal.finish()
        self.poke()

    @property
    def limits(self) -> TargetLimits:
        """What the target takes of a machine."""
        return self._steps.limits

    def heard(self, appliance: Appliance, pass_ids: set[str]) -> list[str]:
        """Take a heartbeat with the passes that the appliance has; answer the passes that it must stop.

        A pass that it took and does not have was lost on the way or in its restart: it is offered again.
        """
        self.store.appliances.beat(appliance.id)
        if self.store.epochs.current().restored:  # its passes are decided when the restore is confirmed
            return self.store.passes.to_stop(appliance, pass_ids)
        now = self.store.now()

        def dropped(attempt: Pass) -> bool:
            not_held = attempt.appliance_id == appliance.id and attempt.id not in pass_ids
            return not_held and not -SET_BACK < now - (attempt.taken or 0.0) <= self.grace / 2

        if self.store.pass_ends.lose(dropped, "its appliance does not have it any more"):
            self.poke()
        return self.store.passes.to_stop(appliance, pass_ids)

    def finish(
        self,
        pass_id: str,
        appliance: Appliance,
        outcome: Outcome,
        error: Json | None,
        result: Json,
        rest: float = 0.0,
    ) -> Pass:
        """Take an appliance's last report on a pass. A pass that lost its instance on the way is offered again (R55).

        `rest`: seconds until a pass that it gives back is offered again. Raises Conflict if the pass is not the
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
            attempt = self.store.passes.owned(pass_id, appliance)
            if attempt.state is PassState.TAKEN:
                self._instance_monitor.offer_displaced(attempt.run_id)
        finished = self.store.pass_ends.finish(pass_id, appliance, outcome, error, result, rest)
        self.poke()
        return finished

    def keep_evidence(self, pass_id: str, appliance: Appliance, manifest: bytes) -> None:
        """Keep evidence only if the appliance's own key signed it and it is about this pass and machine."""
        attempt = self.store.passes.owned(pass_id, appliance)
        parsed = evidence.read(manifest)
        evidence.heads(parsed)  # readable, or refused here
        job = self.store.jobs.get(attempt.job_id)
        source = self.store.sources.get(job.source_id)
        readings = {attempt.id, *(earlier.id for earlier in self.store.passes.before(attempt))}
        keys = self.store.appliances.keys(appliance.id)
        wrong = evidence_check.signed_by(parsed, keys, attempt.taken or 0.0) or evidence_check.of_this_pass(
            parsed, attempt, source, job, readings, appliance.vcenter
        )
        if wrong:
            self.store.jobs.note(job.id, "refused", f"pass {attempt.id}, appliance {appliance.name}: {wrong}")
            raise BadInput(wrong, on=attempt.id, remedy="nothing of it is kept: run the pass again")
        self.store.evidence.put(attempt, manifest, evidence.pem(parsed.key))

    def _require_proof(self, pass_id: str, appliance: Appliance) -> None:
        """Raise ControlFailed unless the evidence of a pass that read is here and the instance confirms it.

        If the evidence is wrong, the pass has failed. If the instance cannot be asked, the appliance repeats the report.
        """
        attempt = self.store.passes.owned(pass_id, appliance)
        if attempt.state is not PassState.TAKEN or not attempt.task.reads:
            return
        manifest = self.store.evidence.find(pass_id)
        if manifest is None:
            wrong = "no evidence of this pass was delivered"
        else:
            parsed = evidence.read(manifest)
            job = self.store.jobs.get(attempt.job_id)
            disk_keys = attempt.wanted or self._wanted(job)
            wrong = evidence_check.complete(parsed, disk_keys, may_lack=job.accept_removed_disks)
            wrong = wrong or evidence_check.confirmed(parsed, self._steps.instances.shown(attempt.job_id))
        if not wrong:
            return
        refused = ControlFailed(
            f"the pass is not done: {wrong}",
            on=pass_id,
            remedy=f"look at appliance {appliance.name}, then start the job again",
            retryable=False,
        )
        self.store.jobs.note(
            attempt.job_id, "refused", f"pass {pass_id}, appliance {appliance.name}: {wrong}"
        )
        self.store.pass_ends.finish(pass_id, appliance, Outcome.FAILED, refused.to_json(), {})
        self.poke()
        raise refused

    def _wanted(self, job: Job) -> list[int]:
        """Keys of the disks of a pass that was taken before passes recorded them."""
        disks = self.store.sources.get(job.source_id).disks
        return [disk.key for disk in disks if disk.key not in job.left_out]

    def order(self, appliance: Appliance, power_tasks: bool = False) -> tuple[Job, Pass] | None:
        """Give this appliance its next pass; with `power_tasks` a power task instead.

        None while the state is held.
        """
        if self.store.epochs.current().restored:
            return None
        attempt = self.store.pass_queue.take(appliance, power_tasks)
        return None if attempt is None else (self.store.jobs.get(attempt.job_id), attempt)

    def leftovers(self, appliance: Appliance) -> list[tuple[Source, TrackedResource]]:
        """What this appliance shall remove from its vCenter. Only one live appliance of a vCenter gets these orders."""
        resources = self.store.resources.leftovers(appliance.vcenter)
        if not resources:
            return []
        alive = [a.id for a in self.store.appliances.alive(self.grace) if a.vcenter == appliance.vcenter]
        return resources if min([*alive, appliance.id]) == appliance.id else []

    def credential(self, job_id: str, appliance: Appliance) -> Credential:
        """The appliance's certificate for one job. It names the appliance's id, by which it can be revoked."""
        return self._steps.instances.credential(job_id, CertificateRole.APPLIANCE, appliance.id)

    def approve(self, appliance_id: str) -> Appliance:
        """Let the appliance act for its vCenter."""
        approved = self.store.appliances.approve(appliance_id)
        self._tell_revoked()
        return approved

    def revoke(self, appliance_id: str) -> Appliance:
        """Refuse its secret, offer its passes again, and make instances refuse its certificates."""
        revoked = self.store.appliances.revoke(appliance_id)
        self._shut_out([revoked], "its appliance was revoked")
        return revoked

    def suspend(self, token_id: str) -> list[Appliance]:
        """Make the appliances that enrolled with this code wait for approval again; until then they are shut out."""
        waiting = self.store.appliances.suspend(token_id)
        self._shut_out(waiting, "its appliance waits for approval again")
        return waiting

    def _shut_out(self, appliances: list[Appliance], why: str) -> None:
        ids = {row.id for row in appliances}
        if ids:
            self.store.pass_ends.lose(lambda attempt: attempt.appliance_id in ids, why)
            self._tell_revoked()
            self.poke()

    def _tell_revoked(self) -> None:
        """Tell every running instance which appliances to refuse. The monitor tells those that cannot be told now."""
        for job in self.store.jobs.all([JobStatus.RUNNING]):
            try:
                instance = self._steps.instances.find(job.id)
                if instance is not None and instance.health is Health.RUNNING:
                    self._steps.instances.tell_revoked(job.id, instance)
            except ConnectorError as failed:
                self.store.jobs.note(job.id, "appliance", failed.what)
