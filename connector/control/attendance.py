"""Instances under running passes: one that was released, stopped or moved is noticed, told, and followed (R35, R55, R57)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from connector.cloud.provider import Health, Instance
from connector.control.background import Aside, Foreground
from connector.control.jobs import SYNCING
from connector.control.ledger import instance_token
from connector.control.released import Released, Stopped
from connector.control.steps import Steps
from connector.control.store import Store
from connector.control.store.rows import Run
from connector.errors import ConnectorError, TargetFailed

_LOG: Final = logging.getLogger(__name__)


class Attendance:
    """Thread-safe. What takes time is done aside."""

    def __init__(self, store: Store, steps: Steps, aside: Aside | None = None) -> None:
        self._store = store
        self._steps = steps
        self._aside = aside or Foreground()

    def look(self) -> None:
        """At the instance of every run that has a pass under way."""
        runs = [run for run in self._store.runs.open() if self._is_reading(run)]
        if not runs:
            return
        instances = self._steps.instances()
        for run in runs:
            self._attend(run, instances)

    def displaced(self, run_id: str) -> bool:
        """Whether a pass of this run that could not reach its instance may reach it soon: then it is offered again."""
        run = self._store.runs.get(run_id)
        if not self._is_reading(run):
            return False
        try:
            found = self._steps.find(run.job_id)
        except ConnectorError:
            return False
        if found is None:
            return False
        if found.health is not Health.RUNNING:
            return self._offer_again(run, "its instance is not running")
        return self._follow(run, found)

    def _is_reading(self, run: Run) -> bool:
        return bool(run.plan) and self._store.jobs.get(run.job_id).state == SYNCING

    def _attend(self, run: Run, instances: Mapping[str, Instance]) -> None:
        """A list may lag behind: before anything is concluded from it, the instance itself is asked for."""
        found = instances.get(instance_token(run.job_id)) or self._steps.find(run.job_id)
        if found is None:
            if self._steps.was_created(run.job_id):
                self._store.passes.fail(run.id, Released(on=run.job_id).to_json())
        elif found.health is Health.RUNNING:
            self._follow(run, found)
            self._outlaw(run, found)
        else:
            self._aside.once(f"instance of {run.job_id}", lambda: self._revive(run))

    def _outlaw(self, run: Run, found: Instance) -> None:
        """Whom it refuses is told again until it has heard."""
        try:
            self._steps.outlaw(run.job_id, found)
        except ConnectorError as failed:
            _LOG.warning("%s", failed)

    def _revive(self, run: Run) -> None:
        """Start it again; when that is impossible the pass fails and says why."""
        try:
            found = self._steps.ensure(run.job_id, (SYNCING,))
        except TargetFailed as failed:
            if failed.retryable:
                raise
            told = failed if isinstance(failed, Released) else Stopped(failed, on=run.job_id)
            self._store.passes.fail(run.id, told.to_json())
            return
        if found is not None:
            self._store.jobs.note(run.job_id, Stopped.code, "the intermediate instance was started again")
            self._follow(run, found)

    def _follow(self, run: Run, found: Instance) -> bool:
        """Remember a new address, and give the pass to whoever reads it from there; False when it is the old one."""
        known = self._store.jobs.get(run.job_id).instance
        if not found.address.host or found.address == known:
            return False
        self._store.jobs.relocate(run.job_id, asdict(found.address))
        text = f"the intermediate instance is now reached at {found.address.host}"
        self._store.jobs.note(run.job_id, "instance", text)
        return self._offer_again(run, "its instance has another address")

    def _offer_again(self, run: Run, why: str) -> bool:
        self._store.passes.lose(lambda found: found.run_id == run.id, why)
        return True
