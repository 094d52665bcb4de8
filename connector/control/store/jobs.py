"""Jobs and their runs: a change of state is one transaction with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import sqlalchemy as sa

from connector.control import jobs as machine
from connector.control.jobs import Business, Event, State, Status
from connector.control.sources import SourceEvent
from connector.control.store import sources, tables
from connector.control.store.database import Database, new_id
from connector.control.store.rows import Job, Json, LogEntry, Outcome, Run
from connector.errors import Ambiguous, Conflict, NotFound
from connector.model import InstanceAddress

_JOBS: Final = tables.jobs
_RUNS: Final = tables.runs

_AFTER: Final = (machine.PREPARING, machine.SYNCING, machine.PROCESSING, machine.CLEANING)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new job shall do. `last_sync`: the last pass happens with the source shut down."""

    source_id: str
    name: str
    run_once: bool = True
    last_sync: bool = False
    image_name: str = ""
    image_format: str = "qcow2"
    shutdown_deadline: float = 600.0
    allow_power_off: bool = False
    client_token: str | None = None


class Jobs:
    """The wish to migrate one source, and its state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, wish: Wish) -> Job:
        """A job in Ready; the same `client_token` answers the same job again."""
        if wish.client_token and (existing := self._by_token(wish.client_token)):
            return existing
        now = self._database.now()
        job_id = new_id("j")
        values: Json = asdict(wish) | {
            "id": job_id,
            "image_name": wish.image_name or wish.name,
            "status": Status.READY,
            "business": Business.NONE,
            "cutover": False,
            "created": now,
            "changed": now,
        }
        try:
            with self._database.write() as connection:
                sources.move(connection, wish.source_id, SourceEvent.TAKEN)
                connection.execute(_JOBS.insert().values(**values))
                self._database.log(connection, job_id, "created", f"job {wish.name} created")
        except sa.exc.IntegrityError as error:
            raise Conflict(
                "another job has this name, or the source has an unfinished job",
                on=wish.name,
                remedy="choose another name, or delete the other job",
            ) from error
        return self.get(job_id)

    def _by_token(self, token: str) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(sa.select(_JOBS).where(_JOBS.c.client_token == token)).one_or_none()
        return _job(row) if row is not None else None

    def get(self, job_id: str) -> Job:
        """By id, or by the name of a job that is not deleted."""
        alive = _JOBS.c.status != Status.DELETED
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_JOBS).where(_JOBS.c.id == job_id)).all()
            rows = rows or connection.execute(sa.select(_JOBS).where(_JOBS.c.name == job_id, alive)).all()
        if not rows:
            raise NotFound("no such job", on=job_id, remedy="list the jobs")
        if len(rows) > 1:
            ids = ", ".join(row.id for row in rows)
            raise Ambiguous(f"{len(rows)} jobs have this name", on=job_id, remedy=f"use an id: {ids}")
        return _job(rows[0])

    def all(self, statuses: Sequence[Status] = ()) -> list[Job]:
        """Newest first; deleted ones only when asked for."""
        query = sa.select(_JOBS).order_by(_JOBS.c.created.desc(), _JOBS.c.id)
        query = query.where(_JOBS.c.status.in_(statuses) if statuses else _JOBS.c.status != Status.DELETED)
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(query)]

    def begin(self, job_id: str, event: Event, changes: Json | None = None) -> Run:
        """START, CUTOVER or CLOSE: the new state and the new run in one transaction."""
        with self._database.write() as connection:
            job = _locked(connection, job_id)
            if event in (Event.CUTOVER, Event.CLOSE):
                changes = (changes or {}) | {"cutover": True, "last_sync": event is Event.CUTOVER}
            job = self._move(connection, job, event, error=None, **(changes or {}))
            number = connection.execute(
                sa.select(sa.func.count() + 1).select_from(_RUNS).where(_RUNS.c.job_id == job.id)
            ).scalar_one()
            run_id = f"r-{job.id[2:]}-{number}"
            connection.execute(
                _RUNS.insert().values(
                    id=run_id,
                    job_id=job.id,
                    number=number,
                    kind="Manual",
                    plan=_plan(job),
                    started=self._database.now(),
                    stop=False,
                )
            )
            return _run(connection.execute(sa.select(_RUNS).where(_RUNS.c.id == run_id)).one())

    def apply(self, job_id: str, event: Event) -> Job:
        """A change of state that needs nothing beside it: STOP while waiting, DELETE, DELETED, EXPIRED."""
        with self._database.write() as connection:
            return self._move(connection, _locked(connection, job_id), event)

    def advance(self, run_id: str, event: Event, changes: Json | None = None) -> None:
        """A report of the workflow; harmless when it was made before. `changes` are columns of the job."""
        with self._database.write() as connection:
            run = _locked_run(connection, run_id)
            job = _locked(connection, run.job_id)
            if run.ended is not None or _reached(job.state, event):
                return
            self._move(connection, job, event, **(changes or {}))

    def settle(self, run_id: str, event: Event, outcome: Outcome, error: Json | None = None) -> None:
        """End a run and move its job, once: a second call finds the run ended and does nothing."""
        with self._database.write() as connection:
            run = _locked_run(connection, run_id)
            if run.ended is not None:
                return
            now = self._database.now()
            connection.execute(
                _RUNS.update().where(_RUNS.c.id == run_id).values(ended=now, outcome=outcome, error=error)
            )
            self._move(connection, _locked(connection, run.job_id), event, error=error)

    def set_authority(self, job_id: str, sealed: str) -> None:
        """Keep the job's authority; the first one stays."""
        with self._database.write() as connection:
            connection.execute(
                _JOBS.update()
                .where(_JOBS.c.id == job_id, _JOBS.c.authority.is_(None))
                .values(authority=sealed)
            )

    def note(self, job_id: str, kind: str, text: str) -> None:
        """One line for the job's log."""
        with self._database.write() as connection:
            self._database.log(connection, job_id, kind, text)

    def history(self, job_id: str, limit: int = 200) -> list[LogEntry]:
        """The newest `limit` lines of the job's log, oldest first."""
        events = tables.events
        query = sa.select(events).where(events.c.job_id == job_id).order_by(events.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [LogEntry(**row._mapping) for row in connection.execute(query)][::-1]

    def _move(self, connection: sa.Connection, job: Job, event: Event, **changes: Any) -> Job:
        target = machine.follow(job.state, event, job.id)
        done = connection.execute(
            _JOBS.update()
            .where(_JOBS.c.id == job.id, _JOBS.c.status == job.status, _JOBS.c.business == job.business)
            .values(status=target.status, business=target.business, changed=self._database.now(), **changes)
        )
        if done.rowcount != 1:
            raise Conflict("another request changed this job first", on=job.id, remedy="look again")
        if event is Event.FINISHED or (event is Event.DELETE and job.status is not Status.FINISHED):
            sources.move(connection, job.source_id, SourceEvent.FREED)
        reason = changes.get("error")
        text = f"{job.state} -> {target}" + (f": {reason['what']}" if reason else "")
        self._database.log(connection, job.id, str(event), text)
        return _job(connection.execute(sa.select(_JOBS).where(_JOBS.c.id == job.id)).one())


class Runs:
    """The executions of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, run_id: str) -> Run:
        with self._database.read() as connection:
            row = connection.execute(sa.select(_RUNS).where(_RUNS.c.id == run_id)).one_or_none()
        if row is None:
            raise NotFound("no such run", on=run_id)
        return _run(row)

    def of(self, job_id: str) -> list[Run]:
        """A job's runs, oldest first."""
        query = sa.select(_RUNS).where(_RUNS.c.job_id == job_id).order_by(_RUNS.c.number)
        with self._database.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    def open(self) -> list[Run]:
        """Every run that has not ended."""
        query = sa.select(_RUNS).where(_RUNS.c.ended.is_(None)).order_by(_RUNS.c.started)
        with self._database.read() as connection:
            return [_run(row) for row in connection.execute(query)]


def _plan(job: Job) -> list[bool]:
    if job.run_once:
        return [False, True] if job.last_sync else [False]
    if job.cutover:
        return [True] if job.last_sync else []
    return [False]


def _reached(state: State, event: Event) -> bool:
    targets = {t.target for t in machine.TRANSITIONS if t.event is event}
    return state in _AFTER and any(t in _AFTER and _AFTER.index(state) >= _AFTER.index(t) for t in targets)


def _locked(connection: sa.Connection, job_id: str) -> Job:
    row = connection.execute(sa.select(_JOBS).where(_JOBS.c.id == job_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("no such job", on=job_id, remedy="list the jobs")
    return _job(row)


def _locked_run(connection: sa.Connection, run_id: str) -> Run:
    row = connection.execute(sa.select(_RUNS).where(_RUNS.c.id == run_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("no such run", on=run_id)
    return _run(row)


def _job(row: Any) -> Job:
    values = dict(row._mapping)
    values["status"] = Status(values["status"])
    values["business"] = Business(values["business"])
    values["instance"] = InstanceAddress(**values["instance"]) if values["instance"] else None
    return Job(**values)


def _run(row: Any) -> Run:
    values = dict(row._mapping)
    values["plan"] = tuple(bool(final) for final in values["plan"])
    values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
    return Run(**values)
