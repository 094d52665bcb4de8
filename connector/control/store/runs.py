"""A run is one execution of a job. Its id is never used again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.entities import Outcome, Run, Task
from connector.control.store import tables
from connector.control.store.database import Database, new_id
from connector.errors import NotFound

_RUNS: Final = tables.runs

ROLLBACK: Final = "Rollback"  # the kind of a run that rolls a cutover back


class RunStore:
    """The runs of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, run_id: str) -> Run:
        with self._database.read() as connection:
            return one(connection, run_id)

    def of(self, job_id: str) -> list[Run]:
        """A job's runs, oldest first."""
        query = sa.select(_RUNS).where(_RUNS.c.job_id == job_id).order_by(_RUNS.c.number)
        with self._database.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    def open(self) -> list[Run]:
        """All runs that have not ended."""
        query = sa.select(_RUNS).where(_RUNS.c.ended.is_(None)).order_by(_RUNS.c.started)
        with self._database.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    def of_many(self, job_ids: Sequence[str]) -> dict[str, list[Run]]:
        """The runs of each of these jobs, oldest first."""
        runs_of: dict[str, list[Run]] = {job_id: [] for job_id in job_ids}
        query = sa.select(_RUNS).where(_RUNS.c.job_id.in_(job_ids)).order_by(_RUNS.c.job_id, _RUNS.c.number)
        with self._database.read() as connection:
            for row in connection.execute(query):
                runs_of[row.job_id].append(_run(row))
        return runs_of


def one(connection: sa.Connection, run_id: str) -> Run:
    """One run, inside the caller's transaction."""
    row = connection.execute(sa.select(_RUNS).where(_RUNS.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound("no such run", on=run_id)
    return _run(row)


def lock_cohort(connection: sa.Connection, cohort: str) -> None:
    """Lock all runs of a cohort until the caller's transaction ends, so that none of them stops or ends meanwhile."""
    query = sa.select(_RUNS.c.id).where(_RUNS.c.cohort == cohort).order_by(_RUNS.c.id)
    connection.execute(query.with_for_update(key_share=True)).all()


def locked(connection: sa.Connection, run_id: str) -> Run:
    """One run, locked until the caller's transaction ends."""
    row = connection.execute(
        sa.select(_RUNS).where(_RUNS.c.id == run_id).with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise NotFound("no such run", on=run_id)
    return _run(row)


def newest(connection: sa.Connection, job_id: str) -> Run | None:
    """A job's newest run, inside the caller's transaction."""
    query = sa.select(_RUNS).where(_RUNS.c.job_id == job_id).order_by(_RUNS.c.number.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _run(row)


def add(
    connection: sa.Connection,
    job_id: str,
    kind: str,
    plan: Sequence[Task],
    now: float,
    **part: Any,
) -> Run:
    """Add the next run of a job, inside the caller's transaction. `part`: its columns as a member of a cohort."""
    count = sa.select(sa.func.count() + 1).select_from(_RUNS).where(_RUNS.c.job_id == job_id)
    number = connection.execute(count).scalar_one()
    run_id = new_id("r")  # no number: a restored database would give the same one again
    values: dict[str, Any] = {"kind": kind, "plan": list(plan), "started": now, "stop": False}
    connection.execute(_RUNS.insert().values(id=run_id, job_id=job_id, number=number, **values | part))
    return one(connection, run_id)


def task(entry: object) -> Task:
    """The task of one entry of a plan. Runs of earlier versions say only whether a pass is final."""
    return Task(entry) if isinstance(entry, str) else Task.FINAL if entry else Task.READ


def _run(row: Any) -> Run:
    values = dict(row._mapping)
    values["plan"] = tuple(task(entry) for entry in values["plan"])
    values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
    return Run(**values)
