"""Applications: jobs whose sources are cut over together. A cohort is one such cutover, or one such way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.cohorts import Member, broken, obstacle, provable, unproved
from connector.control.domain.entities import Job, Outcome, Pass, PassState, Task
from connector.control.domain.jobs import JobEvent, JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.store import runs, tables
from connector.control.store.database import BEGINNING, Database

_JOBS: Final = tables.jobs
_RUNS: Final = tables.runs
_PASSES: Final = tables.passes

#: Where a job stands whose part in a cohort is not settled.
_UNSETTLED: Final = (JobStatus.RUNNING, JobStatus.STOPPED, JobStatus.IN_ERROR, JobStatus.EXPIRED)


@dataclass(frozen=True, slots=True)
class CohortRun:
    """A run's place in a cohort. `proved`: it was decided that everybody in it is."""

    cohort: str
    rank: int
    proved: bool = False


class ApplicationStore:
    """Which jobs belong together, and how far what they do together is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, ranks: Mapping[str, int]) -> None:
        """From now on exactly these jobs are the application; none: it is no more. `StateRefusal` while one is cut over."""
        with self._database.write() as connection:
            self._database.exclusive(connection, BEGINNING)
            touched = sa.or_(_JOBS.c.application == name, _JOBS.c.id.in_(list(ranks)))
            query = sa.select(_JOBS.c.id, _JOBS.c.name, _JOBS.c.application, _JOBS.c.status, _JOBS.c.cutover)
            for job in connection.execute(query.where(touched).with_for_update(key_share=True)).all():
                _must_be_free(job, name)
            connection.execute(
                _JOBS.update().where(_JOBS.c.application == name).values(application="", rank=0)
            )
            for job_id, rank in ranks.items():
                connection.execute(
                    _JOBS.update().where(_JOBS.c.id == job_id).values(application=name, rank=rank)
                )
                self._database.log(connection, job_id, "application", f"of application {name}, rank {rank}")

    def together_with(self, job_id: str) -> dict[str, int]:
        """The ranks of all jobs of this one's application when every one of them waits for its next run; else none."""
        mine = sa.select(_JOBS.c.application).where(_JOBS.c.id == job_id).scalar_subquery()
        query = sa.select(_JOBS.c.id, _JOBS.c.rank, _JOBS.c.status).where(
            _JOBS.c.application == mine,
            _JOBS.c.application != "",
            _JOBS.c.status.not_in((JobStatus.DELETING, JobStatus.DELETED)),
        )
        with self._database.read() as connection:
            found = connection.execute(query).all()
        return {job.id: job.rank for job in found if all(one.status == JobStatus.WAITING for one in found)}

    def moments(self, job_ids: Sequence[str]) -> list[float]:
        """When the snapshots of the last common run of all these jobs were taken; empty: their last runs were not common."""
        query = (
            sa.select(_PASSES.c.job_id, _RUNS.c.cohort, _PASSES.c.result)
            .join(_RUNS, _RUNS.c.id == _PASSES.c.run_id)
            .where(
                _PASSES.c.job_id.in_(list(job_ids)),
                _PASSES.c.task == Task.READ,
                _PASSES.c.outcome == Outcome.DONE,
            )
            .order_by(_RUNS.c.number, _PASSES.c.slot, _PASSES.c.attempt)
        )
        with self._database.read() as connection:
            last = {row.job_id: row for row in connection.execute(query)}
        cohorts = {row.cohort for row in last.values()}
        taken = [(row.result or {}).get("snapshot_taken") for row in last.values()]
        common = len(last) == len(job_ids) and len(cohorts) == 1 and None not in cohorts
        return (
            [float(moment) for moment in taken if moment is not None] if common and None not in taken else []
        )

    def members(self, cohort: str) -> list[Member]:
        """Everybody in a cohort, by rank."""
        with self._database.read() as connection:
            return members(connection, [cohort]).get(cohort, [])

    def decide(self, cohort: str) -> str:
        """If all are proved that is so from now on, and nobody can be stopped; else why all are to be taken back, if so."""
        with self._database.write() as connection:
            runs.lock_cohort(connection, cohort)
            everybody = members(connection, [cohort]).get(cohort, [])
            if provable(everybody):
                connection.execute(_RUNS.update().where(_RUNS.c.cohort == cohort).values(proved=True))
                return ""
            return broken(everybody)

    def word(self, run_id: str) -> Outcome | None:
        """What becomes of a run whose last pass is done: DONE when it may end, STOPPED, or None: it waits for its cohort."""
        with self._database.read() as connection:
            run = runs.one(connection, run_id)
        if run.cohort is None or run.proved:
            return Outcome.DONE
        return Outcome.STOPPED if run.stop else None

    def explain(self) -> None:
        """Write down, for people, whom every member that is proved waits for."""
        with self._database.read() as connection:
            query = sa.select(_RUNS.c.cohort).where(_RUNS.c.cohort.is_not(None), _RUNS.c.ended.is_(None))
            under_way = set(connection.execute(query).scalars())
            found = members(connection, under_way) if under_way else {}
        for everybody in found.values():
            for member in (member for member in everybody if member.read):
                self._mark(member.job_id, unproved(member, everybody))

    def _mark(self, job_id: str, text: str) -> None:
        with self._database.write() as connection:
            differs = sa.and_(_JOBS.c.id == job_id, _JOBS.c.waiting != text)
            connection.execute(_JOBS.update().where(differs).values(waiting=text))

    def unsettled(self) -> list[str]:
        """The cutovers that are the newest thing that a job took part in, where that job has not finished."""
        newest = (
            sa.select(_RUNS.c.job_id, sa.func.max(_RUNS.c.number).label("number"))
            .group_by(_RUNS.c.job_id)
            .subquery()
        )
        query = (
            sa.select(_RUNS.c.cohort)
            .join(newest, sa.and_(newest.c.job_id == _RUNS.c.job_id, newest.c.number == _RUNS.c.number))
            .join(_JOBS, _JOBS.c.id == _RUNS.c.job_id)
            .where(
                _RUNS.c.cohort.is_not(None),
                _RUNS.c.kind != runs.ROLLBACK,
                _JOBS.c.status.in_(_UNSETTLED),
                _JOBS.c.cutover,
            )
            .distinct()
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())


def members(connection: sa.Connection, cohorts: Iterable[str]) -> dict[str, list[Member]]:
    """Everybody in these cohorts, by rank; what several runs of a job did in one is its part."""
    parts = connection.execute(
        sa.select(_RUNS, _JOBS.c.name, _JOBS.c.down_since, _JOBS.c.shutdown_deadline)
        .join(_JOBS, _JOBS.c.id == _RUNS.c.job_id)
        .where(_RUNS.c.cohort.in_(list(cohorts)))
        .order_by(_RUNS.c.rank, _RUNS.c.job_id, _RUNS.c.number)
    ).all()
    tasks: dict[str, dict[Task, Outcome | None]] = {}
    query = sa.select(_PASSES.c.run_id, _PASSES.c.task, _PASSES.c.outcome).where(
        _PASSES.c.run_id.in_([part.id for part in parts]), _PASSES.c.state != PassState.LOST
    )
    for row in connection.execute(query):
        tasks.setdefault(row.run_id, {})[Task(row.task)] = Outcome(row.outcome) if row.outcome else None
    found: dict[str, dict[str, Member]] = {}
    for part in parts:
        before = found.setdefault(part.cohort, {}).get(part.job_id)
        found[part.cohort][part.job_id] = Member(
            part.job_id,
            part.name,
            part.rank,
            ended=part.ended,
            tasks={**(before.tasks if before else {}), **tasks.get(part.id, {})},
            down_since=part.down_since,
            deadline=part.shutdown_deadline,
            run_id=part.id,
            stopping=part.stop,
            proved=part.proved,
            failed=bool(part.error),
            trouble=f"failed ({part.error['what']})" if part.error else "was stopped",
        )
    return {cohort: list(jobs.values()) for cohort, jobs in found.items()}


def obstacles(connection: sa.Connection, offered: Sequence[Pass]) -> dict[str, str]:
    """What each offered pass of a member of a cohort waits for; only of those that must wait."""
    query = sa.select(_RUNS.c.id, _RUNS.c.cohort).where(
        _RUNS.c.id.in_([found.run_id for found in offered]), _RUNS.c.cohort.is_not(None)
    )
    cohorts = {row.id: row.cohort for row in connection.execute(query)}
    if not cohorts:
        return {}
    known = members(connection, set(cohorts.values()))
    why = {}
    for found in offered:
        everybody = known.get(cohorts.get(found.run_id, ""), [])
        for member in everybody:
            if member.job_id == found.job_id and (text := obstacle(found.task, member, everybody)):
                why[found.id] = text
    return why


def place(connection: sa.Connection, job: Job, event: JobEvent) -> CohortRun | None:
    """The part in a cohort that a run of this job alone goes on with. `StateRefusal` for what is done only together."""
    if job.application and event in (JobEvent.CUTOVER, JobEvent.CLOSE, JobEvent.ROLLBACK):
        what = "taken back" if event is JobEvent.ROLLBACK else "cut over"
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            f"its application {job.application} is {what} as a whole",
            on=job.name,
            remedy=f"{'roll back' if event is JobEvent.ROLLBACK else 'cut over'} the application, or take the job out of it",
        )
    if event is not JobEvent.START or not job.cutover:
        return None
    newest = runs.newest(connection, job.id)
    if newest is None or newest.cohort is None:
        return None
    if not newest.proved:
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            "its application is taken back: not all of its machines were proved",
            on=job.name,
            remedy="wait until the job is Stopped; if a machine could not be powered on, roll the application back again",
        )
    return CohortRun(newest.cohort, newest.rank, proved=True)


def _must_be_free(job: Any, name: str) -> None:
    if job.application not in ("", name):
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            f"it belongs to the application {job.application}",
            on=job.name,
            remedy="take it out of that one first",
        )
    if job.status == JobStatus.RUNNING and job.cutover:
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            "it is being cut over",
            on=job.name,
            remedy="wait until it has ended",
        )
