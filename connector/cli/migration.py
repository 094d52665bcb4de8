"""What one `connector migrate` does with each machine: find its job or make one, start it, watch it to the end.

A machine has at most one unfinished job. Running again continues it: resumes what was interrupted, else the next delta.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import Any

from connector.cli.display import Display
from connector.cli.job_client import JobClient
from connector.cli.stack import Stack
from connector.errors import Conflict, ConnectorError, Interrupted, StateRestored, from_json
from connector.model import Machine

POLL = 0.3  # seconds between two looks at the jobs

LONGEST_NAME = 60  # of 101 that an image may have: its cycle and its job are appended
UNFINISHED = ("Ready", "Running", "Stopped", "InError", "Waiting")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted for each machine. `cutover` implies that the job stays open for deltas until it."""

    incremental: bool = False
    cutover: bool = False
    image_format: str = "raw"
    shutdown_deadline: float = 300.0
    allow_power_off: bool = False
    audit: float | None = None
    accept_removed_disks: bool = False

    def parameters(self) -> dict[str, Any]:
        """What may be said anew with every start of a job."""
        return {
            "shutdown_deadline": self.shutdown_deadline,
            "allow_power_off": self.allow_power_off,
            "audit": self.audit,
            "accept_removed_disks": self.accept_removed_disks,
        }


@dataclass(slots=True)
class _Watched:
    """One machine under way. `cut` tells that the cutover itself has been asked for."""

    name: str
    job: str
    cut: bool = False
    phase: str = ""
    ended: dict[str, Any] | None = None
    errors: list[ConnectorError] = field(default_factory=list)


def migrate(stack: Stack, machines: Sequence[Machine], wish: Wish, display: Display) -> list[dict[str, Any]]:
    """Bring every machine as far as `wish` says; answers the finished jobs as the control plane shows them.

    A machine that fails does not stop the others; the first failure is raised after all have ended. On an interrupt every
    job is asked to stop first, so that no snapshot stays.
    """
    watched = [stack.patiently(partial(_begin, stack, machine, wish)) for machine in machines]
    try:
        while any(one.ended is None for one in watched):
            stack.check()
            for one in watched:
                if one.ended is None:
                    stack.patiently(partial(_look, stack.jobs, one, wish, display))
            time.sleep(POLL)
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may be what has gone
            display.say("stopping; snapshots are being removed")
        _stop_all(stack, watched)
        raise Interrupted("stopped", remedy="run the same command again to resume") from None
    for one in watched:
        if one.errors:
            raise one.errors[0]
    return [one.ended for one in watched if one.ended is not None]


def _begin(stack: Stack, machine: Machine, wish: Wish) -> _Watched:
    jobs = stack.jobs
    source = next(s for s in jobs.sources() if s["moref"] == machine.moref)
    mine = [job for job in jobs.jobs() if job["source_id"] == source["id"]]
    job = next((job for job in mine if job["status"] in UNFINISHED), None)
    if job is None and mine and _resumed(stack, mine[0]):
        job = mine[0]
    job = job or _create(stack, machine, source["id"], wish)
    if job["run_once"] and (wish.incremental or wish.cutover):
        raise Conflict(
            "an unfinished migration was begun without --incremental and --cutover",
            on=machine.name,
            remedy="finish it with the command that began it, or use another --to",
        )
    one = _Watched(machine.name, job["id"])
    if job["status"] == "Waiting" and wish.cutover:
        _cut(jobs, one, wish)
    elif job["status"] != "Running" and not _resumed(stack, job):
        jobs.start(job["id"], **wish.parameters())
        one.cut = bool(job["cutover"])
    return one


def _resumed(stack: Stack, job: dict[str, Any]) -> bool:
    """Whether this very start took up the job's interrupted run and has brought it to its good end already."""
    runs = stack.jobs.job(job["id"])["runs"]
    if not runs or runs[-1]["outcome"] != "done":
        return False
    return bool(runs[-1]["started"] < stack.began <= runs[-1]["ended"])


def _create(stack: Stack, machine: Machine, source: str, wish: Wish) -> dict[str, Any]:
    jobs = stack.jobs
    name = free_name(plain_name(machine.name), {job["name"] for job in jobs.jobs()}, stack.images())
    return jobs.create(
        source,
        name,
        run_once=not (wish.incremental or wish.cutover),
        image_name=name,
        image_format=wish.image_format,
        **wish.parameters(),
    )


def _look(jobs: JobClient, one: _Watched, wish: Wish, display: Display) -> None:
    job = jobs.job(one.job)
    phase = (
        job["phase"]
        if job["business_status"] == "Syncing" and job["phase"]
        else job["business_status"] or job["status"]
    )
    if phase != one.phase:
        one.phase = phase
        display.phase(one.name, phase)
    if job["business_status"] == "Syncing":
        for disk in job["disks"]:
            display.disk(one.name, disk)
    if job["status"] == "Running":
        return
    if job["status"] == "Waiting" and wish.cutover and not one.cut:
        _cut(jobs, one, wish)
        return
    if (job["error"] or {}).get("error") == StateRestored.__name__:
        jobs.start(one.job, **wish.parameters())  # its run met a state that was not confirmed yet
        return
    one.ended = job
    if job["status"] not in ("Finished", "Waiting"):
        one.errors.append(_why(one, job))


def _cut(jobs: JobClient, one: _Watched, wish: Wish) -> None:
    jobs.cutover(one.job, sync_data=True, **wish.parameters())
    one.cut = True


def _why(one: _Watched, job: dict[str, Any]) -> ConnectorError:
    if job["error"]:
        failed = from_json(job["error"])
        failed.on = failed.on or one.name
        return failed
    return Interrupted(
        f"the job is {job['status']}", on=one.name, remedy="run the same command again to resume"
    )


def _stop_all(stack: Stack, watched: Sequence[_Watched]) -> None:
    """Ask every running job to stop and wait until none is; stopping the appliance afterwards catches the rest."""
    for one in watched:
        if one.ended is None:
            try:
                stack.jobs.stop(one.job)
            except ConnectorError:
                continue  # not in a state that can be stopped; leaving the house stops it too
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        if all(stack.jobs.job(one.job)["business_status"] != "Syncing" for one in watched):
            return
        time.sleep(POLL)


def free_name(name: str, jobs: Collection[str], images: Collection[str]) -> str:
    """`name`, else `name-2` and so on: of no job, and of no image, those of single runs included."""

    def free(candidate: str) -> bool:
        run = f"{candidate}_CYCLE_"
        return candidate not in jobs and all(i != candidate and not i.startswith(run) for i in images)

    return next(filter(free, chain([name], (f"{name}-{number}" for number in count(2)))))


def plain_name(name: str) -> str:
    """A machine's name as jobs and images may be called, with room for what they append.

    A letter first, then letters, digits, "_", "." or "-".
    """
    plain = re.sub(r"[^A-Za-z0-9_.\-]+", "-", name).strip("-.")
    if not plain or not plain[0].isalpha():
        plain = f"vm-{plain}"
    return plain[:LONGEST_NAME].ljust(2, "-")
