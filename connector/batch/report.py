"""A report shows what a wave did, per machine and in total, beside what was expected. Pure except for the template.

JSON for programs, CSV for spreadsheets, one self-contained HTML page for people.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

import jinja2

from connector.amounts import size, span
from connector.batch import quantities
from connector.batch.plane import JobView, Passed, SourceView
from connector.batch.resolve import ResolvedMachine
from connector.batch.status import MISSING, counting
from connector.names import on_page

#: A cell that begins with one of these is a formula to a spreadsheet.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Line:
    """One machine, in bytes, seconds and ISO 8601 in UTC. None: not known, or not yet."""

    machine: str
    moref: str
    group: str
    job: str
    state: str
    disks: int
    capacity: int
    runs: int
    started: str
    ended: str
    seconds: float | None
    planned: int
    read: int
    wire: int
    downtime: float | None
    image: str
    digests: str
    error: str
    rolled_back: str = ""  # images of cutovers that were rolled back


@dataclass(frozen=True, slots=True)
class Report:
    """The wave."""

    wave: str
    made: str
    lines: tuple[Line, ...]

    @property
    def totals(self) -> dict[str, Any]:
        """The totals over all machines. The span is from the first start to the last end."""
        starts = [line.started for line in self.lines if line.started]
        ends = [line.ended for line in self.lines if line.ended]
        down = [line.downtime for line in self.lines if line.downtime is not None]
        return {
            "machines": len(self.lines),
            "finished": sum(line.state == "Finished" for line in self.lines),
            "failed": sum(bool(line.error) for line in self.lines),
            "without_job": sum(not line.job for line in self.lines),
            "capacity": sum(line.capacity for line in self.lines),
            "read": sum(line.read for line in self.lines),
            "wire": sum(line.wire for line in self.lines),
            "started": min(starts, default=""),
            "ended": max(ends, default=""),
            "longest_downtime": max(down, default=None),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "wave": self.wave,
            "made": self.made,
            "totals": self.totals,
            "machines": [asdict(line) for line in self.lines],
        }

    def to_csv(self) -> str:
        """The table with headings. An unknown value is empty; a text that a spreadsheet takes for a formula is quoted."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(Line.__dataclass_fields__)
        for line in self.lines:
            writer.writerow([_cell(value) for value in asdict(line).values()])
        return out.getvalue()

    def to_html(self) -> str:
        """One page without scripts and foreign files."""
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, finalize=on_page)
        environment.filters |= {"bytes": size, "span": _span}
        page = resources.files("connector.batch").joinpath("report.html.j2").read_text()
        return environment.from_string(page).render(report=self, totals=self.totals)


def report(
    wave: str,
    jobs: Sequence[JobView],
    sources: Sequence[SourceView],
    passes: Mapping[str, Sequence[Passed]],
    now: float,
    placements: Sequence[ResolvedMachine] = (),
    files: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """The report. `passes`: by job, newest first. `placements`: the machines of the manifest; those without a job are
    lines too. `files`: where images are, by id; empty for an image that was removed.
    """
    by_id = {source.id: source for source in sources}
    by_source = counting(jobs)
    lines = [_line(job, by_id.get(job.source), passes.get(job.id, ()), files) for job in by_source.values()]
    lines += [_without_job(placement) for placement in placements if placement.source.id not in by_source]
    ordered = sorted(lines, key=lambda line: (line.group, line.machine, line.job))
    return Report(wave, quantities.written(now), tuple(ordered))


def _line(
    job: JobView, source: SourceView | None, passes: Sequence[Passed], files: Mapping[str, str]
) -> Line:
    started = min((run.start for run in job.runs if run.start), default=job.started)
    begun, over = quantities.read(started), quantities.read(job.ended)
    stale = job.rolled_back_images
    return Line(
        machine=source.name if source else job.source,
        moref=source.moref if source else "",
        group=job.group,
        job=job.id,
        state=job.state,
        disks=len(source.disks) if source else 0,
        capacity=source.size if source else 0,
        runs=len(job.runs),
        started=started,
        ended=job.ended,
        seconds=over - begun if begun is not None and over is not None else None,
        planned=sum(passed.planned for passed in passes),
        read=sum(passed.read for passed in passes),
        wire=sum(passed.wire for passed in passes),
        downtime=max((p.downtime for p in passes if p.downtime is not None), default=None),
        image="" if job.image in stale else files.get(job.image, job.image),
        digests=" ".join(passes[0].digests) if passes else "",
        error=job.error,
        rolled_back=" ".join(sorted(filter(None, (files.get(image, image) for image in stale)))),
    )


def _without_job(placement: ResolvedMachine) -> Line:
    """A machine of the manifest that no job of the wave migrates."""
    source = placement.source
    return Line(
        machine=source.name,
        moref=source.moref,
        group=placement.group,
        job="",
        state=MISSING,
        disks=len(source.disks),
        capacity=source.size,
        runs=0,
        started="",
        ended="",
        seconds=None,
        planned=0,
        read=0,
        wire=0,
        downtime=None,
        image="",
        digests="",
        error="",
    )


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)
