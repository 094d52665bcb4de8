"""Where a wave stands: one row for each machine of the manifest's jobs. Pure over what the control plane answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from connector.batch import earlier
from connector.batch.plane import JobView, SourceView
from connector.batch.resolve import ResolvedMachine

MISSING = "missing"  # there is no job
#: Nothing happens to these until somebody asks for it, or their interval comes.
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


@dataclass(frozen=True, slots=True)
class WaveStatus:
    """The whole wave."""

    wave: str
    rows: tuple[MachineStatus, ...]

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(row.status for row in self.rows).items()))

    @property
    def settled(self) -> bool:
        """Nothing is under way or about to begin by itself. What only a person starts does not count."""
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
) -> WaveStatus:
    """In the order of groups and names; of several jobs of one machine the one that counts.

    `placements`: the machines that the manifest names; those without a job are shown as missing.
    `elsewhere`: see `earlier.finished_elsewhere`.
    """
    names = {source.id: source.name for source in sources}
    known = counting(jobs)
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
        )
        for job in known.values()
    ]
    rows += [
        _missing(placement, elsewhere.get(placement.source.id))
        for placement in placements
        if placement.source.id not in known
    ]
    return WaveStatus(wave, tuple(sorted(rows, key=lambda row: (row.group, row.machine, row.job))))


def _note(job: JobView) -> str:
    back = "rolled back, its source runs: `connector batch start` syncs it anew" if job.rolled_back else ""
    starts = _starts(job)
    said = "; ".join(filter(None, (job.down, back, job.error or job.waiting)))
    return said or (f"begins at {starts}" if starts else "")


def _missing(placement: ResolvedMachine, finished: JobView | None) -> MachineStatus:
    note = "no job of this wave: `connector batch apply` makes one"
    if finished is not None:
        note = f"{earlier.sentence(finished)}; `connector batch apply` would migrate it again"
    return MachineStatus(placement.source.name, placement.group, "", MISSING, MISSING, 0.0, "", note)


def _starts(job: JobView) -> str:
    return str(job.asked.get("ScheduledStartTime") or "") if job.status == "Ready" else ""


def counting(jobs: Sequence[JobView]) -> dict[str, JobView]:
    """By source, the job that counts: the unfinished one, else the newest. `jobs` are newest first."""
    found: dict[str, JobView] = {}
    for job in jobs:
        if job.status == "Deleting":
            continue
        known = found.get(job.source)
        if known is None or (known.status == "Finished" and job.status in UNFINISHED):
            found[job.source] = job
    return found
