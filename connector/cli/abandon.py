"""`connector migrate --abandon` gives an unfinished migration up: its job and its copied disks go, its images stay.

A migration whose cutover shut the source down is never given up: it is resumed or rolled back.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from connector import amounts
from connector.cli import asking, records
from connector.cli.display import Display
from connector.cli.migration import POLL, STOPPING, UNFINISHED, refuse_open_cutovers
from connector.clients.smc import Json, SmcClient
from connector.errors import BadInput, Conflict
from connector.model import Machine


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A machine with its unfinished job."""

    machine: str
    job: str
    status: str


def unfinished(client: SmcClient, machines: Sequence[Machine]) -> list[Unfinished]:
    """The unfinished jobs of these machines. Raises Conflict for a machine without one, or with an open cutover."""
    refuse_open_cutovers(client, machines)
    jobs = []
    for machine in machines:
        sources = [
            row["SourceId"] for row in records.rows(client, records.MACHINE, MachineId=[machine.moref])
        ]
        rows = records.rows(client, records.JOB, SourceId=sources) if sources else ()
        job = next((row for row in rows if row["Status"] in UNFINISHED), None)
        if job is None:
            raise Conflict(
                "it has no unfinished migration here",
                on=machine.name,
                remedy="nothing is given up; check --to",
            )
        jobs.append(Unfinished(machine.name, job["JobId"], job["Status"]))
    return jobs


def agree(jobs: Sequence[Unfinished], yes: bool) -> None:
    """Ask a person. Raises BadInput without a terminal, and Abort after a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput("it deletes copied disks", on="--abandon", remedy="give --yes")
    names = ", ".join(job.machine for job in jobs)
    question = f"Give up {amounts.plural(len(jobs), 'migration')} ({names}) and delete the copied disks? Images stay."
    if not asking.agreed(question):
        raise click.Abort


def abandon(client: SmcClient, jobs: Sequence[Unfinished], display: Display, target: Path) -> None:
    """Delete these jobs, one after the other, and wait until their target disks are gone."""
    for job in jobs:
        if job.status == "Running":
            _stop(client, job)
        client.call("DeleteReplicationJob", JobId=job.job)
        _wait(partial(_is_gone, client, job), job, "deleted")
        display.say(f"{job.machine}: given up; its images stay, its copied disks are deleted")
        display.say(
            f"{job.machine}: Changed Block Tracking stays as it is; connector doctor --to {target}"
            " --repair --restore-cbt switches it off where it was off before"
        )


def _is_gone(client: SmcClient, job: Unfinished) -> bool:
    return not _rows(client, job)


def _stop(client: SmcClient, job: Unfinished) -> None:
    client.call("StopReplicationJob", JobId=job.job)
    _wait(lambda: all(row["Status"] != "Running" for row in _rows(client, job)), job, "stopped")


def _rows(client: SmcClient, job: Unfinished) -> list[Json]:
    return list(records.rows(client, records.JOB, JobId=[job.job]))


def _wait(done: Callable[[], bool], job: Unfinished, what: str) -> None:
    deadline = time.monotonic() + STOPPING
    while not done():
        if time.monotonic() > deadline:
            raise Conflict(f"it is not {what} yet", on=job.machine, remedy="run the same command again")
        time.sleep(POLL)
