"""What a job allows besides its state, and what follows for an order from what happened to it before. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from connector.control.domain import jobs
from connector.control.domain.entities import Job, Pass


def allowed(row: Job) -> list[jobs.JobEvent]:
    """The events that a person may ask for now."""
    return [event for event in jobs.allowed(row.state) if event not in impossible(row)]


def impossible(row: Job) -> set[jobs.JobEvent]:
    """The events that this job never allows, whatever its state.

    The members of an application are cut over and rolled back together. A job that runs once has no cutover. A job that
    was never cut over has no rollback.
    """
    never: set[jobs.JobEvent] = set()
    if row.run_once or row.application:
        never |= {jobs.JobEvent.CUTOVER, jobs.JobEvent.CLOSE}
    if row.application or not (row.cutover or row.last_sync):
        never.add(jobs.JobEvent.ROLLBACK)
    return never


def must_power_on(row: Job) -> bool:
    """Whether a rollback powers the source on: a cutover of this job shut it down."""
    return row.down_since is not None


def read_by(attempts: Sequence[Pass]) -> dict[str, list[str]]:
    """The readers that these attempts reported, by the key of the disk, in their order and without repetition."""
    names: dict[str, dict[str, None]] = {}
    for attempt in attempts:
        for disk in attempt.disks:
            for name in str(disk.get("reader") or "").split(", "):
                if name:
                    names.setdefault(str(disk["key"]), {})[name] = None
    return {key: list(known) for key, known in names.items()}
