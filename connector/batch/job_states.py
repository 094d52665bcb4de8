"""What a job's state means for the cutover of its machine, and what to do when it can have none. Pure."""

from __future__ import annotations

from typing import Final

from connector.batch.parse import Wave
from connector.batch.plane import JobView
from connector.errors import Conflict
from connector.specification import source_down

#: A job in one of these states reaches no cutover by itself. The remedy says what to do.
STUCK: Final = {
    "Ready": "start it: `connector job start {job}`, and wait for its first run",
    "Stopped": "start it again: `connector job start {job}`",
    "InError": "see `connector job logs {job}`, put it right, start it again",
    "Expired": "its validity is over: delete it, and apply again",
}
BACK: Final = "its cutover was rolled back, and its source runs"


def why(job: JobView) -> str:
    """Why a job that is stuck has failed."""
    if job.rolled_back and not job.error:
        return BACK
    return "; ".join(filter(None, (job.down, job.error or job.state)))


def was_stopped(job: JobView) -> bool:
    """Whether its cutover began and was stopped. It goes on when the job is started."""
    return job.status == "Stopped" and job.cut_over


def goes_down(job: JobView) -> bool:
    """Whether its cutover is under way."""
    return job.status == "Running" and job.cut_over


def goes_on(job: JobView) -> bool:
    """Whether its cutover has begun and is not over: it is finished whatever keeps others from beginning."""
    return was_stopped(job) or goes_down(job)


def stays_down(job: JobView) -> bool:
    """Whether its cutover has failed and keeps its source down."""
    return job.status == "InError" and bool(job.down)


def first_run(job: JobView) -> bool:
    """Whether it runs and has no image of an earlier run, so its run is no delta."""
    return job.status == "Running" and not job.cut_over and not any(run.image for run in job.runs)


def stuck(job: JobView, machine: str, wave: Wave, roll_back: str) -> Conflict:
    """Why no cutover of a job can begin, with the command that helps. `roll_back`: the command that takes its cutover back."""
    if job.rolled_back:
        remedy = f"sync it anew with `connector batch start {wave.file}`, then run it again"
        return Conflict(BACK, on=machine, remedy=remedy)
    text = f"it is {job.state}{': ' if job.error else ''}{job.error}"
    if stays_down(job):
        ways = source_down.ways_on(f"`connector job start {job.name}`", f"`{roll_back}`")
        remedy = f"see `connector job logs {job.name}`, put it right, then {ways}"
        return Conflict(f"{job.down}; {text}", on=machine, remedy=remedy)
    return Conflict(text, on=machine, remedy=STUCK[job.status].format(job=job.name))


def early(machine: str, wave: Wave) -> Conflict:
    """A machine in its first run has nothing yet that a last run could complete."""
    remedy = f"wait for it: `connector batch status {wave.file} --watch`, then run the cutover again"
    return Conflict("its first run is not over", on=machine, remedy=remedy)
