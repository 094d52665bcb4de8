"""A plan is a diff: what stands against what the manifest wants, with the exact calls that would make them equal. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from connector.batch import earlier, fields, quantities
from connector.batch.estimate import Estimate, estimate
from connector.batch.job_specification import LEAST_DISK, JobSpecification, creation, specification
from connector.batch.parse import Wave
from connector.batch.plane import GROUP, LEFT_OUT, WAVE, JobView, SourceView
from connector.batch.problems import FilePosition, Problem
from connector.batch.resolve import Resolved, ResolvedMachine
from connector.batch.status import counting
from connector.errors import ControlFailed
from connector.specification.fields import BY_NAME

_GIB: Final = 1 << 30
_SLACK: Final = 3600.0  # seconds between a job's creation and the moment from which its life was counted


class JobChange(StrEnum):
    """What would happen to one machine's job."""

    CREATE = "create"
    CHANGE = "change"
    LEFT = "leave"  # it is as wanted, or beyond change
    UNTOUCHED = "not touched"  # of this wave, and not in the manifest any more


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of the public API."""

    action: str
    parameters: Mapping[str, Any]

    def __str__(self) -> str:
        shown = {name: value for name, value in self.parameters.items() if name != "ClientToken"}
        return f"{self.action} {json.dumps(shown, ensure_ascii=False, sort_keys=True)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One parameter that differs."""

    what: str
    now: Any
    wanted: Any

    def __str__(self) -> str:
        return f"{self.what}: {_shown(self.now)} -> {_shown(self.wanted)}"


@dataclass(frozen=True, slots=True)
class Step:
    """One machine of the wave. `undo` puts a changed job back; a created one is deleted."""

    change: JobChange
    machine: str
    group: str
    specification: JobSpecification | None = None
    job: JobView | None = None
    differences: tuple[Difference, ...] = ()
    calls: tuple[PlannedCall, ...] = ()
    undo: tuple[PlannedCall, ...] = ()
    note: str = ""
    starts: bool = False

    @property
    def mark(self) -> FilePosition:
        return self.specification.placement.mark if self.specification else FilePosition()


@dataclass(frozen=True, slots=True)
class WavePlan:
    """What `apply` would do. With problems it does nothing."""

    wave: Wave
    steps: tuple[Step, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    estimate: Estimate

    @property
    def pending(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.change in (JobChange.CREATE, JobChange.CHANGE))

    @property
    def empty(self) -> bool:
        return not self.pending

    def count(self, change: JobChange) -> int:
        return sum(step.change is change for step in self.steps)


def plan(
    wave: Wave,
    resolved: Resolved,
    sources: Sequence[SourceView],
    jobs: Sequence[JobView],
    now: float,
    elsewhere: Mapping[str, JobView] = MappingProxyType({}),
) -> WavePlan:
    """`jobs`: those that carry the wave's tag, newest first. `elsewhere`: see `earlier.finished_elsewhere`."""
    _require_members(wave, jobs)
    problems, warnings = list(resolved.problems), list(resolved.warnings)
    standing = counting(jobs)
    names = {job.name for job in jobs if job.status != "Finished"}
    steps = []
    for placement in resolved.placements:
        job = standing.get(placement.source.id)
        wanted = specification(wave, placement, names)
        names.add(wanted.name)
        problems += wanted.problems
        if job is None:
            problems += _obstacles(placement)
            warnings += _repeated(placement, elsewhere)
            steps.append(_create(wave, wanted, now))
        else:
            step, wrong, notes = _compare(wave, wanted, job, now)
            steps.append(step)
            problems += wrong
            warnings += notes
    steps += _untouched(jobs, sources, {placement.source.id for placement in resolved.placements})
    if (start := wave.start()) and start <= now and any(step.starts for step in steps):
        mark = wave.mark("schedule", "start")
        what = "the scheduled start has passed: what has not begun is started at once"
        warnings.append(Problem(what, mark, "use `start: manual` to begin by hand", "schedule.start"))
    figures = estimate(
        wave, [step.specification.placement for step in steps if step.specification and _ahead(step)], now
    )
    return WavePlan(wave, tuple(steps), tuple(problems), tuple(warnings), figures)


def _ahead(step: Step) -> bool:
    return step.change is JobChange.CREATE or (step.job is not None and step.job.status == "Ready")


def _obstacles(placement: ResolvedMachine) -> Iterator[Problem]:
    """Why no job can be created for this machine now; the call would be refused."""
    source, path = placement.source, f"machines[{placement.entry}]"
    if source.missing or source.state == "Deleting":
        return  # said already
    if source.state == "Unavailable":
        remedy = "start an appliance for its vCenter, or rescan"
        yield Problem(
            f"{source.name} is not available: {source.trouble or 'offline'}", placement.mark, remedy, path
        )
    elif source.state == "InUse":
        what = f"{source.name} has an unfinished job that is not of this wave ({source.last_job})"
        yield Problem(what, placement.mark, "finish or delete that job, or take the machine out", path)
    if source.blocking:
        what = f"{source.name} cannot be migrated as it is: {source.blocking[0]}"
        remedy = f"`connector vm check {source.name}` lists everything and what to do"
        yield Problem(what, placement.mark, remedy, path)


def _repeated(placement: ResolvedMachine, elsewhere: Mapping[str, JobView]) -> Iterator[Problem]:
    """That this machine has been migrated already."""
    if (job := elsewhere.get(placement.source.id)) is not None:
        what = f"{placement.source.name} was {earlier.sentence(job)}: it would be migrated again"
        yield Problem(
            what, placement.mark, "take it out if that is not wanted", f"machines[{placement.entry}]"
        )


def _create(wave: Wave, wanted: JobSpecification, now: float) -> Step:
    starts = wanted.start is not None and wanted.start <= now
    calls = [PlannedCall("CreateReplicationJob", creation(wanted, wave.name, now))]
    place = wanted.placement
    if place.left_out:
        calls.append(_leaving("(the new job)", place.left_out))
    if starts:
        calls.append(PlannedCall("StartReplicationJob", {"JobId": "(the new job)"}))
    return Step(JobChange.CREATE, place.source.name, place.group, wanted, calls=tuple(calls), starts=starts)


def _compare(
    wave: Wave, wanted: JobSpecification, job: JobView, now: float
) -> tuple[Step, list[Problem], list[Problem]]:
    place = wanted.placement
    if job.status in ("Finished", "Expired"):
        note = (
            "finished" if job.status == "Finished" else "expired: delete the job, and apply creates a new one"
        )
        return Step(JobChange.LEFT, place.source.name, place.group, wanted, job, note=note), [], []
    differences = [*_differences(wanted, job), *_moments(wanted, job, now)]
    problems = [problem for d in differences if (problem := _forbidden(wave, wanted, job, d))]
    tags = {key: value for key, value in wanted.tags.items() if job.tags.get(key) != value}
    starts = job.status == "Ready" and wanted.start is not None and wanted.start <= now
    starts = starts and not job.asked.get("ScheduledStartTime")
    calls, undo = _calls(job, differences, tags, starts)
    told = [
        *differences,
        *(Difference(f"tag {key}", job.tags.get(key), value) for key, value in tags.items()),
    ]
    if starts:
        told.append(Difference("start", "by hand", "at once"))
    change = JobChange.CHANGE if calls else JobChange.LEFT
    note = f"{job.state}: {job.error}" if job.error else job.state
    step = Step(
        change,
        place.source.name,
        place.group,
        wanted,
        job,
        tuple(told),
        calls,
        undo,
        note=note,
        starts=starts,
    )
    return step, problems, list(_notes(wave, wanted, job))


def _calls(
    job: JobView, differences: Sequence[Difference], tags: Mapping[str, str], starts: bool
) -> tuple[tuple[PlannedCall, ...], tuple[PlannedCall, ...]]:
    calls, undo = [], []
    for left in (difference for difference in differences if difference.what == LEFT_OUT):
        calls.append(_leaving(job.id, left.wanted))
        undo.append(_leaving(job.id, left.now or ()))
    differences = [difference for difference in differences if difference.what != LEFT_OUT]
    if differences:
        new = {d.what: d.wanted for d in differences}
        old = {d.what: d.now for d in differences if d.now is not None}
        calls.append(PlannedCall("ModifyReplicationJobAttribute", {"JobId": job.id} | new))
        undo.append(PlannedCall("ModifyReplicationJobAttribute", {"JobId": job.id} | old))
    if tags:
        before = {key: job.tags[key] for key in tags if key in job.tags}
        calls.append(_tagging(job, tags))
        if before:
            undo.append(_tagging(job, before))
    if starts:
        calls.append(PlannedCall("StartReplicationJob", {"JobId": job.id}))
    return tuple(calls), tuple(undo)


def _leaving(job: str, keys: Sequence[int]) -> PlannedCall:
    return PlannedCall("SetReplicationJobDisks", {"JobId": job, "DiskKey": list(keys)})


def _tagging(job: JobView, tags: Mapping[str, str]) -> PlannedCall:
    listed = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
    return PlannedCall(
        "TagResources", {"ResourceType": "replicationjob", "ResourceId": [job.id], "Tag": listed}
    )


def _differences(wanted: JobSpecification, job: JobView) -> Iterator[Difference]:
    for name, value in wanted.asked.items():
        now = _stands(job, name)
        if name == "ReplicationParameters":
            if _object(now) != _object(value):
                yield Difference(name, now or "{}", value)
        elif name == "SystemDiskSize":
            before, after = now or _whole(wanted, 0), value or _whole(wanted, 0)
            if before != after:
                yield Difference(name, before, after)
        elif name == "DataDisk":
            before, after = _disks(now or (), wanted), _disks(value, wanted)
            if before != after:
                yield Difference(name, _listed(before), _listed(after))
        elif name in ("Frequency", "MaxNumberOfImageToKeep") and job.asked.get("RunOnce"):
            continue  # RunOnce differs, and says it
        elif name == LEFT_OUT:
            if list(now or ()) != value:
                yield Difference(name, now or [], value)
        elif (now if now is not None else "") != value:
            yield Difference(name, now, value)


def _stands(job: JobView, name: str) -> Any:
    """What a field is now. A control plane that does not know the field behaves as its default says."""
    now = job.asked.get(name)
    return BY_NAME[name].default if now is None and BY_NAME[name].ours else now


def _moments(wanted: JobSpecification, job: JobView, now: float) -> Iterator[Difference]:
    """What is counted from a moment: a start that has passed, or a life that is right within an hour, is no difference."""
    if job.status == "Ready" and wanted.start is not None and wanted.start > now:
        text = quantities.written(wanted.start)
        if job.asked.get("ScheduledStartTime") != text:
            yield Difference("ScheduledStartTime", job.asked.get("ScheduledStartTime") or None, text)
    created = quantities.read(job.created)
    if wanted.valid_for is not None and created is not None:
        end = created + wanted.valid_for
        stands = quantities.read(str(job.asked.get("ValidTime") or ""))
        if stands is None or abs(stands - end) > _SLACK:
            yield Difference("ValidTime", job.asked.get("ValidTime") or None, quantities.written(end))


def _forbidden(wave: Wave, wanted: JobSpecification, job: JobView, difference: Difference) -> Problem | None:
    """The control plane would refuse this change: said before anything is changed."""
    field, place = BY_NAME[difference.what], wanted.placement
    if job.status in field.changes or job.state in field.changes:
        return None
    path = tuple(field.key.split(".")) if field.key else ()
    here: tuple[str | int, ...] = ("machines", place.entry, *path)
    if len(wave.document.known(here)) < 2 + min(1, len(path)):
        here = ("defaults", *path)
    when = "once the job exists" if not field.changes else f"while the job is {job.status}"
    remedy = "put the old value back, or delete the job and apply again"
    what = f"{place.source.name}: {fields.in_keys(str(difference))} cannot be changed {when} ({job.id})"
    return Problem(what, wave.document.mark(here), remedy, ".".join(map(str, path)))


def _notes(wave: Wave, wanted: JobSpecification, job: JobView) -> Iterator[Problem]:
    if wanted.start is None and job.status == "Ready" and (when := job.asked.get("ScheduledStartTime")):
        what = f"{wanted.placement.source.name} keeps its scheduled start at {when}: it cannot be taken back"
        yield Problem(what, wave.mark("schedule", "start"), "move it, or delete the job and apply again")


def _require_members(wave: Wave, jobs: Sequence[JobView]) -> None:
    """A job of another wave must not be touched. Raises ControlFailed."""
    for job in jobs:
        other = job.tags.get(WAVE, wave.name)
        if other != wave.name:
            what = f"the control plane lists {job.id} of wave {other} among the jobs of {wave.name}"
            raise ControlFailed(what, on=wave.name, remedy="run the same release on both sides")


def _untouched(jobs: Sequence[JobView], sources: Sequence[SourceView], mine: set[str]) -> Iterator[Step]:
    names = {source.id: source.name for source in sources}
    for job in jobs:
        if job.source in mine or job.status == "Deleting":
            continue
        note = f"{job.state}; not in the manifest: `connector job delete {job.id}` if it is not wanted"
        yield Step(
            JobChange.UNTOUCHED,
            names.get(job.source, job.source),
            job.tags.get(GROUP, ""),
            job=job,
            note=note,
        )


def _object(text: object) -> dict[str, Any]:
    try:
        found = json.loads(str(text or "{}"))
    except ValueError:
        return {"": text}
    return (
        {k: v for k, v in found.items() if (k, v) != ("bandwidth_limit", 0)}
        if isinstance(found, dict)
        else {}
    )


def _whole(wanted: JobSpecification, index: int) -> int:
    """What the control plane makes of a disk that nobody enlarges; GiB."""
    size = next((disk.size for disk in wanted.placement.source.disks if disk.index == index), 0)
    return max(-(-size // _GIB), LEAST_DISK)


def _disks(disks: Sequence[Mapping[str, Any]], wanted: JobSpecification) -> dict[int, int]:
    found = {disk.index: _whole(wanted, disk.index) for disk in wanted.placement.source.disks if disk.index}
    return found | {
        int(disk["Index"]): int(disk.get("Size") or found.get(int(disk["Index"]), 0)) for disk in disks
    }


def _listed(disks: Mapping[int, int]) -> list[dict[str, int]]:
    return [{"Index": index, "Size": size} for index, size in sorted(disks.items())]


def _shown(value: Any) -> str:
    if value in (None, "", [], "{}"):
        return "(default)"
    return value if isinstance(value, str) else json.dumps(value)
