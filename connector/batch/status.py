"""The status of a wave has one row for each machine of its jobs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from connector.batch import earlier
from connector.batch.plane import DrillView, JobView, SourceView
from connector.batch.resolve import ResolvedMachine

MISSING = "missing"  # there is no job
#: A job in one of these states does nothing until somebody asks for it, or its next run is due.
SETTLED = ("Finished", "Waiting", "InError", "Stopped", "Expired", MISSING)
FAILED = ("InError", "Expired")
UNFINISHED = ("Ready", "Running", "Waiting", "Stopped", "InError")


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One machine."""

    machine: str
    group: str
    job: str
    status: str
    state: str
    progress: float
    image: str
    note: str  # why it waits, or what failed
    starts: str = ""  # when it begins by itself; ISO 8601
    name: str = ""  # of the job
    drill: str = ""  # its last drill, and when that ended


@dataclass(frozen=True, slots=True)
class WaveStatus:
    """The status of the whole wave."""

    wave: str
    rows: tuple[MachineStatus, ...]

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(row.status for row in self.rows).items()))

    @property
    def settled(self) -> bool:
        """Whether nothing is under way or about to begin by itself. Jobs that only a person starts do not count."""
        return all(row.status in SETTLED or (row.status == "Ready" and not row.starts) for row in self.rows)

    @property
    def finished(self) -> bool:
        return bool(self.rows) and all(row.status == "Finished" for row in self.rows)

    @property
    def failed(self) -> tuple[MachineStatus, ...]:
        return tuple(row for row in self.rows if row.status in FAILED)

    def to_json(self) -> dict[str, Any]:
        return {"wave": self.wave, "counts": self.counts, "machines": [asdict(row) for row in self.rows]}


def status(
    wave: str,
    jobs: Sequence[JobView],
    sources: Sequence[SourceView],
    placements: Sequence[ResolvedMachine] = (),
    elsewhere: Mapping[str, JobView] = MappingProxyType({}),
    drills: Mapping[str, DrillView] = MappingProxyType({}),
) -> WaveStatus:
    """The status, in the order of groups and names. Of several jobs of one machine, `counting` decides which one counts.

    `placements`: the machines of the manifest; those without a job are shown as missing.
    `elsewhere`: see `earlier.finished_elsewhere`. `drills`: the last drill of each job, by job.
    """
    asked_for = {placement.source.id for placement in placements if placement.choices.drill}
    names = {source.id: source.name for source in sources}
    job_of = counting(jobs)
    rows = [
        MachineStatus(
            names.get(job.source, job.source),
            job.group,
            job.id,
            job.status,
            job.state,
            job.progress,
            job.image,
            _note(job),
            _starts(job),
            job.name,
            _drill(drills.get(job.id), is_wanted=job.source in asked_for),
        )
        for job in job_of.values()
    ]
    rows += [
        _missing(placement, elsewhere.get(placement.source.id))
        for placement in placements
        if placement.source.id not in job_of
    ]
    return WaveStatus(wave, tuple(sorted(rows, key=lambda row: (row.group, row.machine, row.job))))


def _note(job: JobView) -> str:
    back = "rolled back, its source runs: `connector batch start` syncs it anew" if job.rolled_back else ""
    starts = _starts(job)
    note = "; ".join(filter(None, (job.down, back, job.error or job.waiting)))
    return note or (f"begins at {starts}" if starts else "")


def _drill(drill: DrillView | None, *, is_wanted: bool) -> str:
    if drill is None:
        return "none so far" if is_wanted else ""
    return f"{drill.text}, {drill.ended}" if drill.ended else drill.text


def _missing(placement: ResolvedMachine, finished: JobView | None) -> MachineStatus:
    note = "no job of this wave: `connector batch apply` makes one"
    if finished is not None:
        note = f"{earlier.sentence(finished)}; `connector batch apply` would migrate it again"
    return MachineStatus(placement.source.name, placement.group, "", MISSING, MISSING, 0.0, "", note)


def _starts(job: JobView) -> str:
    return str(job.asked.get("ScheduledStartTime") or "") if job.status == "Ready" else ""


def counting(jobs: Sequence[JobView]) -> dict[str, JobView]:
    """The job that counts for each source: the unfinished one, else the newest. `jobs`: newest first."""
    job_of: dict[str, JobView] = {}
    for job in jobs:
        if job.status == "Deleting":
            continue
        present = job_of.get(job.source)
        if present is None or (present.status == "Finished" and job.status in UNFINISHED):
            job_of[job.source] = job
    return job_of
