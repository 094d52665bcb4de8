"""How long a cutover would keep the source down, from what its passes so far have measured. Pure.

    shutdown + snapshot + what will have changed / rate + proof and the rest of a pass + image

What will have changed follows from what changed between the last two passes, in proportion to the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from connector.control.domain.entities import Job, JobImage, Json, Outcome, Pass
from connector.control.domain.jobs import ROLLING_BACK, JobStatus
from connector.kinds import PassKind

SHUTDOWN: Final = 60.0  # seconds that a guest is taken to need until one of its shutdowns was measured


@dataclass(frozen=True, slots=True)
class Downtime:
    """Seconds, by what they are spent on. `changed`: bytes that the last pass would read."""

    shutdown: float
    snapshot: float
    reading: float
    rest: float
    image: float
    changed: int

    @property
    def seconds(self) -> float:
        return self.shutdown + self.snapshot + self.reading + self.rest + self.image

    def to_json(self) -> Json:
        return asdict(self) | {"seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class Outage:
    """A source that a cutover has shut down; neither the cutover nor a rollback has ended.

    `since`: seconds since the epoch. `back_in`: seconds until the cutover is expected to end, 0 or less when it takes
    longer than predicted, None when nobody knows. `at_rest`: nothing is under way that ends it.
    """

    since: float
    back_in: float | None = None
    at_rest: bool = False


def outage(job: Job, now: float) -> Outage | None:
    """None while the source is up, and when the cutover is done: then the image has taken its place."""
    if job.down_since is None or job.status in (JobStatus.FINISHED, JobStatus.DELETED):
        return None
    if job.status is not JobStatus.RUNNING:
        return Outage(job.down_since, at_rest=True)
    if job.state == ROLLING_BACK or job.predicted_downtime is None:
        return Outage(job.down_since)
    return Outage(job.down_since, job.predicted_downtime - max(0.0, now - job.down_since))


def predicted(job: Job, passes: Sequence[Pass], images: Sequence[JobImage], now: float) -> Downtime | None:
    """For a cutover that begins now; None before the first delta, when nobody knows how much changes."""
    done = [p for p in passes if p.outcome is Outcome.DONE and p.task.reads and _disks(p)]
    if len(done) < 2 or any(disk.get("kind") == PassKind.FULL for disk in _disks(done[-1])):
        return None
    before, last = done[-2], done[-1]
    changed = _changed(before, last, now)
    reading = max(float(disk.get("seconds") or 0.0) for disk in _disks(last))
    read = _sum(last, "read")
    spent = max(0.0, (last.ended or 0.0) - (last.taken or 0.0))
    return Downtime(
        shutdown=_shutdown(job, [p for p in passes if p.outcome is Outcome.DONE]),
        snapshot=float(_cost(last).get("create") or 0.0) + float(_cost(last).get("remove") or 0.0),
        reading=reading * changed / read if read else 0.0,
        rest=max(0.0, spent - reading - float(_cost(last).get("create") or 0.0)),
        image=_image(images),
        changed=changed,
    )


def _changed(before: Pass, last: Pass, now: float) -> int:
    """As much in each second since the last snapshot as in each between the last two; no more than there is."""
    span = max(1.0, (last.taken or 0.0) - (before.taken or 0.0))
    since = max(0.0, now - (last.taken or now))
    return min(int(_sum(last, "planned") * since / span), _sum(last, "capacity"))


def _shutdown(job: Job, done: Sequence[Pass]) -> float:
    measured = [(p.result or {}).get("shutdown") for p in done]
    known = [float(seconds) for seconds in measured if seconds is not None]
    return known[-1] if known else min(SHUTDOWN, job.shutdown_deadline)


def _image(images: Sequence[JobImage]) -> float:
    took = [image.completed - image.created for image in images if image.completed is not None]
    return max(0.0, took[-1]) if took else 0.0


def _disks(found: Pass) -> list[Json]:
    disks: list[Json] = (found.result or {}).get("disks", [])
    return disks


def _sum(found: Pass, what: str) -> int:
    return sum(int(disk.get(what) or 0) for disk in _disks(found))


def _cost(found: Pass) -> dict[str, Any]:
    cost: dict[str, Any] = (found.result or {}).get("toll") or {}
    return cost
