"""Monitors of the active runner look for silent appliances, and for instances that were released, stopped or moved.

The monitor of cohorts is in `service/applications.py`, because it uses operations on jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

from connector.clients.heartbeat import SILENCE
from connector.cloud.provider import Health, Instance
from connector.control.domain.entities import Run
from connector.control.domain.jobs import SYNCING
from connector.control.domain.refusals import InstanceReleased, InstanceStopped
from connector.control.engine.background import BackgroundWork, Foreground
from connector.control.engine.steps import Steps
from connector.control.store import Store
from connector.control.store.provider_ledger import instance_token
from connector.errors import ConnectorError, TargetFailed

_LOG: Final = logging.getLogger(__name__)


class InstanceMonitor:
    """Looks at the instances of running passes. Slow work is done in the background. Thread-safe."""

    def __init__(self, store: Store, steps: Steps, background: BackgroundWork | None = None) -> None:
        self._store = store
        self._steps = steps
        self._background = background or Foreground()

    def look(self) -> None:
        """Look at the instance of every run that has a pass under way."""
        runs = [run for run in self._store.runs.open() if self._is_reading(run)]
        if not runs:
            return
        instances = self._steps.instances.all()
        for run in runs:
            self._attend(run, instances)

    def offer_displaced(self, run_id: str) -> bool:
        """Offer a pass again that could not reach its instance, if it may reach it soon; answer whether it is offered."""
        run = self._store.runs.get(run_id)
        if not self._is_reading(run):
            return False
        try:
            instance = self._steps.instances.find(run.job_id)
        except ConnectorError:
            return False
        if instance is None:
            return False
        if instance.health is not Health.RUNNING:
            return self._offer_again(run, "its instance is not running")
        return self._follow(run, instance)

    def _is_reading(self, run: Run) -> bool:
        return bool(run.plan) and self._store.jobs.get(run.job_id).state == SYNCING

    def _attend(self, run: Run, instances: Mapping[str, Instance]) -> None:
        """Look at one instance. The provider's list may lag behind, so a missing instance is looked up by itself."""
        instance = instances.get(instance_token(run.job_id)) or self._steps.instances.find(run.job_id)
        if instance is None:
            if self._steps.instances.was_created(run.job_id):
                self._store.pass_ends.fail(run.id, InstanceReleased(on=run.job_id).to_json())
        elif instance.health is Health.RUNNING:
            self._follow(run, instance)
            self._tell_revoked(run, instance)
        else:
            self._background.once(f"instance of {run.job_id}", lambda: self._revive(run))

    def _tell_revoked(self, run: Run, instance: Instance) -> None:
        """Tell the instance which appliances are revoked; a failure is repeated at the next look."""
        try:
            self._steps.instances.tell_revoked(run.job_id, instance)
        except ConnectorError as failed:
            _LOG.warning("%s", failed)

    def _revive(self, run: Run) -> None:
        """Start the instance again. If that is impossible, the pass fails and says why."""
        try:
            instance = self._steps.instances.ensure(run.job_id, (SYNCING,))
        except TargetFailed as failed:
            if failed.retryable:
                raise
            shown_error = (
                failed if isinstance(failed, InstanceReleased) else InstanceStopped(failed, on=run.job_id)
            )
            self._store.pass_ends.fail(run.id, shown_error.to_json())
            return
        if instance is not None:
            self._store.jobs.note(
                run.job_id, InstanceStopped.code, "the intermediate instance was started again"
            )
            self._follow(run, instance)

    def _follow(self, run: Run, instance: Instance) -> bool:
        """Record a new address and offer the pass again. Answer False if the address is the old one."""
        address = self._store.jobs.get(run.job_id).instance
        if not instance.address.host or instance.address == address:
            return False
        self._store.jobs.relocate(run.job_id, asdict(instance.address))
        text = f"the intermediate instance is now reached at {instance.address.host}"
        self._store.jobs.note(run.job_id, "instance", text)
        return self._offer_again(run, "its instance has another address")

    def _offer_again(self, run: Run, why: str) -> bool:
        self._store.pass_ends.lose(lambda attempt: attempt.run_id == run.id, why)
        return True


class ApplianceMonitor:
    """Takes the passes of an appliance that is silent for `grace` seconds. Only the active runner looks.

    Silence counts from our first look at the earliest: before it, no heartbeat could arrive.
    """

    def __init__(
        self,
        store: Store,
        steps: Steps,
        background: BackgroundWork | None = None,
        *,
        grace: float = SILENCE,
        ticks: Callable[[], float] | None = None,
    ) -> None:
        """`ticks`: seconds of a monotonic clock; they show that the system clock was set."""
        self._store = store
        self._instance_monitor = InstanceMonitor(store, steps, background)
        self._grace = grace
        self._since: float | None = None
        self._ticks = ticks
        self._seen: tuple[float, float] | None = None  # our clock and the ticks at the last look

    def _was_set(self, now: float) -> bool:
        """Whether the clock has jumped since the last look. Then silence is counted from now."""
        before, ticks = self._seen, now if self._ticks is None else self._ticks()
        self._seen = (now, ticks)
        if before is None:
            return False
        jumped = (now - before[0]) - (ticks - before[1])
        if abs(jumped) < self._grace / 2 and now >= before[0]:
            return False
        _LOG.warning("the clock of this machine was set by %.0f s: silence is counted from now", jumped)
        return True

    def look(self) -> None:
        """Look at all appliances and instances once."""
        now = self._store.now()
        if self._since is None or self._was_set(now):
            self._since = now
        young = now - self._since < self._grace
        alive = self._store.appliances.alive(float("inf") if young else self._grace)
        ids = {appliance.id for appliance in alive}
        online = {appliance.vcenter for appliance in alive}
        self._store.pass_ends.lose(lambda p: p.appliance_id not in ids, "its appliance fell silent")
        self._store.sources.set_online(online)
        self._store.pass_queue.explain(online)
        self._instance_monitor.look()
