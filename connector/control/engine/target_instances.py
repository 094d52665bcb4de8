"""A job's image goes onto the disks of a machine of the user, and the disks from before stay until they are let go.

The machine is looked at when the job is made, when it starts and when its image is finished. The former disks are put back or
removed when somebody asks, by the active runner, one machine at a time.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connector.cloud.provider import StoredImage
from connector.cloud.target_instance import (
    FORMER_DISK,
    DiskReplacement,
    TargetInstances,
    require_fitting,
    target_token,
)
from connector.control.domain import definition
from connector.control.domain.entities import HandOver, HandOverState, Job, Source
from connector.control.domain.jobs import JobStatus
from connector.control.domain.refusals import OutOfRange, RefusalCode, StateRefusal
from connector.control.store import Store
from connector.errors import BadInput, ConnectorError, TargetFailed

_LOG: Final = logging.getLogger(__name__)
TARGET: Final = "TargetInstance"
TARGET_FIELDS: Final = frozenset({"TargetType", "InstanceId", "StopTargetInstance"})
_DONE: Final = {
    HandOverState.PUTTING_BACK: HandOverState.PUT_BACK,
    HandOverState.RELEASING: HandOverState.RELEASED,
}


class TargetInstanceSteps:
    """What a run and the service do with target instances. Thread-safe. `targets`: None if the provider offers none."""

    def __init__(self, store: Store, targets: TargetInstances | None) -> None:
        self._store = store
        self._targets = targets

    def check(
        self,
        fields: Mapping[str, Any],
        source: Source,
        capacities: Sequence[int],
        job_id: str = "",
        *,
        running: bool,
    ) -> None:
        """Raise `OutOfRange` for a target instance that does not fit the source. `running`: also for one that runs.

        `job_id`: the job, if there is one already. R45 and R46: a machine of another account or region is not within reach, so
        it does not exist here.
        """
        if fields.get("TargetType") != TARGET:
            return
        if self._targets is None:
            raise StateRefusal(
                RefusalCode.TARGET_INSTANCE,
                "this provider makes images; it does not write onto an existing instance",
                remedy="use TargetType Image",
            )
        instance, guest = str(fields.get("InstanceId", "")), str(source.facts.get("guest_id", ""))
        stop = bool(fields.get("StopTargetInstance", False))
        if stop and not self._targets.stops:
            raise OutOfRange(
                "StopTargetInstance", "this provider stops no machine: stop it before the job starts"
            )
        self._must_be_free(instance, job_id)
        try:
            target = self._targets.find(instance)
            if target is not None:
                architecture = definition.architecture(guest)
                require_fitting(target, capacities, guest, architecture, stop=stop or not running)
        except BadInput as refused:
            raise OutOfRange("InstanceId", f"{instance}: {refused.what}; {refused.remedy}") from refused
        if target is None:
            raise OutOfRange(
                "InstanceId",
                f"{instance} does not exist in the account and the region of this control plane;"
                " the account of the instance makes the job, at a control plane of its region",
            )

    def check_start(self, job: Job, source: Source, changes: Mapping[str, Any]) -> None:
        """Raise `OutOfRange` for a target instance that cannot be used now. One that has disks of the job can."""
        hand_over = self._store.hand_overs.of([job.id]).get(job.id)
        if hand_over is None or not hand_over.state.keeps_former:
            capacities = [disk.capacity for disk in source.disks if disk.key not in job.left_out]
            self.check({**job.definition, **changes}, source, capacities, job.id, running=True)

    def _must_be_free(self, instance: str, job_id: str) -> None:
        """Raise `OutOfRange` while another job has this machine, or keeps former disks of it."""
        alive = [
            job
            for job in self._store.jobs.all()
            if job.id != job_id
            and job.definition.get("TargetType") == TARGET
            and job.definition.get("InstanceId") == instance
        ]
        kept = self._store.hand_overs.of([job.id for job in alive])
        for job in alive:
            keeps = job.id in kept and kept[job.id].state.keeps_former
            if keeps or job.status not in (JobStatus.FINISHED, JobStatus.EXPIRED):
                why = "keeps its former disks" if keeps else "goes onto it"
                raise OutOfRange("InstanceId", f"{instance}: the job {job.name} ({job.id}) {why}")

    def hand_over(
        self, job: Job, run_id: str, source: Source, image: StoredImage, capacities: Sequence[int]
    ) -> None:
        """Put the image of a run onto the job's target instance, if it has one. It may be repeated."""
        if job.definition.get("TargetType") != TARGET:
            return
        if self._targets is None:
            raise _none_here(job.id)
        _must_be_as_wanted(job, image)
        instance = str(job.definition["InstanceId"])
        before = self._store.hand_overs.of([job.id]).get(job.id)
        if before is None or not before.state.keeps_former:  # a refusal leaves nothing behind
            self.check(job.definition, source, capacities, job.id, running=True)
        self._store.hand_overs.begin(job.id, instance)
        token = target_token(job.id)
        self._store.resources.record(
            job.id, _former_token(job.id), place="cloud", kind=FORMER_DISK, made_again=True
        )
        replacement = DiskReplacement(
            token=token,
            job_id=job.id,
            run=run_id,
            instance=instance,
            image=str(image.details.get("converted") or image.location),
            capacities=tuple(capacities),
            stop=bool(job.definition.get("StopTargetInstance", False)),
        )
        kept = set(self._targets.replace_disks(replacement))
        known = {row.reference for row in self._store.resources.of(job.id, "cloud") if not row.removed}
        for reference in sorted(kept - known):  # a provider with a ledger has recorded its own
            self._record(job.id, reference)
        self._store.resources.record(
            job.id, _former_token(job.id), place="cloud", kind=FORMER_DISK, removed=True
        )
        self._store.hand_overs.end(job.id, HandOverState.DONE, of=HandOverState.BEGUN)

    def _record(self, job_id: str, reference: str) -> None:
        digest = hashlib.sha256(reference.encode()).hexdigest()[:16]
        self._store.resources.record(
            job_id,
            f"{_former_token(job_id)}-{digest}",
            place="cloud",
            kind=FORMER_DISK,
            reference=reference,
            made_again=True,
        )

    def carry_out(self, request: HandOver) -> None:
        """Put the former disks back, or remove them. Raises what the provider raises."""
        if self._targets is None:
            raise _none_here(request.job_id)
        token = target_token(request.job_id)
        if request.state is HandOverState.PUTTING_BACK:
            self._targets.put_back(token, request.instance)
        else:
            self._targets.release_former(token, request.instance)
        for resource in self._store.resources.of(request.job_id, "cloud"):
            if resource.kind == FORMER_DISK and not resource.removed:
                self._store.resources.record(
                    request.job_id, resource.token, place="cloud", kind=FORMER_DISK, removed=True
                )


class TargetInstanceMonitor:
    """Carries out what people asked of former disks. Only the active runner looks; `close` may be called by any thread."""

    def __init__(self, store: Store, steps: TargetInstanceSteps) -> None:
        self._store = store
        self._steps = steps
        self._lock = threading.Lock()  # guards what follows
        self._thread: threading.Thread | None = None
        self._closed = False

    def look(self) -> None:
        """Begin what was asked for longest, if nothing is carried out."""
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            request = next(iter(self._store.hand_overs.asked()), None)
            if request is None:
                return
            self._thread = threading.Thread(
                target=self._do, args=(request,), name=f"target instance {request.instance}", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Later looks begin nothing. What is under way is done again by the next process."""
        with self._lock:
            self._closed = True

    def _do(self, request: HandOver) -> None:
        end = self._store.hand_overs.end
        try:
            try:
                self._steps.carry_out(request)
            except ConnectorError as failed:
                _LOG.warning("target instance %s: %s", request.instance, failed)
                end(request.job_id, self._before(request.job_id), str(failed), of=request.state)
            else:
                end(request.job_id, _DONE[request.state], of=request.state)
        except ConnectorError as failed:
            # The database: the row stays as it is, and the next look does it again.
            _LOG.warning("the end could not be recorded: %s", failed)
        except Exception:  # noqa: BLE001 - outermost handler of a thread
            _LOG.exception("target instance %s stumbled", request.instance)
            end(
                request.job_id,
                self._before(request.job_id),
                "a defect of the connector: report it with the control plane's log",
                of=request.state,
            )

    def _before(self, job_id: str) -> HandOverState:
        is_done = self._store.jobs.get(job_id).status is JobStatus.FINISHED
        return HandOverState.DONE if is_done else HandOverState.BEGUN


def _must_be_as_wanted(job: Job, image: StoredImage) -> None:
    """Raise TargetFailed for an image that was not converted as the job says, or of which a copy does not boot."""
    report = image.details.get("conversion")
    report = report if isinstance(report, dict) else {}
    boot = report.get("boot") or {}
    why, field = "", ""
    if report.get("refusal"):
        why, field = f"was not converted ({report['refusal']})", "set Conversion to none"
    elif boot and not boot.get("boots") and boot.get("known", True):
        why, field = f"does not boot ({boot.get('outcome')})", "set BootCheck to false"
    if why:
        raise TargetFailed(
            f"the image {why}, so it was not put onto the target instance",
            on=job.name,
            remedy=f"mend the source, or {field}; then start the job again",
        )


def _former_token(job_id: str) -> str:
    return f"former-{job_id}"


def _none_here(job_id: str) -> TargetFailed:
    return TargetFailed(
        "this provider has no target instances",
        on=job_id,
        remedy="start the control plane with the provider that the job was made for",
    )
