"""A step of a run may be killed at any point and done again: it first looks at what exists.

Instances are started and released under one lock per job, after another look at the job, because the monitor and the
workflow both change them.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from connector.cloud.provider import (
    DRILL_PREFIX,
    CloudResource,
    Drills,
    Health,
    ImageRequest,
    Instance,
    InstanceRequest,
    Placement,
    Provider,
    TargetDisk,
)
from connector.control.domain import definition, evidence_check, image_format
from connector.control.domain.entities import (
    OUTLIVING,
    ApplianceStatus,
    Drill,
    Job,
    JobImage,
    Json,
    Outcome,
    Run,
    Source,
    Task,
)
from connector.control.domain.evidence_check import Shown
from connector.control.domain.hardware import hardware
from connector.control.domain.jobs import (
    CLEANING,
    PREPARING,
    PROCESSING,
    SYNCING,
    JobEvent,
    JobState,
    JobStatus,
)
from connector.control.domain.refusals import InstanceReleased, OutOfRange
from connector.control.engine.instances import Ask, Tell, ask_instance, tell_instance
from connector.control.engine.target_instances import TARGET, TargetInstanceSteps
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.control.store.provider_ledger import instance_token
from connector.control.store.runs import ROLLBACK
from connector.errors import BadInput, ConnectorError, ControlFailed, TargetFailed
from connector.model import Credential, InstanceAddress, TargetLimits
from connector.specification.fields import JOB_FIELDS, NEEDS
from connector.transfer import evidence
from connector.transfer.certificates import CertificateRole
from connector.transfer.evidence import Manifest

#: Exchanges epoch marks with the instance of a job, at this address, with this identity.
Meet = Callable[[Job, InstanceAddress, Credential], None]

#: A pass of a large machine over a slow link takes weeks, and makes new connections all the time.
CREDENTIAL_LIFETIME: Final = datetime.timedelta(days=30)

_LOG: Final = logging.getLogger(__name__)

_LONGEST_IMAGE: Final = 100
_OVER: Final = (JobStatus.FINISHED, JobStatus.EXPIRED, JobStatus.DELETING)  # nothing of their disks is needed
_AGAIN: Final = "it is tried again every minute"

_NEEDS_INSTANCE: Final = (PREPARING, SYNCING, PROCESSING)


class Steps:
    """Everything that a run of a job does outside of appliances. Thread-safe."""

    def __init__(
        self,
        store: Store,
        provider: Provider,
        vault: Vault,
        meet: Meet | None = None,
        ask: Ask = ask_instance,
        tell: Tell = tell_instance,
    ) -> None:
        """`meet` is called before an instance is relied upon or removed. `ask` asks an instance what its disks show.
        `tell` tells it which appliances to refuse.
        """
        self._meet = meet
        self._store = store
        self._provider = provider
        self.target_instances = TargetInstanceSteps(store, provider.target_instances)
        self._vault = vault
        self._ask, self._tell = ask, tell
        self._told: dict[str, tuple[str, ...]] = {}  # revoked appliances by instance; guarded by `_guard`
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()  # guards the dictionary of locks

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
            instance = self._need_instance(job.id)
            self._contact(job.id, instance)
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
            proved = self._proved(run, job)
            self._contact(job.id, self._need_instance(job.id))
            names = self._free_names(_image_names(job, run))
            image = self._store.resources.reserve_image(job.id, run_id, names, job.image_format)
            token = _image_token(run_id)
            self._store.resources.record(job.id, token, place="cloud", kind="image")
            request = self._image_request(job, run_id, image, proved)
            stored = self._provider.make_image(request)
            details = dict(stored.details) | {
                "files": list(stored.files),
                "location": stored.location,
                "size": stored.size,
            }
            self._store.resources.record(
                job.id, token, place="cloud", kind="image", reference=stored.location
            )
            self._store.resources.complete_image(run_id, details, name=stored.name, image_id=stored.id)
            capacities = [disk.capacity for disk in request.disks]
            self.target_instances.hand_over(job, run_id, self._store.sources.of(job), stored, capacities)
        self._store.jobs.advance(run_id, JobEvent.PROCESSED)

    def drill_order(self, drill: Drill) -> tuple[ImageRequest, Placement]:
        """How the image of a drill was made, with a certificate for an instance, and where the job's instance may run."""
        images = self._store.resources.images(drill.job_id)
        image = next((image for image in images if image.id == drill.image_id), None)
        if image is None:
            raise TargetFailed("its image was removed", on=drill.image_name, remedy="run the job again")
        run, job = self._look(image.run_id)
        request = self._image_request(job, run.id, image, self._proved(run, job))
        converter = self.credential(job.id, CertificateRole.INSTANCE)
        source = self._store.sources.of(job)
        return replace(request, converter=converter), definition.placement(job.definition, job.region, source)

    def _proved(self, run: Run, job: Job) -> Manifest:
        """The evidence of the run's last reading. Without it there is no image."""
        slot = max(number for number, task in enumerate(run.plan) if task.reads)
        attempt = self._store.passes.verdict(run.id, slot)
        manifest = None if attempt is None else self._store.evidence.find(attempt.id)
        if manifest is None:
            raise ControlFailed(
                "there is no evidence of this run's pass, so no image is made of it",
                on=job.name,
                remedy="start the job again: its next pass leaves evidence",
                retryable=False,
            )
        return evidence.read(manifest)

    def _free_names(self, names: list[str]) -> list[str]:
        """The names that no image has in the cloud. A restored database may not know all images."""
        used_names = {image.name for image in self._provider.list_images()}
        return [name for name in names if name not in used_names] or names

    def _image_request(self, job: Job, run_id: str, image: JobImage, proved: Manifest) -> ImageRequest:
        source = self._store.sources.of(job)
        guest = str(source.facts.get("guest_id", ""))
        conversion = str(job.definition.get("Conversion", "none"))
        return ImageRequest(
            token=instance_token(job.id),
            job_id=job.id,
            run=run_id,
            name=image.name,
            format=image.format,
            control=self.credential(job.id, CertificateRole.CONTROL),
            disks=_proved_disks(_wanted(job, source), proved),
            guest_id=guest,
            architecture=definition.architecture(guest),
            **hardware(source.facts)._asdict(),
            conversion=conversion,
            converter=self.credential(job.id, CertificateRole.INSTANCE) if conversion != "none" else None,
            boot_check=bool(job.definition.get("BootCheck", False)),
            expect=evidence_check.expected(
                proved, {} if evidence_check.knows_targets(proved) else self.shown(job.id)
            ),
        )

    def _prune(self, job: Job) -> None:
        """Remove the oldest images beyond the number to keep. An image that the provider says is in use stays."""
        images = [i for i in self._store.resources.images(job.id) if i.ready and not i.removed]
        most = None if job.on_demand else job.max_images
        if job.definition.get("TargetType") == TARGET:
            most = 1  # an earlier run could not put its image onto the target instance
        excess = len(images) - most if most is not None else 0
        for image in images[:-1]:
            if excess <= 0:
                break
            try:
                self._provider.delete_image(image.name)
            except TargetFailed as refused:
                if (
                    refused.retryable
                ):  # the refusal is not about this image: do not remove a newer one instead
                    text = (
                        f"the old image {image.name} could not be removed{self._costs}: {refused}; {_AGAIN}"
                    )
                    self._store.resources.leave(_image_token(image.run_id), text)
                    return
                self._note_once(job.id, f"image {image.name} stays: {refused.what}")
                continue
            self._store.resources.remove_image(image.id, f"the job keeps {most}, and there is a newer one")
            excess -= 1
        self._store.resources.mend(job.id, kinds=OUTLIVING)

    def _note_once(self, job_id: str, text: str) -> None:
        if all(entry.text != text for entry in self._store.jobs.history(job_id)):
            self._store.jobs.note(job_id, "image", text)

    @property
    def _costs(self) -> str:
        return " and goes on costing" if self.billed else ""

    def clean(self, run_id: str) -> None:
        """Remove and release what only this run needed. The disks of an incremental job stay for its next run.

        The image exists, so nothing that the cloud refuses here fails the run: `tidy` does it again.
        """
        _, job = self._look(run_id)
        self._prune(job)
        self._let_go(job.id, keep_disks=not _is_last(job), unless_running=False)

    def tidy(self, job_id: str) -> None:
        """Do again what the cloud refused when the job's last run ended, or when the job expired."""
        job = self._store.jobs.get(job_id)
        if job.status is JobStatus.RUNNING:
            return
        self._prune(job)
        over = job.status in _OVER
        self._let_go(job_id, keep_disks=not over, unless_running=True)
        left = [r.trouble for r in self._store.resources.of(job_id, "cloud") if r.trouble and not r.removed]
        self._store.jobs.mark(job_id, waiting="; ".join(left))

    def _let_go(self, job_id: str, *, keep_disks: bool, unless_running: bool) -> None:
        """Release as `release` does. What the cloud refuses is recorded at the first resource that is left."""
        try:
            self.release(job_id, keep_disks=keep_disks, unless_running=unless_running)
        except TargetFailed as failed:
            left = [r for r in self._store.resources.of(job_id, "cloud") if not r.removed]
            left = [r for r in left if r.kind not in OUTLIVING and not r.token.startswith(DRILL_PREFIX)]
            what = (
                "its instance could not be stopped"
                if keep_disks
                else "its instance could not be released whole"
            )
            for resource in sorted(left, key=lambda r: r.kind != "instance")[:1]:
                self._store.resources.leave(resource.token, f"{what}{self._costs}: {failed}; {_AGAIN}")
        else:
            self._store.resources.mend(job_id, but=OUTLIVING)

    def settle(self, run_id: str) -> None:
        """End the run, which has done everything."""
        run, job = self._look(run_id)
        if run.kind != ROLLBACK:
            event = JobEvent.FINISHED if _is_last(job) else JobEvent.PAUSED
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
        self._let_go(self._store.runs.get(run_id).job_id, keep_disks=True, unless_running=True)

    def forget(self, job_id: str) -> None:
        """Release all intermediate resources of a deleted job."""
        if self._store.jobs.get(job_id).status is not JobStatus.DELETING:
            return
        try:
            self._provider.remove_drill(instance_token(job_id))
            self.release(job_id, keep_disks=False, unless_running=True)
        except TargetFailed as failed:
            self._store.jobs.mark(job_id, waiting=f"what it made in the cloud cannot be released: {failed}")
            raise
        remaining = [t for t in self._store.resources.of(job_id, "vcenter") if not t.removed and t.reference]
        for resource in remaining:
            text = f"{resource.kind} {resource.reference} may still exist in vCenter"
            self._store.jobs.note(job_id, "left", text)
        self._store.jobs.apply(job_id, JobEvent.DELETED)

    def release(self, job_id: str, *, keep_disks: bool, unless_running: bool) -> None:
        """Stop the job's instance; without `keep_disks` remove it.

        `unless_running`: the job may have gone on since the caller looked. Then nothing is stopped while it runs, and nothing is
        removed unless the job is over.
        """
        token = instance_token(job_id)
        with self._lock(job_id):
            self._store.epochs.must_not_be_held()
            status = self._store.jobs.get(job_id).status
            has_gone_on = status is JobStatus.RUNNING or not (keep_disks or status in _OVER)
            if unless_running and has_gone_on:
                return
            if not keep_disks and (instance := self._provider.find(token)) is not None:
                self._contact(job_id, instance)
            self._provider.release(token, keep_disks=keep_disks)
            if keep_disks:
                return
            for resource in self._store.resources.of(job_id, "cloud"):
                is_of_a_drill = resource.token.startswith(DRILL_PREFIX)
                if resource.kind not in OUTLIVING and not resource.removed and not is_of_a_drill:
                    self._store.resources.record(
                        job_id, resource.token, place="cloud", kind=resource.kind, removed=True
                    )
            self._store.jobs.mark(job_id, transition_instance=None)

    def instances(self) -> Mapping[str, Instance]:
        """Every instance that the provider lists, by token."""
        return {instance.token: instance for instance in self._provider.describe()}

    def find(self, job_id: str) -> Instance | None:
        """The job's instance, as the provider sees it now."""
        return self._provider.find(instance_token(job_id))

    def shown(self, job_id: str) -> Shown:
        """What the job's instance shows of its disks now. Raises a retryable ControlFailed."""
        try:
            if (instance := self.find(job_id)) is None:
                raise ControlFailed("the job has no instance", on=job_id, remedy="it is tried again")
            disks = self._ask(instance, self.credential(job_id, CertificateRole.CONTROL))
        except ConnectorError as failed:
            raise ControlFailed(
                f"the instance cannot be asked what it holds: {failed}", on=job_id, remedy="it is tried again"
            ) from failed
        return {str(disk.get("key")): disk for disk in disks}

    def tell_revoked(self, job_id: str, instance: Instance, *, again: bool = False) -> None:
        """Tell a running instance which appliances to refuse, once for each list, or also `again`.

        Raises ControlFailed if the instance cannot be told and there is an appliance to refuse.
        """
        revoked = tuple(
            row.id for row in self._store.appliances.all() if row.state is not ApplianceStatus.APPROVED
        )
        with self._guard:
            told_before = self._told.get(instance.handle, ())
        if told_before == revoked and not again:
            return
        try:
            self._tell(instance, self.credential(job_id, CertificateRole.CONTROL), revoked)
        except ConnectorError as failed:
            if not revoked and not told_before:
                _LOG.info("instance %s was not told whom to refuse: %s", instance.handle, failed)
                return
            raise ControlFailed(
                f"the instance cannot be told which appliances were revoked: {failed}",
                on=job_id,
                remedy="it is tried again",
            ) from failed
        with self._guard:
            self._told[instance.handle] = revoked

    def credential(self, job_id: str, role: CertificateRole, appliance: str = "") -> Credential:
        """A new short-lived certificate of this job's authority. `appliance`: the appliance that it is for."""
        sealed = self._store.jobs.get(job_id).authority
        if sealed is None:
            raise ControlFailed(
                "this job has no certificate authority yet", on=job_id, remedy="start the job again"
            )
        return self._vault.authority(sealed).issue(role, lifetime=CREDENTIAL_LIFETIME, appliance=appliance)

    def _need_instance(self, job_id: str) -> Instance:
        instance = self.ensure(job_id, _NEEDS_INSTANCE)
        if instance is None:
            raise ControlFailed(
                "the job left its state while its instance was being started",
                on=job_id,
                remedy="look at the job; start it again when it should run",
            )
        return instance

    def ensure(self, job_id: str, states: tuple[JobState, ...]) -> Instance | None:
        """The running instance of a job; None if the job is not in one of `states`. It is recorded before it is created."""
        token = instance_token(job_id)
        with self._lock(job_id):
            job = self._store.jobs.get(job_id)
            if job.state not in states:
                return None
            if job.authority is None:
                self._store.jobs.set_authority(job_id, self._vault.new_authority(job_id))
            if self.was_created(job_id) and self._provider.find(token) is None:
                raise InstanceReleased(on=job_id)
            self._store.resources.record(job_id, token, place="cloud", kind="instance", made_again=True)
            source = self._store.sources.of(job)
            request = InstanceRequest(
                token=token,
                job_id=job_id,
                disks=_wanted(job, source),
                credential=self.credential(job_id, CertificateRole.INSTANCE),
                control=self.credential(job_id, CertificateRole.CONTROL),
                placement=definition.placement(job.definition, job.region, source),
            )
            instance = self._provider.create_instance(request)
            self._store.resources.record(
                job_id, token, place="cloud", kind="instance", reference=instance.handle, made_again=True
            )
            for owned in instance.resources:
                self._store.resources.record(
                    job_id,
                    _resource_token(token, owned),
                    place="cloud",
                    kind=owned.kind,
                    reference=owned.reference,
                    made_again=True,
                )
            self._store.jobs.mark(job_id, transition_instance=instance.handle)
            self.tell_revoked(job_id, instance, again=True)
            return instance

    def _contact(self, job_id: str, instance: Instance) -> None:
        """Exchange epoch marks with a running instance. Raises `StateRestored` if it knows more than our database."""
        job = self._store.jobs.get(job_id)
        if self._meet is None or job.authority is None or instance.health is not Health.RUNNING:
            return
        self._meet(job, instance.address, self.credential(job_id, CertificateRole.CONTROL))

    def was_created(self, job_id: str) -> bool:
        """Whether the job has an instance that we created and did not release."""
        token = instance_token(job_id)
        return any(
            resource.token == token and resource.reference and not resource.removed
            for resource in self._store.resources.of(job_id, "cloud")
        )

    def _look(self, run_id: str) -> tuple[Run, Job]:
        run = self._store.runs.get(run_id)
        return run, self._store.jobs.get(run.job_id)

    def _lock(self, job_id: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(job_id, threading.Lock())


def _image_token(run_id: str) -> str:
    return f"image-{run_id}"


def _resource_token(token: str, owned: CloudResource) -> str:
    digest = hashlib.sha256(owned.reference.encode()).hexdigest()
    return f"{token}-{owned.kind}-{digest[:16]}"


def _wanted(job: Job, source: Source) -> tuple[TargetDisk, ...]:
    """The disks that the job migrates."""
    disks = definition.disks(job.definition, source.disks)
    return tuple(disk for disk in disks if disk.key not in job.left_out)


def _proved_disks(target_disks: Sequence[TargetDisk], proved: Manifest) -> tuple[TargetDisk, ...]:
    """The disks that the evidence names: those that the source had when it was read."""
    by_key = {str(disk.key): disk for disk in target_disks}
    return tuple(
        [disk for key, disk in by_key.items() if key in proved.disks]
        + [_read_disk(key, facts) for key, facts in sorted(proved.disks.items()) if key not in by_key]
    )


def _read_disk(key: str, facts: Mapping[str, Any]) -> TargetDisk:
    """A disk that the machine has lost since it was read, from its facts in the evidence."""
    return TargetDisk(int(key), str(facts.get("label", "")), int(facts.get("capacity", 0)))


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


def _is_last(job: Job) -> bool:
    return job.run_once or job.cutover


def _image_names(job: Job, run: Run) -> list[str]:
    """Candidates for the image's name, best first. It is also a file's name: no colon, and room for an ending."""
    cycle = "" if _is_last(job) else f"_CYCLE_{run.number}"
    endings = (cycle, f"{cycle}_{job.id}", f"{cycle}_{job.id}_{run.number}")
    plain = job.image_name.replace(":", "-")
    return [plain[: _LONGEST_IMAGE - len(ending)] + ending for ending in endings]
