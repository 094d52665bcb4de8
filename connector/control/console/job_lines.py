"""The lines of a list of jobs are read by a fixed number of queries, whatever their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.control.console import actions
from connector.control.console import figures as words
from connector.control.console.actions import Action
from connector.control.console.figures import Figures, figures
from connector.control.domain import downtime
from connector.control.domain.allowed_events import impossible
from connector.control.domain.entities import Job
from connector.control.domain.jobs import BusinessStatus, JobStatus
from connector.control.http import views
from connector.control.smc.catalogue import Denied
from connector.control.smc.parameters import read
from connector.control.store import JobFilter, ResultPage, Store
from connector.specification import kinds, source_down


@dataclass(frozen=True, slots=True)
class JobLine:
    """What a list shows of a job."""

    job: Job
    source_name: str
    figures: Figures
    percent: float
    outage: str = ""  # says that the source is down; empty while it is up
    rolled_back: bool = False  # its newest run rolled a cutover back

    @property
    def state(self) -> str:
        """R85. While a job runs, its business status is shown instead of "Running"."""
        return str(self.job.business or self.job.status)

    @property
    def actions(self) -> tuple[Action, ...]:
        """The actions that are possible, with labels for this job."""
        possible = actions.possible(self.job.state, impossible(self.job))
        if self.rolled_back:
            possible = tuple(map(actions.after_rollback, possible))
        shuts_down = self.job.cutover and self.job.last_sync  # without a last pass the source stays as it is
        if not shuts_down or self.job.status is JobStatus.WAITING:
            return possible
        return tuple(actions.in_cutover(action, down=bool(self.outage)) for action in possible)

    @property
    def shows_progress(self) -> bool:
        """Whether the figures are about the present."""
        return bool(self.figures.disks) and self.job.status in (
            JobStatus.RUNNING,
            JobStatus.STOPPED,
            JobStatus.IN_ERROR,
        )

    @property
    def copies(self) -> bool:
        return self.job.business is BusinessStatus.SYNCING and self.figures.running

    @property
    def trouble(self) -> str:
        """One line that says what failed or what the job waits for."""
        if self.job.error is not None and self.job.status is JobStatus.IN_ERROR:
            return str(self.job.error.get("what", ""))
        return self.job.waiting


class JobLines:
    """Reads lines of jobs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def page(self, condition: JobFilter, number: int, size: int) -> ResultPage[JobLine]:
        """Jobs that match exactly, newest first."""
        jobs = self._store.jobs.page(condition, number, size)
        return ResultPage(jobs.total, self.lines(jobs.rows))

    def of(self, ids: Sequence[str]) -> dict[str, JobLine]:
        """The lines of these jobs by id, without deleted jobs."""
        if not ids:
            return {}
        jobs = self._store.jobs.page(JobFilter(ids=list(ids)), 1, len(ids))
        return {line.job.id: line for line in self.lines(jobs.rows)}

    def one(self, job_id: str) -> JobLine:
        """The line of the job with this id. Raises `Denied` if there is none."""
        read(kinds.ID, "JobId", job_id)
        line = self.of([job_id]).get(job_id)
        if line is None:
            raise Denied("ReplicationJob.NotFound", f"There is no job {job_id}.")
        return line

    def lines(self, jobs: Sequence[Job]) -> list[JobLine]:
        """The lines of these jobs, in their order."""
        newest = self._store.passes.newest([job.id for job in jobs])
        names = self._store.overview.source_names({job.source_id for job in jobs})
        rolled_back = self._store.overview.rolled_back([job.id for job in jobs])
        now = self._store.now()
        return [
            JobLine(
                job,
                names.get(job.source_id, ""),
                figures(newest.get(job.id)),
                views.percent(job, [newest[job.id]] if job.id in newest else []),
                _outage(job, now),
                job.id in rolled_back,
            )
            for job in jobs
        ]


def _outage(job: Job, now: float) -> str:
    down = downtime.outage(job, now)
    if down is None:
        return ""
    return source_down.notice(f"{words.moment(down.since)} UTC", down.back_in, at_rest=down.at_rest)
