"""`begin` starts a wave's jobs by hand. It never resumes a cutover, which would shut a source down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from connector.batch.plane import JobView, Plane
from connector.batch.status import counting
from connector.errors import BadInput, Conflict, Ineligible, NotFound

_BY_HAND: Final = ("Ready", "Stopped")


@dataclass(frozen=True, slots=True)
class Begun:
    """Names of machines. `left`: their cutover was stopped. `failed`: each with the reason. `others`: each with its state."""

    started: tuple[str, ...]
    left: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...] = ()


def begin(plane: Plane, wave: str, told: Callable[[str, str], None] = lambda _name, _what: None) -> Begun:
    """Start Ready jobs and resume Stopped jobs. A refused job does not stop the others.

    `told` gets one line for each machine. Raises NotFound if the wave has no jobs.
    """
    jobs = list(counting(plane.jobs(wave)).values())
    if not jobs:
        raise NotFound("the wave has no jobs", on=wave, remedy="apply it first")
    names = {source.id: source.name for source in plane.sources()}
    started, left_out, failed, others = [], [], [], []
    for job in jobs:
        name = names.get(job.source, job.name)
        if job.status not in _BY_HAND:
            others.append((name, job.state))
            continue
        if job.cut_over:
            told(name, "left: its cutover was stopped, and `connector batch cutover` resumes it")
            left_out.append(name)
        elif refusal := _refusal(plane, job):
            told(name, f"not started: {refusal}")
            failed.append((name, refusal))
        else:
            told(name, "started")
            started.append(name)
    return Begun(tuple(started), tuple(left_out), tuple(failed), tuple(others))


def _refusal(plane: Plane, job: JobView) -> str:
    try:
        plane.start(job.id)
    except (BadInput, Conflict, Ineligible, NotFound) as refused:  # NotFound: somebody has just deleted it
        return str(refused)
    return ""
