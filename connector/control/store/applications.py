"""The jobs of an application are cut over together. A cohort is one such cutover, rollback or set of ordinary runs."""

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

#: Statuses of a job whose part in a cohort is not settled.
_UNSETTLED: Final = (JobStatus.RUNNING, JobStatus.STOPPED, JobStatus.IN_ERROR, JobStatus.EXPIRED)


@dataclass(frozen=True, slots=True)
class CohortRun:
    """A run's place in a cohort. `proved`: it was decided that all members are proved."""

    cohort: str
    rank: int
    proved: bool = False


class ApplicationStore:
    """Which jobs belong together, and how far their common runs are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, ranks: Mapping[str, int]) -> None:
        """Make exactly these jobs the application; no jobs: the application ends. Raises `StateRefusal` during a cutover."""
        with self._database.write() as connection:
            self._database.exclusive(connection, BEGINNING)
            touched = sa.or_(_JOBS.c.application == name, _JOBS.c.id.in_(list(ranks)))
            query = sa.select(_JOBS.c.id, _JOBS.c.name, _JOBS.c.application, _JOBS.c.status, _JOBS.c.cutover)
            for job in connection.execute(
                query.where(touched).order_by(_JOBS.c.id).with_for_update(key_share=True)
            ).all():
                _must_be_free(job, name)
            connection.execute(
                _JOBS.update().where(_JOBS.c.application == name).values(application="", rank=0)
            )
            for job_id, rank in ranks.items():
                connection.execute(
                    _JOBS.update().where(_JOBS.c.id == job_id).values(application=name, rank=rank)
                )
                self._database.log(
                    connection, job_id, "application", f"belongs to application {name}, rank {rank}"
                )

    def together_with(self, job_id: str) -> dict[str, int]:
        """The ranks of all jobs of this job's application if each of them waits for its next run; else empty."""
        application = sa.select(_JOBS.c.application).where(_JOBS.c.id == job_id).scalar_subquery()
        query = sa.select(_JOBS.c.id, _JOBS.c.rank, _JOBS.c.status).where(
            _JOBS.c.application == application,
            _JOBS.c.application != "",
            _JOBS.c.status.not_in((JobStatus.DELETING, JobStatus.DELETED)),
        )
        with self._database.read() as connection:
            jobs = connection.execute(query).all()
        return {job.id: job.rank for job in jobs if all(other.status == JobStatus.WAITING for other in jobs)}

    def moments(self, job_ids: Sequence[str]) -> list[float]:
        """When the snapshots of these jobs' last common run were taken; empty if their last runs were not common."""
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
        snapshots = [(row.result or {}).get("snapshot_taken") for row in last.values()]
        common = len(last) == len(job_ids) and len(cohorts) == 1 and None not in cohorts
        return (
            [float(moment) for moment in snapshots if moment is not None]
            if common and None not in snapshots
            else []
        )

    def members(self, cohort: str) -> list[Member]:
        """The members of a cohort, by rank."""
        with self._database.read() as connection:
            return members(connection, [cohort]).get(cohort, [])

    def decide(self, cohort: str) -> str:
        """Decide that all members are proved, if they are; none can be stopped then. Else answer why all must be rolled back."""
        everybody = self.members(cohort)
        if not provable(everybody):
            return broken(everybody)
        with self._database.write() as connection:
            runs.lock_cohort(connection, cohort)
            everybody = members(connection, [cohort]).get(cohort, [])
            if provable(everybody):
                connection.execute(_RUNS.update().where(_RUNS.c.cohort == cohort).values(proved=True))
                return ""
            return broken(everybody)

    def final_outcome(self, run_id: str) -> Outcome | None:
        """The outcome of a run whose last pass is done: DONE or STOPPED; None while it waits for its cohort."""
        with self._database.read() as connection:
            run = runs.one(connection, run_id)
        if run.cohort is None or run.proved:
            return Outcome.DONE
        return Outcome.STOPPED if run.stop else None

    def explain(self) -> None:
        """Write into each proved member's job what it waits for."""
        with self._database.read() as connection:
            query = sa.select(_RUNS.c.cohort).where(_RUNS.c.cohort.is_not(None), _RUNS.c.ended.is_(None))
            under_way = set(connection.execute(query).scalars())
            cohorts = members(connection, under_way) if under_way else {}
            texts = {
                member.job_id: unproved(member, everybody)
                for everybody in cohorts.values()
                for member in everybody
                if member.read
            }
            query = sa.select(_JOBS.c.id, _JOBS.c.waiting).where(_JOBS.c.id.in_(texts))
            shown = {row.id: row.waiting for row in connection.execute(query)} if texts else {}
        for job_id in (job_id for job_id, text in texts.items() if shown.get(job_id) != text):
            with self._database.write(counted=False) as connection:
                own = _JOBS.c.id == job_id
                connection.execute(_JOBS.update().where(own).values(waiting=texts[job_id]))

    def unsettled(self) -> list[str]:
        """The cohorts of cutovers that are the newest run of a job that has not finished."""
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
    """The members of these cohorts, by rank. Several runs of a job in one cohort are one member."""
    parts = connection.execute(
        sa.select(
            _RUNS,
            _JOBS.c.name,
            _JOBS.c.down_since,
            _JOBS.c.shutdown_deadline,
            tables.sources.c.error_code,
        )
        .join(_JOBS, _JOBS.c.id == _RUNS.c.job_id)
        .join(tables.sources, tables.sources.c.id == _JOBS.c.source_id)
        .where(_RUNS.c.cohort.in_(list(cohorts)))
        .order_by(_RUNS.c.rank, _RUNS.c.job_id, _RUNS.c.number)
    ).all()
    tasks: dict[str, dict[Task, Outcome | None]] = {}
    query = sa.select(_PASSES.c.run_id, _PASSES.c.task, _PASSES.c.outcome).where(
        _PASSES.c.run_id.in_([part.id for part in parts]), _PASSES.c.state != PassState.LOST
    )
    for row in connection.execute(query):
        tasks.setdefault(row.run_id, {})[Task(row.task)] = Outcome(row.outcome) if row.outcome else None
    by_job: dict[str, dict[str, Member]] = {}
    for part in parts:
        before = by_job.setdefault(part.cohort, {}).get(part.job_id)
        by_job[part.cohort][part.job_id] = Member(
            part.job_id,
            part.name,
            part.rank,
            ended=part.ended,
            tasks={**(before.tasks if before else {}), **tasks.get(part.id, {})},
            down_since=part.down_since,
            deadline=part.shutdown_deadline,
            run_id=part.id,
            reachable=not part.error_code,
            stopping=part.stop,
            proved=part.proved,
            failed=bool(part.error),
            trouble=f"failed ({part.error['what']})" if part.error else "was stopped",
        )
    return {cohort: list(jobs.values()) for cohort, jobs in by_job.items()}


def obstacles(connection: sa.Connection, offered: Sequence[Pass]) -> dict[str, str]:
    """What each offered pass of a cohort's member waits for; only passes that must wait are in it."""
    query = sa.select(_RUNS.c.id, _RUNS.c.cohort).where(
        _RUNS.c.id.in_([attempt.run_id for attempt in offered]), _RUNS.c.cohort.is_not(None)
    )
    cohorts = {row.id: row.cohort for row in connection.execute(query)}
    if not cohorts:
        return {}
    by_cohort = members(connection, set(cohorts.values()))
    why = {}
    for attempt in offered:
        everybody = by_cohort.get(cohorts.get(attempt.run_id, ""), [])
        for member in everybody:
            if member.job_id == attempt.job_id and (text := obstacle(attempt.task, member, everybody)):
                why[attempt.id] = text
    return why


def place(connection: sa.Connection, job: Job, event: JobEvent) -> CohortRun | None:
    """The place in a cohort that a new run of this job alone takes over. Raises `StateRefusal` for what members do together."""
    if job.application and event in (JobEvent.CUTOVER, JobEvent.CLOSE, JobEvent.ROLLBACK):
        verb = "rolled back" if event is JobEvent.ROLLBACK else "cut over"
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            f"its application {job.application} is {verb} as a whole",
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
            "its application is rolled back: not all of its machines were proved",
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
            remedy="take it out of that application first",
        )
    if job.status == JobStatus.RUNNING and job.cutover:
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            "it is being cut over",
            on=job.name,
            remedy="wait until it has ended",
        )
