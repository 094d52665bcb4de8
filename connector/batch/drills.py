"""The drills of a wave: one machine after the other is rehearsed by the control plane, as the manifest wants it.

A machine without an image, or whose drill cannot be done, stops no other machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from connector.batch.manifest import DrillSection
from connector.batch.plane import DrillView, JobView, Plane
from connector.batch.resolve import ResolvedMachine
from connector.batch.status import counting
from connector.errors import BadInput, Conflict, ControlFailed, Ineligible, NotFound
from connector.outages import Silence

PACE: Final = 2.0  # seconds between two looks


@dataclass(frozen=True, slots=True)
class WantedDrill:
    """A machine that the manifest wants to be rehearsed. `job` is empty without a job. `network`: "" means as the job says."""

    machine: str
    group: str
    job: str
    network: str


@dataclass(frozen=True, slots=True)
class DrillResult:
    """How the drill of one machine ended. `boots`: None when no copy was started to its end; `text` says why."""

    machine: str
    group: str
    image: str
    boots: bool | None
    text: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def wanted(placements: Sequence[ResolvedMachine], jobs: Sequence[JobView]) -> list[WantedDrill]:
    """The drills that a manifest wants, in the order of groups and names. `jobs`: those of the wave, newest first."""
    job_of = counting(jobs)
    drills = []
    for placement in placements:
        choice = placement.choices.drill
        if not choice:
            continue
        network = choice.network if isinstance(choice, DrillSection) else None
        job = job_of.get(placement.source.id)
        drills.append(
            WantedDrill(placement.source.name, placement.group, job.id if job else "", network or "")
        )
    return sorted(drills, key=lambda drill: (drill.group, drill.machine))


def drill_all(
    plane: Plane,
    drills: Sequence[WantedDrill],
    told: Callable[[str, str], None],
    pause: Callable[[float], None],
) -> list[DrillResult]:
    """Do one after the other. `told` gets a line for each machine when its drill begins, goes on and ends."""
    results = []
    for drill in drills:
        result = _one(plane, drill, told, pause)
        told(drill.machine, result.text)
        results.append(result)
    return results


def _one(
    plane: Plane, drill: WantedDrill, told: Callable[[str, str], None], pause: Callable[[float], None]
) -> DrillResult:
    if not drill.job:
        text = "not tried: it has no job; `connector batch apply` makes one"
        return DrillResult(drill.machine, drill.group, "", None, text)
    try:
        view = plane.start_drill(drill.job, drill.network)
    except (BadInput, Conflict, Ineligible, NotFound) as refused:
        return DrillResult(drill.machine, drill.group, "", None, f"not tried: {refused}")
    silence, last_text = Silence(lambda line: told(drill.machine, line)), ""
    while view.open:
        if view.text != last_text:
            last_text = view.text
            told(drill.machine, last_text)
        pause(PACE)
        try:
            view = _again(plane, view)
            silence.heard()
        except ControlFailed as failed:
            silence.bear(failed)
    return DrillResult(drill.machine, drill.group, view.image, view.boots, view.text)


def _again(plane: Plane, view: DrillView) -> DrillView:
    newer = plane.drills([view.job]).get(view.job)
    if newer is None or newer.id != view.id:
        return DrillView(
            view.id, view.job, view.image, open=False, boots=None, text="its drill is gone", ended=""
        )
    return newer
