"""Machines of a wave that were finished outside of it: to apply the wave would migrate them once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.batch.plane import WAVE, JobView, Plane
from connector.batch.resolve import ResolvedMachine


def finished_elsewhere(
    plane: Plane, placements: Sequence[ResolvedMachine], jobs: Sequence[JobView]
) -> Mapping[str, JobView]:
    """By source, its last job when that is finished. `jobs` are the wave's; a source with one of those is left out."""
    own = {job.source for job in jobs}
    asked = [p.source.last_job for p in placements if p.source.last_job and p.source.id not in own]
    last = plane.jobs_by_id(asked) if asked else ()
    return {job.source: job for job in last if job.status == "Finished"}


def sentence(job: JobView) -> str:
    """`finished by wave w0 (j-1), image m-1`; a job of no wave has just its id."""
    by = f"wave {job.tags[WAVE]} ({job.id})" if job.tags.get(WAVE) else f"job {job.id}"
    return f"finished by {by}" + (f", image {job.image}" if job.image else "")
