"""Everything that is known of one job, as its page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connector.control.console.job_lines import JobLine
from connector.control.store import Store
from connector.control.store.rows import Image, LogEntry, Run, Source, Thing

#: Lines of the log that the page shows.
LINES: Final = 200


@dataclass(frozen=True, slots=True)
class Resource:
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
    image: Image | None


@dataclass(frozen=True, slots=True)
class Sheet:
    """One job with its history; runs, images and log newest first. `source` may have been deleted meanwhile."""

    line: JobLine
    source: Source
    runs: Sequence[RunLine]
    images: Sequence[Image]
    resources: Sequence[Resource]
    log: Sequence[LogEntry]
    stopping: bool

    @property
    def bill(self) -> list[Resource]:
        """R1. What costs money now, apart from images."""
        return [found for found in self.resources if found.bill and found.exists]

    @property
    def offline(self) -> str:
        """Why nobody can read the source now; empty when somebody can."""
        return self.source.reason if self.source.error_code else ""


class Sheets:
    """Reads sheets."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, line: JobLine) -> Sheet:
        """The rest of what is known of this job."""
        job, store = line.job, self._store
        runs, images = store.runs.of(job.id)[::-1], store.things.images(job.id)[::-1]
        source = store.sources.of(job)
        by_run = {image.run_id: image for image in images}
        return Sheet(
            line=line,
            source=source,
            runs=[RunLine(run, by_run.get(run.id)) for run in runs],
            images=images,
            resources=[_resource(thing) for thing in store.things.of(job.id)],
            log=store.log.newest(job.id, LINES)[::-1],
            stopping=bool(runs) and runs[0].stop and runs[0].ended is None,
        )


def _resource(thing: Thing) -> Resource:
    return Resource(
        kind=thing.kind,
        reference=thing.reference or "not made yet",
        place=thing.place,
        since=thing.created,
        exists=bool(thing.reference) and not thing.removed,
        bill=thing.billable and thing.kind != "image",  # that is what was wanted
    )
