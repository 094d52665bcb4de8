"""One job's page: its details, and its log as a file that is read piece by piece while it is sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from connector.control.console import figures
from connector.control.console.job_lines import JobLine, JobLines
from connector.control.console.pages import Download, PageRequest, View
from connector.control.domain.drills import Drill
from connector.control.domain.entities import HandOver, JobImage, LogEntry, Run, Source, TrackedResource
from connector.control.store import Store
from connector.errors import ConnectorError
from connector.names import visible
from connector.specification.former_disk_words import STATES
from connector.specification.images import rolled_back

_LOG: Final = logging.getLogger(__name__)

#: Entries that are in memory at once.
PIECE: Final = 200
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_CUT: Final = "# The log is incomplete: the control plane could not read the rest. Download it again.\n"


class JobLogs:
    """Logs to download. A person who may see a job's page may download its log."""

    def __init__(self, store: Store, lines: JobLines) -> None:
        self._store = store
        self._lines = lines

    def views(self) -> tuple[View, ...]:
        return (View("/jobs/{id}/log", self.download),)

    def download(self, request: PageRequest) -> Download:
        """The entries that exist now. Entries that are written during the download are not in the file."""
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
            _LOG.warning("the log of %s was sent only in part: %s", job.id, failed)
            yield _CUT


def written(entry: LogEntry) -> str:
    """One line, as `connector job logs` prints it. Control characters in names are made visible and end no line."""
    return f"{figures.machine_time(entry.at)}  {visible(entry.kind):<10}  {visible(entry.text)}\n"


def file_name(line: JobLine) -> str:
    """A name for every file system. The job's name is for people; its id makes the name unique."""
    name = _UNSAFE.sub("_", line.job.name).strip("_")[:60]
    return f"{name or 'job'}-{_UNSAFE.sub('_', line.job.id)}.log"


#: Lines of the log that the page shows.
LINES: Final = 200


@dataclass(frozen=True, slots=True)
class JobResource:
    """A resource of the job. `bill`: it costs money in the cloud as long as it exists."""

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
class DrillDetails:
    """What is known of rehearsals. `open`: it waits or runs. `newest`: the last one that has ended. `plan`: the last one with
    the plan of a conversion. `offered`: the target does drills; `converts`: they convert a copy. `has_image`: there is an
    image to try.
    """

    open: Drill | None
    newest: Drill | None
    plan: Drill | None
    offered: bool
    converts: bool
    has_image: bool


@dataclass(frozen=True, slots=True)
class JobDetails:
    """One job with its history. Runs, images and log are newest first. `source` may have been deleted."""

    line: JobLine
    source: Source
    runs: Sequence[RunLine]
    images: Sequence[JobImage]
    resources: Sequence[JobResource]
    log: Sequence[LogEntry]
    stopping: bool
    billed: bool  # whether the target costs money
    out_of_date: frozenset[str]  # ids of the images of cutovers that were rolled back
    drills: DrillDetails
    hand_over: HandOver | None  # None: the job has put no image onto a target instance

    @property
    def hand_over_words(self) -> str:
        """How the hand-over to the target instance stands; empty if there is none."""
        return STATES[self.hand_over.state] if self.hand_over is not None else ""

    @property
    def bill(self) -> list[JobResource]:
        """R1. The resources that cost money now, without images."""
        return [resource for resource in self.resources if resource.bill and resource.exists]

    @property
    def offline(self) -> str:
        """Why no appliance can read the source now; empty if one can."""
        return self.source.reason if self.source.error_code else ""


class JobDetailsReader:
    """Reads the details of jobs."""

    def __init__(self, store: Store, *, billed: bool, drills: bool, drills_convert: bool) -> None:
        """`billed`: whether what the provider makes costs money. `drills`: whether it does drills."""
        self._store = store
        self._billed = billed
        self._offers_drills, self._drills_convert = drills, drills_convert

    def of(self, line: JobLine) -> JobDetails:
        """The details of this job."""
        job, store = line.job, self._store
        runs, images = store.runs.of(job.id)[::-1], store.resources.images(job.id)[::-1]
        source = store.sources.of(job)
        by_run = {image.run_id: image for image in images}
        outdated = rolled_back(
            [(run.kind, by_run[run.id].id if run.id in by_run else "") for run in runs[::-1]],
            cut_over=job.cutover,
        )
        return JobDetails(
            line=line,
            source=source,
            runs=[RunLine(run, by_run.get(run.id)) for run in runs],
            images=images,
            resources=[_resource(resource, self._billed) for resource in store.resources.of(job.id)],
            log=store.log.newest(job.id, LINES)[::-1],
            stopping=bool(runs) and runs[0].stop and runs[0].ended is None,
            billed=self._billed,
            out_of_date=outdated,
            hand_over=store.hand_overs.of([job.id]).get(job.id),
            drills=self._drills(job.id, [image for image in images if image.id not in outdated]),
        )

    def _drills(self, job_id: str, images: Sequence[JobImage]) -> DrillDetails:
        drills = self._store.drills.of([job_id])
        ended = [drill for drill in drills if not drill.state.is_open]
        return DrillDetails(
            open=next((drill for drill in drills if drill.state.is_open), None),
            newest=next((drill for drill in ended if not drill.plan_only), None),
            plan=next((drill for drill in ended if drill.report and drill.report.get("conversion")), None),
            offered=self._offers_drills,
            converts=self._drills_convert,
            has_image=any(image.ready and not image.removed for image in images),
        )


def _resource(resource: TrackedResource, billed: bool) -> JobResource:
    return JobResource(
        kind=resource.kind,
        reference=resource.reference or "not made yet",
        place=resource.place if billed or resource.place != "cloud" else "this computer",
        since=resource.created,
        exists=bool(resource.reference) and not resource.removed,
        bill=billed and resource.billable and resource.kind != "image",  # an image is the job's result
    )
