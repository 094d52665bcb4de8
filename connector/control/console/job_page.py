"""The log of a job as a file: whole, one line for each entry, read piece by piece while it is sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from connector.control.console import figures
from connector.control.console.job_lines import JobLine, JobLines
from connector.control.console.pages import Download, PageRequest, View
from connector.control.domain.entities import JobImage, LogEntry, Run, Source, TrackedResource
from connector.control.store import Store
from connector.errors import ConnectorError
from connector.names import visible

_LOG: Final = logging.getLogger(__name__)

#: Entries that are in memory at once.
PIECE: Final = 200
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_CUT: Final = "# The log is not whole: the control plane could not read on. Download it again.\n"


class JobLogs:
    """Logs to take along. Who may see a job's page may have its log."""

    def __init__(self, store: Store, lines: JobLines) -> None:
        self._store = store
        self._lines = lines

    def leaves(self) -> tuple[View, ...]:
        return (View("/jobs/{id}/log", self.download),)

    def download(self, request: PageRequest) -> Download:
        """What is in the log by now; an entry that is written meanwhile is not in the file."""
        line = self._lines.one(request.path["id"])
        newest = self._store.overview.newest_entries([line.job.id]).get(line.job.id, 0)
        return Download(file_name(line), self._pieces(line, newest))

    def _pieces(self, line: JobLine, newest: int) -> Iterator[str]:
        job = line.job
        yield (
            visible(f"# Log of the job {job.name} ({job.id}), source {line.source_name} ({job.source_id})")
            + "\n"
        )
        try:
            after = 0
            while after < newest and (entries := self._store.log.after(job.id, after, PIECE)):
                after = entries[-1].id
                yield "".join(written(entry) for entry in entries if entry.id <= newest)
        except ConnectorError as failed:
            _LOG.warning("the log of %s is not sent whole: %s", job.id, failed)
            yield _CUT


def written(entry: LogEntry) -> str:
    """One line, as `connector job logs` prints it; whatever is in a name ends no line and is seen."""
    return f"{figures.machine_time(entry.at)}  {visible(entry.kind):<10}  {visible(entry.text)}\n"


def file_name(line: JobLine) -> str:
    """Fit for every file system: the name tells people which job it is, the id makes it the only one."""
    name = _UNSAFE.sub("_", line.job.name).strip("_")[:60]
    return f"{name or 'job'}-{_UNSAFE.sub('_', line.job.id)}.log"


#: Lines of the log that the page shows.
LINES: Final = 200


@dataclass(frozen=True, slots=True)
class JobResource:
    """Something that the job made. `bill`: it costs money in the cloud for as long as it exists."""

    kind: str
    reference: str
    place: str
    since: float
    exists: bool
    bill: bool


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run and its image."""

    run: Run
    image: JobImage | None


@dataclass(frozen=True, slots=True)
class JobDetails:
    """One job with its history; runs, images and log newest first. `source` may have been deleted meanwhile."""

    line: JobLine
    source: Source
    runs: Sequence[RunLine]
    images: Sequence[JobImage]
    resources: Sequence[JobResource]
    log: Sequence[LogEntry]
    stopping: bool

    @property
    def bill(self) -> list[JobResource]:
        """R1. What costs money now, apart from images."""
        return [found for found in self.resources if found.bill and found.exists]

    @property
    def offline(self) -> str:
        """Why nobody can read the source now; empty when somebody can."""
        return self.source.reason if self.source.error_code else ""


class JobDetailsReader:
    """Reads sheets."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, line: JobLine) -> JobDetails:
        """The rest of what is known of this job."""
        job, store = line.job, self._store
        runs, images = store.runs.of(job.id)[::-1], store.resources.images(job.id)[::-1]
        source = store.sources.of(job)
        by_run = {image.run_id: image for image in images}
        return JobDetails(
            line=line,
            source=source,
            runs=[RunLine(run, by_run.get(run.id)) for run in runs],
            images=images,
            resources=[_resource(resource) for resource in store.resources.of(job.id)],
            log=store.log.newest(job.id, LINES)[::-1],
            stopping=bool(runs) and runs[0].stop and runs[0].ended is None,
        )


def _resource(resource: TrackedResource) -> JobResource:
    return JobResource(
        kind=resource.kind,
        reference=resource.reference or "not made yet",
        place=resource.place,
        since=resource.created,
        exists=bool(resource.reference) and not resource.removed,
        bill=resource.billable and resource.kind != "image",  # that is what was wanted
    )
