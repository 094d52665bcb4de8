"""A machine that another job has already migrated is reported, because applying the wave would migrate it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.batch.plane import WAVE, JobView, Plane
from connector.batch.resolve import ResolvedMachine


def finished_elsewhere(
    plane: Plane, placements: Sequence[ResolvedMachine], jobs: Sequence[JobView]
) -> Mapping[str, JobView]:
    """The last job of each source, if it is finished. Sources with one of the wave's `jobs` are left out."""
    wave_sources = {job.source for job in jobs}
    job_ids = [p.source.last_job for p in placements if p.source.last_job and p.source.id not in wave_sources]
    last = plane.jobs_by_id(job_ids) if job_ids else ()
    return {job.source: job for job in last if job.status == "Finished"}


def sentence(job: JobView) -> str:
    """`finished by wave w0 (j-1), image m-1`; for a job of no wave only its id."""
    by = f"wave {job.tags[WAVE]} ({job.id})" if job.tags.get(WAVE) else f"job {job.id}"
    return f"finished by {by}" + (f", image {job.image}" if job.image else "")
