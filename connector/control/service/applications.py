"""The jobs of an application begin, are cut over and are rolled back together: all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connector.control.domain.cohorts import Member, broken, overdue
from connector.control.domain.entities import Job, Json
from connector.control.domain.jobs import JobEvent, JobState, JobStatus, allowed
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.service.jobs import JobService
from connector.control.store import Store
from connector.errors import BadInput, Conflict, ControlFailed, NotFound

_AGAIN: Final = "put right what failed, start the jobs again, and cut the application over again"


class ApplicationService:
    """Operations on whole applications. Thread-safe; each is durable when it returns."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._store = service.store

    def put(self, name: str, ranks: Mapping[str, int]) -> list[Job]:
        """Make exactly these incremental jobs, by id or name, with their ranks, the application; no jobs: it ends."""
        jobs = [self._store.jobs.get(word) for word in ranks]
        by_id = {job.id: rank for job, rank in zip(jobs, ranks.values(), strict=True)}
        if len(by_id) < len(ranks):
            raise BadInput("a job is named twice", on=name, remedy="name each job once")
        for job in jobs:
            _must_be_incremental(job)
        self._store.applications.put(name, by_id)
        return self.all().get(name, [])

    def all(self) -> dict[str, list[Job]]:
        """The jobs of each application, in the order in which they are shut down."""
        applications: dict[str, list[Job]] = {}
        for job in sorted(self._store.jobs.all(), key=lambda job: (job.application, job.rank, job.name)):
            if job.application and job.status is not JobStatus.DELETING:
                applications.setdefault(job.application, []).append(job)
        return applications

    def get(self, name: str) -> list[Job]:
        """The jobs of this application. Raises `NotFound`."""
        if name not in (applications := self.all()):
            raise NotFound("no such application", on=name, remedy="list the applications")
        return applications[name]

    def start(self, name: str, changes: Json) -> list[Job]:
        """Begin a run of each job, or of none; their snapshots are taken close together. `changes`: as for one job."""
        jobs = self.get(name)
        for job in jobs:
            if job.cutover:
                raise StateRefusal(
                    RefusalCode.JOB_STATUS,
                    "its application was cut over",
                    on=job.name,
                    remedy="start the jobs that failed one by one, or roll the application back",
                )
        return self._begin(name, JobEvent.START, jobs, {job.id: changes for job in jobs})

    def spread(self, name: str) -> float | None:
        """Seconds between the snapshots of the last ordinary run that all jobs had together; None: there was none."""
        moments = self._store.applications.moments([job.id for job in self.get(name)])
        return max(moments) - min(moments) if moments else None

    def settled(self, name: str) -> bool:
        """Whether nothing of it runs, and nothing is about to be rolled back."""
        jobs = self.get(name)
        if any(job.status is JobStatus.RUNNING for job in jobs):
            return False
        job_ids = {job.id for job in jobs}
        cohorts = [
            self._store.applications.members(cohort) for cohort in self._store.applications.unsettled()
        ]
        return not any(
            broken(members) for members in cohorts if job_ids & {member.job_id for member in members}
        )

    def cutover(self, name: str, changes: Json) -> list[Job]:
        """Cut over all jobs, or none: shut down by rank, read when all are off, make images when all are proved.

        `changes`: as for one job.
        """
        jobs = self.get(name)
        changes_of: dict[str, Json] = {}
        for job in jobs:
            _must_be_incremental(job)
            downtime = self._service.downtime(job)
            changes_of[job.id] = changes | ({"predicted_downtime": downtime.seconds} if downtime else {})
        return self._begin(name, JobEvent.CUTOVER, jobs, changes_of)

    def rollback(self, name: str, *, keep_cbt: bool = False) -> list[Job]:
        """After a cutover: give all of its sources their state back, and power them on in reverse order."""
        jobs = [job for job in self.get(name) if job.cutover]
        if not jobs:
            raise StateRefusal(
                RefusalCode.JOB_STATUS,
                "this application was not cut over",
                on=name,
                remedy="rollback works after a cutover",
            )
        return self._begin(name, JobEvent.ROLLBACK, jobs, {job.id: {"keep_cbt": keep_cbt} for job in jobs})

    def _begin(
        self, name: str, event: JobEvent, jobs: list[Job], changes_of: Mapping[str, Json]
    ) -> list[Job]:
        self._store.jobs.begin_together(event, {job.id: job.rank for job in jobs}, changes_of)
        self._service.poke()
        return self.get(name)


class CohortMonitor:
    """Decides that all members of a cohort are proved, or rolls all back. Only the active runner looks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look(self) -> None:
        """Look at every cutover of an application that is not over."""
        for cohort in self._store.applications.unsettled():
            why = self._store.applications.decide(cohort)
            members = self._store.applications.members(cohort)
            if why:
                self._take_back(members, why)
            elif why := overdue(members, self._store.now()):
                failed = ControlFailed(
                    why, remedy="see why the others were not shut down; then cut over again"
                )
                for member in (member for member in members if not member.off):
                    self._store.pass_ends.fail(member.run_id, failed.to_json())
        self._store.applications.explain()

    def _take_back(self, members: list[Member], why: str) -> None:
        """First stop all members; when all have stopped, roll them back in one transaction. CBT stays for the next cutover."""
        under_way = [member for member in members if not member.over]
        for member in under_way:
            try:
                self._store.pass_ends.stop(member.job_id)
            except StateRefusal:  # it still prepares: the next look tries again
                continue
        if under_way:
            return
        states = {member.job_id: self._store.jobs.get(member.job_id).state for member in members}
        back = {member.job_id: member.rank for member in members if _goes_back(states[member.job_id])}
        reason = Conflict(f"{why}: all are rolled back", remedy=_AGAIN).to_json()
        changes_of: Json = {"keep_cbt": True, "error": reason}
        self._store.jobs.begin_together(JobEvent.ROLLBACK, back, dict.fromkeys(back, changes_of))
        for job_id in states:
            how = "is rolled back" if job_id in back else "is no longer rolled back"
            self._store.jobs.note(job_id, "application", f"{why}: this source {how}")


def _goes_back(state: JobState) -> bool:
    return JobEvent.ROLLBACK in allowed(state)


def _must_be_incremental(job: Job) -> None:
    if job.run_once:
        raise Conflict("this job runs once", on=job.name, remedy="applications are made of incremental jobs")
