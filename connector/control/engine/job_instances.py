"""The intermediate instance of each job is started and released under one lock per job, after another look at the job.

The monitor and the workflow both change instances; each call may be repeated after a kill: it first looks at what exists.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from connector.cloud.provider import (
    DRILL_PREFIX,
    CloudResource,
    Health,
    Instance,
    InstanceRequest,
    Provider,
    TargetDisk,
)
from connector.control.domain import definition
from connector.control.domain.entities import OUTLIVING, ApplianceStatus, Job, Source
from connector.control.domain.evidence_check import Shown
from connector.control.domain.jobs import PREPARING, PROCESSING, SYNCING, JobState, JobStatus
from connector.control.domain.refusals import InstanceReleased
from connector.control.engine.instance_contact import Ask, Tell, ask_instance, tell_instance
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.control.store.provider_ledger import instance_token
from connector.errors import ConnectorError, ControlFailed, TargetFailed
from connector.model import Credential, InstanceAddress
from connector.transfer.certificates import CertificateRole

#: Exchanges epoch marks with the instance of a job, at this address, with this identity.
Meet = Callable[[Job, InstanceAddress, Credential], None]

#: A pass of a large machine over a slow link takes weeks, and makes new connections all the time.
CREDENTIAL_LIFETIME: Final = datetime.timedelta(days=30)
#: Statuses of jobs whose disks nobody needs any more.
OVER: Final = (JobStatus.FINISHED, JobStatus.EXPIRED, JobStatus.DELETING)
#: What a record of something that could not be removed ends with.
AGAIN: Final = "it is tried again every minute"

_LOG: Final = logging.getLogger(__name__)
_NEEDS_INSTANCE: Final = (PREPARING, SYNCING, PROCESSING)


class JobInstances:
    """Starts, asks and releases the instances of jobs. Thread-safe."""

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
        self._vault = vault
        self._ask, self._tell = ask, tell
        self._revoked: dict[str, tuple[str, ...]] = {}  # sent revocations by instance; guarded by `_guard`
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()  # guards the two dictionaries

    def all(self) -> Mapping[str, Instance]:
        """Every instance that the provider lists, by token."""
        return {instance.token: instance for instance in self._provider.describe()}

    def find(self, job_id: str) -> Instance | None:
        """The job's instance, as the provider sees it now."""
        return self._provider.find(instance_token(job_id))

    def was_created(self, job_id: str) -> bool:
        """Whether the job has an instance that we created and did not release."""
        token = instance_token(job_id)
        return any(
            resource.token == token and resource.reference and not resource.removed
            for resource in self._store.resources.of(job_id, "cloud")
        )

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
                disks=migrated_disks(job, source),
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

    def needed(self, job_id: str) -> Instance:
        """As `ensure`, for a run that cannot go on without its instance. Raises ControlFailed."""
        instance = self.ensure(job_id, _NEEDS_INSTANCE)
        if instance is None:
            raise ControlFailed(
                "the job left its state while its instance was being started",
                on=job_id,
                remedy="look at the job; start it again when it should run",
            )
        return instance

    def release(self, job_id: str, *, keep_disks: bool, unless_running: bool) -> None:
        """Stop the job's instance; without `keep_disks` remove it.

        `unless_running`: the job may have gone on since the caller looked. Then nothing is stopped while it runs, and nothing is
        removed unless the job is over.
        """
        token = instance_token(job_id)
        with self._lock(job_id):
            self._store.epochs.must_not_be_held()
            status = self._store.jobs.get(job_id).status
            has_gone_on = status is JobStatus.RUNNING or not (keep_disks or status in OVER)
            if unless_running and has_gone_on:
                return
            if not keep_disks and (instance := self._provider.find(token)) is not None:
                self.meet(job_id, instance)
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

    def release_or_record(self, job_id: str, *, keep_disks: bool, unless_running: bool) -> None:
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
                self._store.resources.leave(
                    resource.token, f"{what}{costs(self._provider)}: {failed}; {AGAIN}"
                )
        else:
            self._store.resources.mend(job_id, but=OUTLIVING)

    def meet(self, job_id: str, instance: Instance) -> None:
        """Exchange epoch marks with a running instance. Raises `StateRestored` if it knows more than our database."""
        job = self._store.jobs.get(job_id)
        if self._meet is None or job.authority is None or instance.health is not Health.RUNNING:
            return
        self._meet(job, instance.address, self.credential(job_id, CertificateRole.CONTROL))

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
            told_before = self._revoked.get(instance.handle, ())
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
            self._revoked[instance.handle] = revoked

    def credential(self, job_id: str, role: CertificateRole, appliance: str = "") -> Credential:
        """A new short-lived certificate of this job's authority. `appliance`: the appliance that it is for."""
        sealed = self._store.jobs.get(job_id).authority
        if sealed is None:
            raise ControlFailed(
                "this job has no certificate authority yet", on=job_id, remedy="start the job again"
            )
        return self._vault.authority(sealed).issue(role, lifetime=CREDENTIAL_LIFETIME, appliance=appliance)

    def _lock(self, job_id: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(job_id, threading.Lock())


def costs(provider: Provider) -> str:
    """What is added to a line about something that the provider still has."""
    return " and goes on costing" if provider.billed else ""


def migrated_disks(job: Job, source: Source) -> tuple[TargetDisk, ...]:
    """The disks that the job migrates."""
    disks = definition.disks(job.definition, source.disks)
    return tuple(disk for disk in disks if disk.key not in job.left_out)


def _resource_token(token: str, owned: CloudResource) -> str:
    digest = hashlib.sha256(owned.reference.encode()).hexdigest()
    return f"{token}-{owned.kind}-{digest[:16]}"
