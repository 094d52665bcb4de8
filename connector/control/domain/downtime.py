"""The downtime of a cutover is predicted from what the job's passes have measured so far. Pure.

    shutdown + snapshot + what will have changed / rate + proof and the rest of a pass + image with its conversion

The bytes that will have changed grow with time as they grew between the last two passes. When a downtime has really begun is
recorded by `Cutovers.going_down` in `store/cutovers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from connector.control.domain.drills import Drill
from connector.control.domain.entities import Job, JobImage, Json, Outcome, Pass
from connector.control.domain.jobs import ROLLING_BACK, JobState, JobStatus
from connector.kinds import PassKind

SHUTDOWN: Final = 60.0  # seconds that a guest's shutdown is assumed to take until one was measured


@dataclass(frozen=True, slots=True)
class Downtime:
    """Seconds for each part of a cutover. `changed`: bytes that the last pass would read."""

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
    """A source that a cutover has shut down, while neither the cutover nor a rollback has ended.

    `since`: seconds since the epoch. `back_in`: seconds until the cutover is expected to end; 0 or less when it takes
    longer than predicted; None when there is no prediction. `at_rest`: nothing is under way that ends the outage.
    """

    since: float
    back_in: float | None = None
    at_rest: bool = False


class MayBeDown(Protocol):
    """A job, as far as it says whether its source is down."""

    @property
    def status(self) -> JobStatus: ...

    @property
    def state(self) -> JobState: ...

    @property
    def down_since(self) -> float | None: ...

    @property
    def predicted_downtime(self) -> float | None: ...


def outage(job: MayBeDown, now: float) -> Outage | None:
    """The outage of the job's source; None while the source is up, and after the cutover, when the image has replaced it."""
    if job.down_since is None or job.status in (JobStatus.FINISHED, JobStatus.DELETED):
        return None
    if job.status is not JobStatus.RUNNING:
        return Outage(job.down_since, at_rest=True)
    if job.state == ROLLING_BACK or job.predicted_downtime is None:
        return Outage(job.down_since)
    return Outage(job.down_since, job.predicted_downtime - max(0.0, now - job.down_since))


def predicted(
    job: Job, passes: Sequence[Pass], images: Sequence[JobImage], now: float, drill: Drill | None = None
) -> Downtime | None:
    """The downtime of a cutover that begins now; None before the first delta, because nothing says yet how much changes.

    `drill`: the last one that started a copy. It says how long a conversion and a start take that the last image did without.
    """
    readings = [p for p in passes if p.outcome is Outcome.DONE and p.task.reads and _disks(p)]
    if len(readings) < 2 or any(disk.get("kind") == PassKind.FULL for disk in _disks(readings[-1])):
        return None
    before, last = readings[-2], readings[-1]
    changed = _changed(before, last, now)
    reading = max(float(disk.get("seconds") or 0.0) for disk in _disks(last))
    read = _sum(last, "read")
    spent = max(0.0, (last.ended or 0.0) - (last.taken or 0.0))
    return Downtime(
        shutdown=_shutdown(job, [p for p in passes if p.outcome is Outcome.DONE]),
        snapshot=float(_cost(last).get("create") or 0.0) + float(_cost(last).get("remove") or 0.0),
        reading=reading * changed / read if read else 0.0,
        rest=max(0.0, spent - reading - float(_cost(last).get("create") or 0.0)),
        image=_image(images) + _conversion(job, images, drill),
        changed=changed,
    )


def _changed(before: Pass, last: Pass, now: float) -> int:
    """Bytes changed since the last snapshot, at the rate between the last two snapshots; at most the disks' capacity."""
    span = max(1.0, (last.taken or 0.0) - (before.taken or 0.0))
    since = max(0.0, now - (last.taken or now))
    return min(int(_sum(last, "planned") * since / span), _sum(last, "capacity"))


def _shutdown(job: Job, passes: Sequence[Pass]) -> float:
    measured = [(p.result or {}).get("shutdown") for p in passes]
    durations = [float(seconds) for seconds in measured if seconds is not None]
    return durations[-1] if durations else min(SHUTDOWN, job.shutdown_deadline)


def _image(images: Sequence[JobImage]) -> float:
    durations = [image.completed - image.created for image in images if image.completed is not None]
    return max(0.0, durations[-1]) if durations else 0.0


def _conversion(job: Job, images: Sequence[JobImage], drill: Drill | None) -> float:
    """What the conversion and the start of a copy add that the last image's own time does not have yet."""
    done: Json = (images[-1].details.get("conversion") or {}) if images else {}
    report: Json = (drill.report or {}) if drill is not None else {}
    boot: Json = report.get("boot") or {}
    seconds = 0.0
    if job.definition.get("Conversion", "none") != "none" and "conversion" not in done:
        seconds += float(report.get("conversion_seconds") or 0.0)
    if job.definition.get("BootCheck") and "boot" not in done:
        seconds += float(boot.get("seconds") or 0.0)
    return seconds


def _disks(attempt: Pass) -> list[Json]:
    disks: list[Json] = (attempt.result or {}).get("disks", [])
    return disks


def _sum(attempt: Pass, figure: str) -> int:
    return sum(int(disk.get(figure) or 0) for disk in _disks(attempt))


def _cost(attempt: Pass) -> dict[str, Any]:
    cost: dict[str, Any] = (attempt.result or {}).get("toll") or {}
    return cost
