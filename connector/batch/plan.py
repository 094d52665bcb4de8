"""A plan is the difference between the existing jobs and the manifest, with the exact calls that make them equal. Pure."""

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
_SLACK: Final = 3600.0  # seconds between a job's creation and the time from which its validity was counted


class JobChange(StrEnum):
    """What `apply` would do to one machine's job."""

    CREATE = "create"
    CHANGE = "change"
    LEFT = "leave"  # it is as the manifest asks, or cannot be changed
    UNTOUCHED = "not touched"  # it has the wave's tag, but its machine is no longer in the manifest


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of the public API."""

    action: str
    parameters: Mapping[str, Any]

    def __str__(self) -> str:
        parameters = {name: value for name, value in self.parameters.items() if name != "ClientToken"}
        return f"{self.action} {json.dumps(parameters, ensure_ascii=False, sort_keys=True)}"


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
    """The calls for one machine of the wave. `undo`: the calls that undo a change; a created job is deleted."""

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
    def lasting(self) -> tuple[str, ...]:
        """The parameters that had no value before. No call of `undo` takes their values away again."""
        return tuple(d.what for d in self.differences if d.now is None and d.what in BY_NAME)

    @property
    def mark(self) -> FilePosition:
        return self.specification.placement.mark if self.specification else FilePosition()


@dataclass(frozen=True, slots=True)
class WavePlan:
    """What `apply` would do. If there are problems, it does nothing."""

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
    """The plan. `jobs`: jobs with the wave's tag, newest first. `elsewhere`: see `earlier.finished_elsewhere`."""
    _require_members(wave, jobs)
    problems, warnings = list(resolved.problems), list(resolved.warnings)
    current = counting(jobs)
    names = {job.name for job in jobs if job.status != "Finished"}
    steps = []
    for placement in resolved.placements:
        job = current.get(placement.source.id)
        job_specification = specification(wave, placement, names)
        names.add(job_specification.name)
        problems += job_specification.problems
        if job is None:
            problems += _obstacles(placement)
            warnings += _repeated(placement, elsewhere)
            steps.append(_create(wave, job_specification, now))
        else:
            step, wrong, notes = _compare(wave, job_specification, job, now)
            steps.append(step)
            problems += wrong
            warnings += notes
    own_sources = {placement.source.id for placement in resolved.placements}
    steps += _untouched(jobs, sources, own_sources, certain=not resolved.unresolved)
    if (start := wave.start()) and start <= now and any(step.starts for step in steps):
        mark = wave.mark("schedule", "start")
        text = "the scheduled start has passed: what has not begun is started at once"
        warnings.append(Problem(text, mark, "use `start: manual` to begin by hand", "schedule.start"))
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
        return  # already reported
    if source.state == "Unavailable":
        remedy = "start an appliance for its vCenter, or rescan"
        yield Problem(
            f"{source.name} is not available: {source.trouble or 'offline'}", placement.mark, remedy, path
        )
    elif source.state == "InUse":
        text = f"{source.name} has an unfinished job that is not of this wave ({source.last_job})"
        yield Problem(text, placement.mark, "finish or delete that job, or take the machine out", path)
    left_out = [disk.label for disk in source.disks if disk.key in placement.left_out]
    for finding in source.blocking:
        if not any(finding.concerns(source.name, label) for label in left_out):
            text = f"{source.name} cannot be migrated as it is: {finding.text}"
            remedy = f"`connector vm check {source.name}` lists everything and what to do"
            yield Problem(text, placement.mark, remedy, path)
            return


def _repeated(placement: ResolvedMachine, elsewhere: Mapping[str, JobView]) -> Iterator[Problem]:
    """A warning if this machine has already been migrated."""
    if (job := elsewhere.get(placement.source.id)) is not None:
        text = f"{placement.source.name} was {earlier.sentence(job)}: it would be migrated again"
        yield Problem(
            text, placement.mark, "take it out if that is not wanted", f"machines[{placement.entry}]"
        )


def _create(wave: Wave, specification: JobSpecification, now: float) -> Step:
    starts = specification.start is not None and specification.start <= now
    calls = [PlannedCall("CreateReplicationJob", creation(specification, wave.name, now))]
    place = specification.placement
    if place.left_out:
        calls.append(_leaving("(the new job)", place.left_out))
    if starts:
        calls.append(PlannedCall("StartReplicationJob", {"JobId": "(the new job)"}))
    return Step(
        JobChange.CREATE, place.source.name, place.group, specification, calls=tuple(calls), starts=starts
    )


def _compare(
    wave: Wave, specification: JobSpecification, job: JobView, now: float
) -> tuple[Step, list[Problem], list[Problem]]:
    place = specification.placement
    if job.status in ("Finished", "Expired"):
        note = (
            "finished" if job.status == "Finished" else "expired: delete the job, and apply creates a new one"
        )
        return Step(JobChange.LEFT, place.source.name, place.group, specification, job, note=note), [], []
    differences = [*_differences(specification, job), *_moments(specification, job, now)]
    problems = [problem for d in differences if (problem := _forbidden(wave, specification, job, d))]
    tags = {key: value for key, value in specification.tags.items() if job.tags.get(key) != value}
    starts = job.status == "Ready" and specification.start is not None and specification.start <= now
    starts = starts and not job.asked.get("ScheduledStartTime")
    calls, undo = _calls(job, differences, tags, starts)
    tag_changes = [
        *differences,
        *(Difference(f"tag {key}", job.tags.get(key), value) for key, value in tags.items()),
    ]
    if starts:
        tag_changes.append(Difference("start", "by hand", "at once"))
    change = JobChange.CHANGE if calls else JobChange.LEFT
    note = f"{job.state}: {job.error}" if job.error else job.state
    step = Step(
        change,
        place.source.name,
        place.group,
        specification,
        job,
        tuple(tag_changes),
        calls,
        undo,
        note=note,
        starts=starts,
    )
    return step, problems, list(_notes(wave, specification, job))


def _calls(
    job: JobView, differences: Sequence[Difference], tags: Mapping[str, str], starts: bool
) -> tuple[tuple[PlannedCall, ...], tuple[PlannedCall, ...]]:
    calls, undo = [], []
    for left_out_change in (difference for difference in differences if difference.what == LEFT_OUT):
        calls.append(_leaving(job.id, left_out_change.wanted))
        undo.append(_leaving(job.id, left_out_change.now or ()))
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
        if added := sorted(tags.keys() - before.keys()):
            undo.append(_untagging(job, added))
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


def _untagging(job: JobView, keys: Sequence[str]) -> PlannedCall:
    return PlannedCall(
        "UntagResources", {"ResourceType": "replicationjob", "ResourceId": [job.id], "TagKey": list(keys)}
    )


def _differences(specification: JobSpecification, job: JobView) -> Iterator[Difference]:
    for name, value in specification.asked.items():
        now = _stands(job, name)
        if name == "ReplicationParameters":
            if _object(now) != _object(value):
                yield Difference(name, now or "{}", value)
        elif name == "SystemDiskSize":
            before, after = now or _whole(specification, 0), value or _whole(specification, 0)
            if before != after:
                yield Difference(name, before, after)
        elif name == "DataDisk":
            before, after = _disks(now or (), specification), _disks(value, specification)
            if before != after:
                yield Difference(name, _listed(before), _listed(after))
        elif name in ("Frequency", "MaxNumberOfImageToKeep") and job.asked.get("RunOnce"):
            continue  # the difference of RunOnce covers it
        elif name == LEFT_OUT:
            if list(now or ()) != value:
                yield Difference(name, now or [], value)
        elif (now if now is not None else "") != value:
            yield Difference(name, now, value)


def _stands(job: JobView, name: str) -> Any:
    """The present value of a field. A control plane that does not know the field has its default."""
    now = job.asked.get(name)
    return BY_NAME[name].default if now is None and BY_NAME[name].ours else now


def _moments(specification: JobSpecification, job: JobView, now: float) -> Iterator[Difference]:
    """Differences of times. A start in the past, or a validity that is right within an hour, is no difference."""
    if job.status == "Ready" and specification.start is not None and specification.start > now:
        text = quantities.written(specification.start)
        if job.asked.get("ScheduledStartTime") != text:
            yield Difference("ScheduledStartTime", job.asked.get("ScheduledStartTime") or None, text)
    created = quantities.read(job.created)
    if specification.valid_for is not None and created is not None:
        end = created + specification.valid_for
        stands = quantities.read(str(job.asked.get("ValidTime") or ""))
        if stands is None or abs(stands - end) > _SLACK:
            yield Difference("ValidTime", job.asked.get("ValidTime") or None, quantities.written(end))


def _forbidden(
    wave: Wave, specification: JobSpecification, job: JobView, difference: Difference
) -> Problem | None:
    """The problem of a change that the control plane would refuse, found before anything is changed."""
    field, place = BY_NAME[difference.what], specification.placement
    if job.status in field.changes or job.state in field.changes:
        return None
    path = tuple(field.key.split(".")) if field.key else ()
    manifest_path: tuple[str | int, ...] = ("machines", place.entry, *path)
    if len(wave.document.known(manifest_path)) < 2 + min(1, len(path)):
        manifest_path = ("defaults", *path)
    when = "once the job exists" if not field.changes else f"while the job is {job.status}"
    remedy = "put the old value back, or delete the job and apply again"
    text = f"{place.source.name}: {fields.in_keys(str(difference))} cannot be changed {when} ({job.id})"
    return Problem(text, wave.document.mark(manifest_path), remedy, ".".join(map(str, path)))


def _notes(wave: Wave, specification: JobSpecification, job: JobView) -> Iterator[Problem]:
    if (
        specification.start is None
        and job.status == "Ready"
        and (when := job.asked.get("ScheduledStartTime"))
    ):
        text = (
            f"{specification.placement.source.name} keeps its scheduled start at {when}: it cannot be unset"
        )
        yield Problem(text, wave.mark("schedule", "start"), "move it, or delete the job and apply again")


def _require_members(wave: Wave, jobs: Sequence[JobView]) -> None:
    """Raise ControlFailed if a job belongs to another wave, because it must not be changed."""
    for job in jobs:
        other_wave = job.tags.get(WAVE, wave.name)
        if other_wave != wave.name:
            text = f"the control plane lists {job.id} of wave {other_wave} among the jobs of {wave.name}"
            raise ControlFailed(text, on=wave.name, remedy="run the same release on both sides")


def _untouched(
    jobs: Sequence[JobView], sources: Sequence[SourceView], own_sources: set[str], *, certain: bool
) -> Iterator[Step]:
    """Jobs of machines that no entry names. Not `certain`: an entry that names no machine may mean one of them."""
    names = {source.id: source.name for source in sources}
    for job in jobs:
        if job.source in own_sources or job.status == "Deleting":
            continue
        note = f"{job.state}; not in the manifest: `connector job delete {job.id}` if it is not wanted"
        if not certain:
            note = f"{job.state}; no entry names it yet: first put right the entries that name no machine"
        yield Step(
            JobChange.UNTOUCHED,
            names.get(job.source, job.source),
            job.tags.get(GROUP, ""),
            job=job,
            note=note,
        )


def _object(text: object) -> dict[str, Any]:
    try:
        value = json.loads(str(text or "{}"))
    except ValueError:
        return {"": text}
    return (
        {k: v for k, v in value.items() if (k, v) != ("bandwidth_limit", 0)}
        if isinstance(value, dict)
        else {}
    )


def _whole(specification: JobSpecification, index: int) -> int:
    """The size in GiB that the control plane gives a disk that is not enlarged."""
    size = next((disk.size for disk in specification.placement.source.disks if disk.index == index), 0)
    return max(-(-size // _GIB), LEAST_DISK)


def _disks(disks: Sequence[Mapping[str, Any]], specification: JobSpecification) -> dict[int, int]:
    sizes = {
        disk.index: _whole(specification, disk.index)
        for disk in specification.placement.source.disks
        if disk.index
    }
    return sizes | {
        int(disk["Index"]): int(disk.get("Size") or sizes.get(int(disk["Index"]), 0)) for disk in disks
    }


def _listed(disks: Mapping[int, int]) -> list[dict[str, int]]:
    return [{"Index": index, "Size": size} for index, size in sorted(disks.items())]


def _shown(value: Any) -> str:
    if value in (None, "", [], "{}"):
        return "(default)"
    return value if isinstance(value, str) else json.dumps(value)
