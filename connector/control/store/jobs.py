"""Each change of a job's state is one transaction together with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain import findings, validity
from connector.control.domain import jobs as machine
from connector.control.domain.clock import SET_BACK
from connector.control.domain.entities import Job, Json, LogEntry, Outcome, Run, Source, TagKind, Task
from connector.control.domain.jobs import BusinessStatus, JobEvent, JobState, JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.domain.sources import SourceEvent
from connector.control.store import applications, hand_overs, runs, sources, tables, tags
from connector.control.store.applications import CohortRun
from connector.control.store.database import BEGINNING, Database, new_id
from connector.control.store.job_rows import delete, demand_compare, locked, move, to_job, unknown
from connector.control.store.limits import Quotas
from connector.control.store.pass_rows import withdraw
from connector.control.store.search import JobFilter, ResultPage, page
from connector.errors import Ambiguous
from connector.specification.fields import JOB_FIELDS, JobField

_JOBS: Final = tables.jobs
_RUNS: Final = tables.runs

#: The fields of a job, by the column or definition key that keeps them.
_KEPT_AS: Final = {field.column or field.name: field for field in JOB_FIELDS}
_AFTER: Final = (machine.PREPARING, machine.SYNCING, machine.PROCESSING, machine.CLEANING)


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a new job shall do.

    `definition` is the request in the public API's names. `frequency` is hours; times are seconds. `notes` are the first
    lines of its log.
    """

    source_id: str
    name: str
    run_once: bool = True
    image_name: str = ""
    image_format: str = "qcow2"
    shutdown_deadline: float = 600.0
    allow_power_off: bool = False
    client_token: str | None = None
    description: str = ""
    job_type: int = 3
    region: str = ""
    resource_group: str = ""
    target_instance: str = ""
    definition: Json = field(default_factory=dict)
    frequency: int | None = None
    max_images: int | None = None
    scheduled_start: float | None = None
    valid_until: float | None = None  # default: 30 days from now
    audit: float | None = None  # share of what CBT calls unchanged that each delta audits
    accept_removed_disks: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    quiesce: str = "off"  # or "try", "require"


@dataclass(frozen=True, slots=True)
class Due:
    """Ids of jobs that must expire, that have been expired long enough to be deleted, and whose scheduled run begins."""

    expiring: Sequence[str]
    remnants: Sequence[str]
    starting: Sequence[str]


class Jobs:
    """The jobs and their states."""

    def __init__(self, database: Database, limits: Quotas) -> None:
        self._database = database
        self._limits = limits

    def create(self, new_job: NewJob) -> Job:
        """Create a job in Ready. The same `client_token` answers the same job again."""
        if new_job.client_token and (existing := self._by_token(new_job.client_token)):
            return existing
        job_id = new_id("j")
        try:
            with self._database.write() as connection:
                self._database.exclusive(connection, BEGINNING)
                self._insert(connection, job_id, new_job)
        except sa.exc.IntegrityError as error:
            if new_job.client_token and (existing := self._by_token(new_job.client_token)):
                return existing
            raise _same_name(new_job.name) from error
        return self.get(job_id)

    def _insert(self, connection: sa.Connection, job_id: str, new_job: NewJob) -> None:
        now = self._database.now()
        validity.rhythm(new_job.frequency, new_job.max_images)
        values: Json = {k: v for k, v in asdict(new_job).items() if k not in ("tags", "notes")}
        values |= {
            "id": job_id,
            "image_name": new_job.image_name or new_job.name,
            "status": JobStatus.READY,
            "business": BusinessStatus.NONE,
            "cutover": False,
            "last_sync": False,
            "created": now,
            "changed": now,
            "valid_until": validity.valid_until(now, new_job.valid_until),
            "scheduled_start": validity.scheduled_start(now, new_job.scheduled_start),
        }
        alive = _JOBS.c.status.not_in((JobStatus.DELETING, JobStatus.DELETED))
        if _count(connection, alive) >= self._limits.jobs:
            raise StateRefusal(
                RefusalCode.JOB_QUOTA,
                f"at most {self._limits.jobs} jobs",
                on=new_job.name,
                remedy="delete finished jobs",
            )
        sources.move(connection, new_job.source_id, SourceEvent.TAKEN, last_job=job_id)
        connection.execute(_JOBS.insert().values(**values))
        tags.put(connection, TagKind.JOB, job_id, new_job.tags)
        self._database.log(connection, job_id, "created", f"job {new_job.name} created")
        self._database.audit.about(job_id)
        for note in new_job.notes:
            self._database.log(connection, job_id, "warning", note)

    def modify(self, job_id: str, changes: Json) -> Job:
        """Change all of these fields of a job, or none. Keys are columns, or names of fields of the definition.

        Raises `StateRefusal` if the state does not allow it.
        """
        try:
            with self._database.write() as connection:
                job = locked(connection, job_id)
                for name in changes:
                    _require_changeable(job, _KEPT_AS[name])
                values = self._checked(job, changes)
                connection.execute(_JOBS.update().where(_JOBS.c.id == job_id).values(**values))
                self._database.log(connection, job_id, "modified", ", ".join(sorted(changes)))
        except sa.exc.IntegrityError as error:
            raise _same_name(str(changes.get("name"))) from error
        return self.get(job_id)

    def _checked(self, job: Job, changes: Json) -> Json:
        values: Json = {"changed": self._database.now()} | changes
        validity.rhythm(changes.get("frequency"), changes.get("max_images"))
        if "valid_until" in changes:
            values["valid_until"] = validity.valid_until(job.created, changes["valid_until"])
        if "scheduled_start" in changes:
            start = changes["scheduled_start"]
            values["scheduled_start"] = validity.scheduled_start(self._database.now(), start)
        if changes.get("OnDemand", job.on_demand) is not job.on_demand:
            values["next_run"] = self._next_run(job, changes)
        definition = {name: values.pop(name) for name in changes if not _KEPT_AS[name].column}
        return values | ({"definition": job.definition | definition} if definition else {})

    def _next_run(self, job: Job, changes: Json) -> float | None:
        """The next run of a waiting job after OnDemand was changed: none, or one interval from now."""
        if changes["OnDemand"] or job.state != machine.WAITING:
            return None
        return validity.next_run(self._database.now(), changes.get("frequency", job.frequency))

    def _by_token(self, token: str) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(sa.select(_JOBS).where(_JOBS.c.client_token == token)).one_or_none()
        return to_job(row) if row is not None else None

    def get(self, job_id: str) -> Job:
        """The job with this id, or with this name if it is not deleted."""
        alive = _JOBS.c.status != JobStatus.DELETED
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_JOBS).where(_JOBS.c.id == job_id)).all()
            rows = rows or connection.execute(sa.select(_JOBS).where(_JOBS.c.name == job_id, alive)).all()
        if not rows:
            raise unknown(job_id)
        if len(rows) > 1:
            ids = ", ".join(row.id for row in rows)
            raise Ambiguous(f"{len(rows)} jobs have this name", on=job_id, remedy=f"use an id: {ids}")
        return to_job(rows[0])

    def all(self, statuses: Sequence[JobStatus] = ()) -> list[Job]:
        """Jobs in these statuses, newest first. Without `statuses`: all that are not deleted."""
        query = sa.select(_JOBS).order_by(_JOBS.c.created.desc(), _JOBS.c.id)
        query = query.where(_JOBS.c.status.in_(statuses) if statuses else _JOBS.c.status != JobStatus.DELETED)
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]

    def open_cutovers(self, vcenter: str) -> list[tuple[Source, Job]]:
        """Jobs that have shut a machine of this vCenter down, until an image or a rollback ends that; with the machine."""
        query = (
            sa.select(_JOBS)
            .join(tables.sources, tables.sources.c.id == _JOBS.c.source_id)
            .where(_JOBS.c.down_since.is_not(None), tables.sources.c.vcenter == vcenter)
            .where(_JOBS.c.status.not_in((JobStatus.FINISHED, JobStatus.DELETED)))
        )
        with self._database.read() as connection:
            open_jobs = [to_job(row) for row in connection.execute(query)]
            machines = {s.id: s for s in sources.some(connection, {job.source_id for job in open_jobs})}
        return [(machines[job.source_id], job) for job in open_jobs]

    def page(self, wanted: JobFilter, number: int = 1, size: int = 10) -> ResultPage[Job]:
        """Jobs that match exactly, newest first."""
        with self._database.read() as connection:
            total, rows = page(connection, _JOBS, wanted, number, size)
            return ResultPage(total, [to_job(row) for row in rows])

    def begin(self, job_id: str, event: JobEvent, changes: Json | None = None, kind: str = "Manual") -> Run:
        """Begin a run by START, CUTOVER, CLOSE or ROLLBACK: the new state and the run in one transaction.

        Raises `Ineligible` for the first run while a finding blocks the source or one of the disks that it reads.
        """
        with self._database.write() as connection:
            self._database.exclusive(connection, BEGINNING)
            job = locked(connection, job_id)
            part = applications.place(connection, job, event)
            return self._begin(connection, job, event, changes or {}, part, kind)

    def begin_together(
        self,
        event: JobEvent,
        ranks: Mapping[str, int],
        changes: Mapping[str, Json],
        kind: str = "Manual",
    ) -> str:
        """Begin runs of all these jobs by START, CUTOVER or ROLLBACK in one transaction; answer their cohort.

        `changes`: columns of each job, by id. Ranks are those of the shutdown, also for a rollback: `obstacle` reverses them.
        """
        cohort = new_id("c")
        with self._database.write() as connection:
            self._database.exclusive(connection, BEGINNING)
            members = [locked(connection, job_id) for job_id in sorted(ranks)]
            sources.lock(connection, {job.source_id for job in members})
            for job in members:
                part = CohortRun(cohort, ranks[job.id])
                self._begin(connection, job, event, changes.get(job.id, {}), part, kind)
        return cohort

    def _begin(
        self,
        connection: sa.Connection,
        job: Job,
        event: JobEvent,
        changes: Json,
        part: CohortRun | None,
        kind: str,
    ) -> Run:
        now = self._database.now()
        machine.follow(job.state, event, job.id)
        hand_overs.must_rest(connection, job.id)
        if part is None or event is not JobEvent.ROLLBACK:  # an offline member does not hold up the others
            self._must_be_possible(connection, job, event)
        if event is JobEvent.START and job.status is JobStatus.READY:
            (source,) = sources.some(connection, [job.source_id])
            findings.must_be_eligible(source, job.left_out)
        if event in (JobEvent.CUTOVER, JobEvent.CLOSE):
            changes = changes | {"cutover": True, "last_sync": event is JobEvent.CUTOVER}
        if event is JobEvent.ROLLBACK:
            kind = runs.ROLLBACK
        columns: Json = {"started": now, "ended": None, "waiting": "", "error": None}
        changes = columns | changes
        if event is JobEvent.START and not job.disk_order:
            changes |= {"disk_order": _frozen(connection, job)}
        job = move(self._database, connection, job, event, **changes)
        plan = [Task.POWER_ON] if event is JobEvent.ROLLBACK else _plan(job)
        if part is None:
            return runs.add(connection, job.id, kind, plan, now)
        if event is JobEvent.CUTOVER:
            plan = [Task.SHUTDOWN, *plan]
        return runs.add(connection, job.id, kind, plan, now, **asdict(part))

    def _must_be_possible(self, connection: sa.Connection, job: Job, event: JobEvent) -> None:
        if event is JobEvent.CLOSE:  # it reads nothing and ends at once
            return
        if event is JobEvent.ROLLBACK:  # a rollback is always allowed, but it needs an appliance
            sources.must_be_online(connection, job.source_id)
            return
        if job.down_since is not None:  # a cutover can be resumed at any time, whatever else runs
            sources.must_be_online(connection, job.source_id)
            return
        if self._database.now() >= job.valid_until:
            raise StateRefusal(
                RefusalCode.JOB_STATUS,
                "the valid time of this job has passed",
                on=job.id,
                remedy="create a new job",
            )
        sources.must_be_online(connection, job.source_id)
        if _count(connection, _JOBS.c.status == JobStatus.RUNNING) >= self._limits.running:
            raise StateRefusal(
                RefusalCode.RUNNING_QUOTA,
                f"the limit of running jobs is reached: {self._limits.running}",
                on=job.id,
                remedy="start it when another has ended",
            )

    def apply(self, job_id: str, event: JobEvent) -> Job:
        """Change the state when nothing else changes with it: STOP while waiting, DELETE, DELETED, EXPIRED."""
        with self._database.write() as connection:
            job = locked(connection, job_id)
            if event is JobEvent.DELETE:
                return delete(self._database, connection, job)
            return move(self._database, connection, job, event)

    def advance(self, run_id: str, event: JobEvent, changes: Json | None = None) -> None:
        """Take a report of the workflow. Repeating it is harmless. `changes`: columns of the job."""
        with self._database.write() as connection:
            job, run = _locked_with(connection, run_id)
            if run.ended is not None or _reached(job.state, event):
                return
            move(self._database, connection, job, event, **(changes or {}))

    def settle(self, run_id: str, event: JobEvent, outcome: Outcome, error: Json | None = None) -> None:
        """End a run and move its job. A second call finds the run ended and does nothing.

        A pass of the run that nobody has taken ends too; an appliance that has one is asked to stop.
        """
        with self._database.write() as connection:
            job, run = _locked_with(connection, run_id)
            if run.ended is not None:
                return
            now = self._database.now()
            stop = bool(run.stop) or outcome is not Outcome.DONE
            connection.execute(
                _RUNS.update()
                .where(_RUNS.c.id == run_id)
                .values(ended=now, outcome=outcome, error=error, stop=stop)
            )
            withdraw(connection, run_id, now)
            after: Json = {"error": error, "ended": now, "waiting": ""}
            if event is JobEvent.PAUSED:
                after["next_run"] = validity.next_run(now, None if job.on_demand else job.frequency)
            if event is JobEvent.ROLLED_BACK:
                after.pop("error")  # it says why the cutover was rolled back, unless a person asked for that
                after |= {"cutover": False, "down_since": None, "predicted_downtime": None}
            move(self._database, connection, job, event, **after)

    def due(self) -> Due:
        """The jobs for which something is due now."""
        c, now = _JOBS.c, self._database.now()
        source_is_up = c.down_since.is_(
            None
        )  # else a person must resume the cutover or roll it back: nothing ends by itself
        remnant = now - validity.REMNANT
        with self._database.read() as connection:

            def ids(*conditions: sa.ColumnElement[bool]) -> list[str]:
                return list(
                    connection.execute(sa.select(c.id).where(*conditions).order_by(c.created)).scalars()
                )

            return Due(
                expiring=ids(c.status.in_(machine.EXPIRING), c.valid_until <= now, source_is_up),
                remnants=ids(c.status == JobStatus.EXPIRED, c.expired <= remnant, source_is_up),
                starting=ids(
                    sa.or_(
                        sa.and_(c.status == JobStatus.READY, c.scheduled_start <= now),
                        sa.and_(
                            c.status == JobStatus.WAITING,
                            sa.or_(
                                c.next_run <= now,
                                sa.and_(c.next_run.is_not(None), c.ended > now + SET_BACK),
                            ),
                        ),
                    )
                ),
            )

    def set_authority(self, job_id: str, sealed: str) -> None:
        """Keep the job's certificate authority. A second one is ignored."""
        with self._database.write() as connection:
            connection.execute(
                _JOBS.update()
                .where(_JOBS.c.id == job_id, _JOBS.c.authority.is_(None))
                .values(authority=sealed)
            )

    def mark(self, job_id: str, **values: Any) -> None:
        """Set columns that no state depends on, such as `waiting`. It writes only if a value differs."""
        with self._database.write(counted=False) as connection:
            differs = sa.or_(*(_JOBS.c[name].is_distinct_from(value) for name, value in values.items()))
            connection.execute(_JOBS.update().where(_JOBS.c.id == job_id, differs).values(**values))

    def demand_compare(self, reason: str, job_ids: Sequence[str] | None = None) -> None:
        """Make the next pass of these jobs compare every disk, because of `reason`. None: all jobs that are not deleted.

        The demand ends with the first pass of the job that reads and is done.
        """
        condition = _JOBS.c.status != JobStatus.DELETED
        if job_ids is not None:
            condition = sa.and_(condition, _JOBS.c.id.in_(job_ids))
        with self._database.write() as connection:
            demand_compare(self._database, connection, reason, condition)

    def relocate(self, job_id: str, instance: Json) -> None:
        """Record that the job's instance has another address from now on."""
        with self._database.write() as connection:
            connection.execute(_JOBS.update().where(_JOBS.c.id == job_id).values(instance=instance))

    def note(self, job_id: str, kind: str, text: str) -> None:
        """Add one line to the job's log."""
        with self._database.write(counted=False) as connection:
            self._database.log(connection, job_id, kind, text)

    def history(self, job_id: str, limit: int = 200) -> list[LogEntry]:
        """The newest `limit` lines of the job's log, oldest first."""
        events = tables.events
        query = sa.select(events).where(events.c.job_id == job_id).order_by(events.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [LogEntry(**row._mapping) for row in connection.execute(query)][::-1]


def _locked_with(connection: sa.Connection, run_id: str) -> tuple[Job, Run]:
    """The job of a run and the run, both locked."""
    job = locked(connection, runs.one(connection, run_id).job_id)
    return job, runs.locked(connection, run_id)


def _frozen(connection: sa.Connection, job: Job) -> list[int]:
    """Keys of the source's disks, in the order that the job keeps. Raises `StateRefusal` if the job leaves the first out."""
    (source,) = sources.some(connection, [job.source_id])
    keys = [disk.key for disk in source.disks]
    if keys and keys[0] in job.left_out:
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            f"disk {keys[0]} is the system disk now, and the job leaves it out",
            on=job.id,
            remedy="choose the disks of the job again",
        )
    return keys


def _plan(job: Job) -> list[Task]:
    if job.run_once and job.last_sync:  # made by release 0.1.0; no later one makes such a job
        return [Task.READ, Task.FINAL]
    if not job.cutover:
        return [Task.READ]
    return [Task.FINAL] if job.last_sync else []


def _reached(state: JobState, event: JobEvent) -> bool:
    targets = {t.target for t in machine.TRANSITIONS if t.event is event}
    return state in _AFTER and any(t in _AFTER and _AFTER.index(state) >= _AFTER.index(t) for t in targets)


def _count(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(_JOBS).where(condition)).scalar_one()


def _same_name(name: str) -> StateRefusal:
    return StateRefusal(
        RefusalCode.JOB_NAME, "another job has this name", on=name, remedy="choose another name"
    )


def _require_changeable(job: Job, field: JobField) -> None:
    """Raise `StateRefusal` if the field cannot be changed in the job's state; the remedy names the states where it can."""
    if machine.modifiable(job.state, field):
        return
    where = ", ".join(field.changes)
    raise StateRefusal(
        RefusalCode.JOB_STATUS,
        f"{field.name} cannot be changed while {job.state}",
        on=job.id,
        remedy=f"it can be changed in {where}" if where else "it is fixed when the job is created",
    )
