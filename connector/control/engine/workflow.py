"""A run is a durable workflow: if it is killed, it resumes at the first step that has not finished.

Only this module uses DBOS, the engine. Steps answer values and raise no exceptions: an error is a JSON object, so a
replay takes the same branch. No argument or answer is secret, because the engine stores both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar

from dbos import DBOS, DBOSConfig, DBOSConfiguredInstance, SetWorkflowID
from dbos import error as engine_errors

from connector import log_context
from connector.backoff import STEP, retrying
from connector.control.domain.entities import Json, Outcome
from connector.control.domain.jobs import JobStatus
from connector.control.engine import rows
from connector.control.engine.steps import Steps
from connector.control.store import Store
from connector.control.store.runs import ROLLBACK
from connector.errors import ConnectorError, ControlFailed, StateRestored

_LOG: Final = logging.getLogger(__name__)

#: Pinned for ever: another version would strand all runs under way. Changes are guarded with `DBOS.patch`.
APPLICATION_VERSION: Final = "engine-1"
EXECUTOR: Final = "control"

#: A message wakes the workflow; this only bounds the delay when a message is lost.
RECHECK: Final = 1800.0

#: Seconds between two looks whether a restored state was confirmed.
HELD: Final = 2.0

#: A pass may take weeks, and each restart of the control plane counts as an attempt: the engine must never give up.
_RESTARTS: Final = 10**9
_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
P = ParamSpec("P")
R = TypeVar("R")


def _patient(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A step that has no other way to end: it is tried until the database answers, and `forget` until the cloud does too."""
    return DBOS.step(
        name=name, retries_allowed=True, interval_seconds=2.0, backoff_rate=1.0, max_attempts=10**6
    )


def _topic(slot: int) -> str:
    return f"slot-{slot}"


def _attempt(step: str, run_id: str, work: Callable[[], None]) -> Json | None:
    """Do a step's work; answer None or the error. Retryable errors are tried again; a held state is waited for."""
    with log_context.log_context(run=run_id):
        return _attempted(step, run_id, work)


def _attempted(step: str, run_id: str, work: Callable[[], None]) -> Json | None:
    try:
        while True:
            try:
                for attempt in retrying(STEP, _passing, attempts=8):
                    with attempt:
                        work()
            except StateRestored as held:
                _LOG.warning("%s of %s waits: %s", step, run_id, held)
                time.sleep(HELD)
            else:
                break
    except ConnectorError as failed:
        _LOG.warning("%s of %s failed: %s", step, run_id, failed)
        return failed.to_json()
    except Exception:  # noqa: BLE001 - outermost handler of a step: the run must end in a state that a person sees
        _LOG.exception("%s of %s failed unexpectedly", step, run_id)
        return ControlFailed(
            f"unexpected failure during {step}",
            on=run_id,
            remedy="read the control plane's log",
            retryable=False,
        ).to_json()
    return None


def _passing(error: Exception) -> bool:
    return isinstance(error, ConnectorError) and error.retryable


@DBOS.dbos_class("Runs")
class RunWorkflows(DBOSConfiguredInstance):
    """The workflows and their steps. There is one instance, named "runs"; the engine finds it by name when it recovers."""

    def __init__(self, steps: Steps) -> None:
        super().__init__("runs")
        self._steps = steps

    @DBOS.workflow(name="run", max_recovery_attempts=_RESTARTS)
    def run(self, run_id: str) -> str:
        """Prepare, every pass, image, clean, settle."""
        error = self.prepare(run_id)
        stopped = False
        for slot in range(self.plan(run_id) if error is None else 0):
            verdict = self._pass(run_id, slot)
            error, stopped = verdict["error"], verdict["outcome"] == Outcome.STOPPED
            if error or stopped:
                break
        if not stopped:
            error = error or self.image(run_id)
        if error or stopped:
            self.give_up(run_id, error)
            self.park(run_id)
            return "stopped" if stopped else "failed"
        self.clean(run_id)  # the image exists: what cannot be released now does not change how the run ends
        self.settle(run_id)
        return "done"

    @DBOS.workflow(name="rollback", max_recovery_attempts=_RESTARTS)
    def rollback(self, run_id: str) -> str:
        """Let an appliance give the source its state back; then the job is Stopped."""
        if error := self._pass(run_id, 0)["error"]:
            self.give_up(run_id, error)
            return "failed"
        self.settle(run_id)
        return "done"

    def _pass(self, run_id: str, slot: int) -> Json:
        if error := self.offer(run_id, slot):
            return {"outcome": Outcome.FAILED, "error": error}
        while (verdict := self.verdict(run_id, slot)) is None:
            self._rest(run_id, slot)
        return verdict

    @staticmethod
    def _rest(run_id: str, slot: int) -> None:
        """Wait until a message says that there is something to look at. An unreadable message says so too."""
        try:
            DBOS.recv(_topic(slot), timeout_seconds=RECHECK)
        except rows.UNREADABLE as refused:
            _LOG.error("a message for run %s is not ours and was not read: %s", run_id, refused)
            time.sleep(1.0)  # the next sweep drops it

    @DBOS.workflow(name="delete", max_recovery_attempts=_RESTARTS)
    def delete(self, job_id: str) -> str:
        """Release everything of a job that is Deleting."""
        self.forget(job_id)
        return "deleted"

    @DBOS.step(name="prepare")
    def prepare(self, run_id: str) -> Json | None:
        return _attempt("prepare", run_id, lambda: self._steps.prepare(run_id))

    @_patient("plan")
    def plan(self, run_id: str) -> int:
        return self._steps.plan(run_id)

    @DBOS.step(name="offer")
    def offer(self, run_id: str, slot: int) -> Json | None:
        return _attempt("offer", run_id, lambda: self._steps.offer(run_id, slot))

    @_patient("verdict")
    def verdict(self, run_id: str, slot: int) -> Json | None:
        return self._steps.verdict(run_id, slot)

    @DBOS.step(name="image")
    def image(self, run_id: str) -> Json | None:
        return _attempt("image", run_id, lambda: self._steps.image(run_id))

    @DBOS.step(name="clean")
    def clean(self, run_id: str) -> Json | None:
        return _attempt("clean", run_id, lambda: self._steps.clean(run_id))

    @_patient("settle")
    def settle(self, run_id: str) -> None:
        self._steps.settle(run_id)

    @_patient("give_up")
    def give_up(self, run_id: str, error: Json | None) -> None:
        self._steps.give_up(run_id, error)

    @DBOS.step(name="park")
    def park(self, run_id: str) -> Json | None:
        return _attempt("park", run_id, lambda: self._steps.park(run_id))

    @_patient("forget")
    def forget(self, job_id: str) -> None:
        self._steps.forget(job_id)


class DbosEngine:
    """DBOS on this database. The caller has the active runner's lock. Only one thread uses it."""

    def __init__(
        self, store: Store, steps: Steps, url: str, swept: Callable[[], None] = lambda: None
    ) -> None:
        """`swept` is called after each sweep."""
        self._store = store
        self._swept = swept
        self._begun: set[str] = set()  # workflows that this process knows to exist
        self._told: set[str] = set()  # passes whose end was announced
        self._freed: set[str] = set()  # runs that were told what became of their cohort
        rows.refuse_pickles()
        rows.drop_foreign(url)
        self._foreign_messages = rows.ForeignMessages(url)
        config: DBOSConfig = {
            "name": "connector",
            "system_database_url": url,
            "executor_id": EXECUTOR,
            "application_version": APPLICATION_VERSION,
            "serializer": rows.SERIALIZER,
            "log_level": "WARNING",
            "notification_listener_polling_interval_sec": 0.2,
        }
        DBOS(config=config)
        self._runs = RunWorkflows(steps)

    def launch(self) -> None:
        """Resume the workflows under way, and start those that had not begun.

        The engine's rows of ended workflows are dropped first. If one of them broke before its run had ended,
        the run begins again, and each step finds what exists.
        """
        DBOS.launch()
        over = DBOS.list_workflows(status=_ENDED, load_input=False, load_output=False)
        if over:
            DBOS.delete_workflows([workflow.workflow_id for workflow in over])
        self.sweep()

    def sweep(self) -> None:
        """Begin the workflows that the store asks for, and tell runs which passes have ended."""
        self._foreign_messages.drop()
        open_runs = self._store.runs.open()
        workflows: dict[str, Callable[[], object]] = {
            run.id: partial(
                DBOS.start_workflow,
                self._runs.rollback if run.kind == ROLLBACK else self._runs.run,
                run.id,
            )
            for run in open_runs
        }
        for job in self._store.jobs.all([JobStatus.DELETING]):
            workflows[f"delete-{job.id}"] = partial(DBOS.start_workflow, self._runs.delete, job.id)
        self._begun &= set(workflows)
        for name, begin in workflows.items():
            if name not in self._begun:
                with SetWorkflowID(name):  # a workflow id runs only once: a second begin is harmless
                    begin()
                self._begun.add(name)
        passes = self._store.passes.ended()
        self._told &= {attempt.id for attempt in passes}
        for attempt in passes:
            if attempt.id not in self._told:
                self._wake(attempt.run_id, attempt.slot, f"ended-{attempt.id}")
                self._told.add(attempt.id)
        decided = {run.id: run for run in open_runs if run.cohort and (run.proved or run.stop)}
        for run in (run for run in decided.values() if run.id not in self._freed):
            self._wake(run.id, len(run.plan) - 1, f"{'proved' if run.proved else 'stopped'}-{run.id}")
        self._freed = set(decided)
        self._swept()

    def _wake(self, run_id: str, slot: int, why: str) -> None:
        """Let a run look at the pass that it waits for. It is harmless to repeat it, or to wake a run that is over."""
        try:
            DBOS.send(run_id, why, topic=_topic(slot), idempotency_key=why)
        except engine_errors.DBOSNonExistentWorkflowError:
            _LOG.info("run %s has not begun; it will look by itself", run_id)

    def close(self) -> None:
        """Stop the engine without waiting. Workflows under way resume at the next launch."""
        DBOS.destroy(workflow_completion_timeout_sec=0)
        self._foreign_messages.close()
