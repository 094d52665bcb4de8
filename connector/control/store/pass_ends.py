"""Ends of passes: reported once, stopped, failed or lost. A lost pass gets a new attempt with a new id, so its former
appliance can report nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from connector.control.domain.entities import (
    Appliance,
    Json,
    Outcome,
    Pass,
    PassState,
)
from connector.control.domain.jobs import SYNCING, JobEvent, JobState, follow
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.store import runs, tables
from connector.control.store.database import Database
from connector.control.store.pass_rows import (
    by_id,
    end,
    in_state,
    locked,
    owned_by,
    renew,
)
from connector.errors import Conflict

_PASSES: Final = tables.passes
_RUNS: Final = tables.runs
_JOBS: Final = tables.jobs

#: A pass is given up after so many attempts that ended without a report. Those that were given back do not count.
ATTEMPTS: Final = 20


class PassEnds:
    """What ends a pass, or keeps its progress until then."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def progress(
        self, pass_id: str, appliance: Appliance, phase: str, disks: Sequence[Json], free: float | None = None
    ) -> None:
        """Keep the latest progress. A report after the pass's end is dropped."""
        with self._database.write(counted=False) as connection:
            attempt = owned_by(connection, pass_id, appliance)
            if attempt.state is PassState.TAKEN:
                is_taken = sa.and_(_PASSES.c.id == pass_id, _PASSES.c.state == PassState.TAKEN)
                values: Json = {"phase": phase, "disks": list(disks), "free": free}
                connection.execute(_PASSES.update().where(is_taken).values(**values))

    def finish(
        self,
        pass_id: str,
        appliance: Appliance,
        outcome: Outcome,
        error: Json | None,
        result: Json,
        rest: float = 0.0,
    ) -> Pass:
        """End a pass. The same report again is harmless; a different one raises `Conflict`.

        A pass that stops without having been asked to was given back: it is offered again after `rest` seconds, and
        `error` says why.
        """
        with self._database.write() as connection:
            attempt = _locked(connection, pass_id)
            if outcome is Outcome.STOPPED and _was_given_back(attempt, appliance):
                return attempt
            attempt = owned_by(connection, pass_id, appliance)
            if attempt.state is PassState.FINISHED:
                if attempt.outcome is not outcome:
                    raise Conflict(
                        f"this pass has ended as {attempt.outcome}",
                        on=pass_id,
                        remedy="ask for the next order: the pass is offered again when it is needed",
                    )
                return attempt
            stop_asked = runs.one(connection, attempt.run_id).stop
            if outcome is Outcome.STOPPED and not stop_asked:
                reason = str((error or {}).get("what", ""))
                by = f"given back by the appliance {appliance.name}"
                self._log(connection, attempt, f"{by}: {reason}" if reason else by)
                renew(self._database, connection, attempt, error or _given_back(attempt), rest, reason)
                return by_id(connection, pass_id)
            was_asked = outcome is Outcome.STOPPED
            return end(self._database, connection, pass_id, outcome, None if was_asked else error, result)

    def fail(self, run_id: str, error: Json) -> None:
        """End all open passes of this run as failed, even if an appliance has them."""
        live = sa.and_(_PASSES.c.run_id == run_id, _PASSES.c.state.in_((PassState.OFFERED, PassState.TAKEN)))
        with self._database.write() as connection:
            query = sa.select(_PASSES).where(live).order_by(_PASSES.c.id)
            for row in connection.execute(query.with_for_update(key_share=True)).all():
                end(self._database, connection, row.id, Outcome.FAILED, error, {})

    def stop(self, job_id: str) -> Pass | None:
        """Ask the job's open run to stop. A pass that nobody has taken ends at once and is answered."""
        with self._database.write() as connection:
            job = connection.execute(
                sa.select(tables.jobs).where(tables.jobs.c.id == job_id).with_for_update(key_share=True)
            ).one()
            follow(JobState(job.status, job.business), JobEvent.STOP, job_id)
            run = connection.execute(
                sa.select(_RUNS)
                .where(_RUNS.c.job_id == job_id, _RUNS.c.ended.is_(None))
                .with_for_update(key_share=True)
            ).one()
            if run.proved:
                raise StateRefusal(
                    RefusalCode.JOB_STATUS,
                    "all machines of its application are proved, and it ends in a moment",
                    on=job.name,
                    remedy="wait until it is Finished; then the application can be rolled back",
                )
            connection.execute(_RUNS.update().where(_RUNS.c.id == run.id).values(stop=True))
            if not run.stop:
                self._database.log(connection, job_id, "stop", "stop requested")
            waiting = connection.execute(
                sa.select(_PASSES.c.id)
                .where(_PASSES.c.run_id == run.id, _PASSES.c.state == PassState.OFFERED)
                .with_for_update(key_share=True)
            ).scalar_one_or_none()
            return (
                None
                if waiting is None
                else end(self._database, connection, waiting, Outcome.STOPPED, None, {})
            )

    def lose(self, is_lost: Callable[[Pass], bool], why: str) -> list[Pass]:
        """Give up every taken pass for which `is_lost` is true, and offer it again. Answer those that ended instead."""
        ended: list[Pass] = []
        with self._database.read() as connection:
            lost = [attempt.id for attempt in in_state(connection, PassState.TAKEN) if is_lost(attempt)]
        if not lost:
            return []
        with self._database.write() as connection:
            for attempt in locked(connection, lost):
                if attempt.state is not PassState.TAKEN or not is_lost(attempt):
                    continue
                if (end := self._replace(connection, attempt, why)) is not None:
                    ended.append(end)
        return ended

    def _replace(self, connection: sa.Connection, attempt: Pass, why: str) -> Pass | None:
        run = runs.one(connection, attempt.run_id)
        where = f"at the appliance {_name(connection, attempt.appliance_id)}"
        lost = self._lost(connection, attempt) + 1
        if not run.stop and lost < ATTEMPTS:
            self._log(connection, attempt, f"ended without a report {where}: {why}; it is offered again")
            renew(self._database, connection, attempt)
            return None
        self._log(connection, attempt, f"ended without a report {where}: {why}")
        outcome = Outcome.STOPPED if run.stop else Outcome.FAILED
        error = {
            "error": "ControlFailed",
            "what": f"{lost} attempts at this pass ended without a report, the last one {where}: {why}",
            "on": attempt.job_id,
            "remedy": "read the job's log and the appliances' logs, then start the job again",
            "retryable": False,
        }
        return end(self._database, connection, attempt.id, outcome, None if run.stop else error, {})

    def _lost(self, connection: sa.Connection, attempt: Pass) -> int:
        """How many attempts at this pass ended without a report. Those that were given back do not count: they have an error."""
        slot_passes = sa.and_(_PASSES.c.run_id == attempt.run_id, _PASSES.c.slot == attempt.slot)
        silent = sa.and_(_PASSES.c.state == PassState.LOST, _PASSES.c.error.is_(None))
        return connection.execute(
            sa.select(sa.func.count()).select_from(_PASSES).where(slot_passes, silent)
        ).scalar_one()

    def _log(self, connection: sa.Connection, attempt: Pass, why: str) -> None:
        self._database.log(connection, attempt.job_id, "lost", f"pass {attempt.id}: {why}")


def stoppable(state: JobState) -> bool:
    """Whether STOP asks a running pass to stop, instead of changing the state at once."""
    return state == SYNCING


def _locked(connection: sa.Connection, pass_id: str) -> Pass:
    """One pass, locked with its run and its job. Raises NotFound."""
    return next(iter(locked(connection, [pass_id])), None) or by_id(connection, pass_id)


def _was_given_back(attempt: Pass, appliance: Appliance) -> bool:
    return attempt.state is PassState.LOST and attempt.appliance_id == appliance.id


def _given_back(attempt: Pass) -> Json:
    """The error of a pass that was given back without a reason. Without it the pass would count as lost."""
    what = "given back by its appliance"
    return {"error": "Interrupted", "what": what, "on": attempt.job_id, "remedy": "", "retryable": True}


def _name(connection: sa.Connection, appliance_id: str | None) -> str:
    query = sa.select(tables.appliances.c.name).where(tables.appliances.c.id == appliance_id)
    return str(connection.execute(query).scalar_one_or_none() or appliance_id)
