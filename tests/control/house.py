"""A control plane without processes: the real store, steps, planner and watch; a clock, a cloud and an appliance of ours.

The engine is the workflow's own code, run from its beginning at every turn: whatever a crash makes of a step that was
done before, happens here all the time. `crash_after` stops it between any two steps.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from connector.cloud.provider import (
    INSTANCE_NAME,
    CloudResource,
    Drills,
    Health,
    ImageRequest,
    Instance,
    InstanceRequest,
    Placement,
    StoredImage,
)
from connector.cloud.target_instance import TargetInstances
from connector.control.domain.entities import Appliance, Job, Json, Outcome, Pass, PassState
from connector.control.domain.jobs import JobStatus
from connector.control.engine.job_instances import JobInstances
from connector.control.engine.monitors import ApplianceMonitor
from connector.control.engine.scheduler import Scheduler
from connector.control.engine.steps import Steps
from connector.control.engine.workflow import RunWorkflows
from connector.control.service.applications import ApplicationService, CohortMonitor
from connector.control.service.jobs import JobService
from connector.control.state.vault import Vault
from connector.control.store import NewJob, Quotas, Store
from connector.control.store.provider_ledger import instance_token
from connector.errors import BadInput, ConnectorError, TargetFailed, TransferFailed
from connector.model import Credential, InstanceAddress, TargetLimits
from connector.transfer.evidence import Signer
from tests.control.conftest import VCENTER, machine
from tests.control.honest import manifest, new_signer, shown

HOUR = 3600.0
DAY = 24 * HOUR
GRACE = 60.0


class MovableClock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Cloud:
    """A provider in memory; counts what it does."""

    def __init__(self) -> None:
        self.features: tuple[str, ...] = ("image files", "conversion")
        self.billed = True
        self.drills: Drills | None = None
        self.removed_drills: list[str] = []
        self.removing_drill: Callable[[str], None] = lambda _token: None
        self.target_instances: TargetInstances | None = None
        self.limits = TargetLimits(most_disks=5)
        self.instances: dict[str, Health] = {}
        self.images: list[str] = []
        self.in_use: set[str] = set()
        self.types = {"small"}
        self.requests: dict[str, InstanceRequest] = {}
        self.hosts: dict[str, str] = {}
        self.refusal: TargetFailed | None = None  # of the next instance
        self.no_image: TargetFailed | None = None  # while it is set no image is made
        self.stuck: TargetFailed | None = None  # while it is set nothing is released
        self.kept: TargetFailed | None = None  # while it is set no image is removed
        self.shown: dict[str, list[dict[str, Any]]] = {}  # what each instance says of its disks
        self.refused: dict[str, list[str]] = {}  # appliances that each instance refuses
        self.silent: TransferFailed | None = None  # while it is set no instance answers

    def ask(self, instance: Instance, _credential: Credential) -> list[dict[str, Any]]:
        if self.silent is not None:
            raise self.silent
        return self.shown.get(instance.token, [])

    def tell(self, instance: Instance, _credential: Credential, revoked: Sequence[str]) -> None:
        if self.silent is not None:
            raise self.silent
        self.refused[instance.token] = list(revoked)

    def offers(self, ability: str) -> bool:
        return ability in self.features

    def check(self, placement: Placement) -> None:
        if placement.instance_type and placement.instance_type not in self.types:
            raise BadInput("no such instance type is to be had", on="instance_type")

    def create_instance(self, request: InstanceRequest) -> Instance:
        if self.refusal is not None:
            raise self.refusal
        self.instances[request.token] = Health.RUNNING
        self.requests[request.token] = request
        found = self.find(request.token)
        assert found is not None
        return found

    def find(self, token: str) -> Instance | None:
        if token not in self.instances:
            return None
        disks = [CloudResource("disk", f"d-{disk.key}") for disk in self.requests[token].disks]
        health = self.instances[token]
        address = InstanceAddress(self.hosts.get(token, "127.0.0.9"))
        return Instance(f"i-{token}", INSTANCE_NAME, address, health, tuple(disks), token)

    def remove_drill(self, token: str) -> None:
        self.removed_drills.append(token)
        self.removing_drill(token)

    def describe(self) -> Sequence[Instance]:
        return [found for token in self.instances if (found := self.find(token))]

    def release(self, token: str, *, keep_disks: bool) -> None:
        if self.stuck is not None:
            raise self.stuck
        if not keep_disks:
            self.instances.pop(token, None)
        elif token in self.instances:
            self.instances[token] = Health.STOPPED

    def make_image(self, request: ImageRequest) -> StoredImage:
        if self.no_image is not None:
            raise self.no_image
        if request.name not in self.images:
            self.images.append(request.name)
        files = (f"{request.name}.{request.format}",)
        return StoredImage(request.name, f"cloud:{request.name}", files, 1, 0.0)

    def list_images(self) -> Sequence[StoredImage]:
        return [StoredImage(name, f"cloud:{name}", (), 1, 0.0) for name in self.images]

    def delete_image(self, name: str) -> None:
        if self.kept is not None:
            raise self.kept
        if name in self.in_use:
            raise TargetFailed("the image is in use", on=name)
        if name in self.images:
            self.images.remove(name)

    def close(self) -> None:
        pass


class Pending(Exception):
    """The run waits for an appliance."""


class Crash(Exception):
    """The process died between two steps."""


class Script:
    """Stands where the engine's object stands in the workflow's code: its steps are called, nothing is remembered."""

    def __init__(self, store: Store, steps: Steps, crash_after: int | None) -> None:
        self._store, self._steps, self._left = store, steps, crash_after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    raise Crash
            work = getattr(self._steps, name)
            if name in ("plan", "verdict", "settle", "give_up", "forget"):
                return work(*arguments)
            try:
                work(*arguments)
            except ConnectorError as failed:
                return failed.to_json()
            return None

        return step

    def _pass(self, run_id: str, slot: int) -> Any:
        if error := self.offer(run_id, slot):
            return {"outcome": Outcome.FAILED, "error": error}
        if (verdict := self.verdict(run_id, slot)) is None:
            raise Pending
        return verdict


class House:
    def __init__(self, url: str, folder: Path, limits: Quotas | None = None) -> None:
        self.url, self.folder, self.limits = url, folder, limits or Quotas()
        self.clock, self.cloud = MovableClock(), Cloud()
        self.signers: dict[str, Signer] = {}
        self.begin()
        self.appliance = self.enrol("a1")
        self.sources: dict[str, str] = {}

    def begin(self) -> None:
        """A process starts on this database."""
        self.store = Store(self.url, self.clock, self.limits)
        instances = JobInstances(
            self.store, self.cloud, Vault(self.folder / "key"), ask=self.cloud.ask, tell=self.cloud.tell
        )
        steps = Steps(self.store, self.cloud, instances)
        self.steps = steps
        self.service = JobService(self.store, steps, grace=GRACE)
        self.watch = ApplianceMonitor(self.store, steps, grace=GRACE)
        self.planner = Scheduler(self.store, steps)
        self.applications = ApplicationService(self.service)
        self.conductor = CohortMonitor(self.store)

    def crash(self) -> None:
        """The process dies and another one starts."""
        self.store.close()
        self.begin()

    def enrol(self, name: str, vcenter: str = VCENTER, token: str | None = None) -> Appliance:
        by = None if token is None else self.store.tokens.get(token)
        signer = new_signer()
        made = self.store.appliances.enrol(name, vcenter, "1", by, signer.public_pem)[0]
        self.signers[made.id] = signer
        return made

    def register(self, *names: str, by: Appliance | None = None) -> list[str]:
        """The whole inventory of the appliance's vCenter, now."""
        by = by or self.appliance
        bodies = [asdict(machine(f"vm-{name}", name)) | {"findings": []} for name in names]
        self.sources |= self.store.sources.put(by.vcenter, bodies, by)
        return [self.sources[f"vm-{name}"] for name in names]

    def job(self, name: str = "j", **new_job: Any) -> str:
        if name not in self.sources:
            (self.sources[name],) = self.register(*[*self._known(), name])[-1:]
        return self.service.create(NewJob(self.sources[name], f"job-{name}", **new_job)).id

    def _known(self) -> list[str]:
        return [s.machine for s in self.store.sources.all() if s.vcenter == self.appliance.vcenter]

    def incremental(self, name: str = "j", **new_job: Any) -> str:
        return self.job(name, **{"run_once": False, "frequency": 12, "max_images": 3} | new_job)

    def turn(self, crash_after: int | None = None) -> None:
        """What the active runner does in one turn; appliances that exist are heard of."""
        for appliance in self.store.appliances.all():
            self.store.appliances.beat(appliance.id)
        self.sweep(crash_after)
        self.planner.look()
        self.watch.look()
        self.conductor.look()
        self.sweep(crash_after)

    def sweep(self, crash_after: int | None = None) -> None:
        for run in self.store.runs.open():
            with suppress(Pending):
                work = RunWorkflows.rollback if run.kind == "Rollback" else RunWorkflows.run
                inspect.unwrap(work)(Script(self.store, self.steps, crash_after), run.id)  # type: ignore[arg-type]
        for job in self.store.jobs.all([JobStatus.DELETING]):
            inspect.unwrap(RunWorkflows.delete)(Script(self.store, self.steps, crash_after), job.id)  # type: ignore[arg-type]

    def take(self, by: Appliance | None = None, power_tasks: bool = False) -> Pass | None:
        return self.store.pass_queue.take(by or self.appliance, power_tasks)

    def carry(
        self, outcome: Outcome = Outcome.DONE, by: Appliance | None = None, power_tasks: bool = False
    ) -> Pass | None:
        """An appliance takes a pass, if there is one, and reports."""
        found = self.take(by, power_tasks)
        if found is not None:
            error = TargetFailed("broken").to_json() if outcome is Outcome.FAILED else None
            self.finish(found.id, by or self.appliance, outcome, error, {})
        return found

    def finish(
        self,
        pass_id: str,
        by: Appliance,
        outcome: Outcome,
        error: Json | None,
        result: Json,
        rest: float = 0.0,
    ) -> None:
        """The report of an appliance that is honest: what it calls done it has sent, and signs."""
        if outcome is Outcome.DONE:
            self.prove(pass_id, by)
        self.service.finish(pass_id, by, outcome, error, result, rest)

    def prove(self, pass_id: str, by: Appliance) -> None:
        """The bytes of a pass that reads are at its instance, and its evidence is here."""
        found = self.store.passes.owned(pass_id, by)
        if not found.task.reads or found.state is not PassState.TAKEN:
            return
        if by.id not in self.signers:
            self.signers[by.id] = new_signer()
            self.store.appliances.register_key(by.id, self.signers[by.id].public_pem)
        job = self.store.jobs.get(found.job_id)
        source = self.store.sources.get(job.source_id)
        keys = [disk.key for disk in source.disks if disk.key not in job.left_out]
        order = {"pass_id": found.id, "job_id": job.id, "moref": source.moref}
        order |= {"instance_uuid": source.instance_uuid}
        self.cloud.shown[instance_token(job.id)] = shown(found.id, keys)
        made = manifest(self.signers[by.id], order, by.vcenter, keys)
        self.service.keep_evidence(found.id, by, made)

    def run(self, job_id: str) -> Job:
        """From a run that has begun to its end."""
        for _ in range(4):
            self.turn()
            self.carry()
        self.turn()
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        return self.store.jobs.get(job_id)

    def status(self, job_id: str) -> str:
        return str(self.get(job_id).state)

    def later(self, seconds: float) -> None:
        """Time passes, and the runner looks."""
        self.clock.advance(seconds)
        self.turn()
