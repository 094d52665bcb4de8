"""`Apply` makes the control plane equal to a plan, completely or not at all.

Every call that can be refused comes before any job starts. If a call fails, the jobs that this run created are deleted and
its changes are undone; what stays is said, with what to do. After a kill, apply again: the same wave and machine have the
same ClientToken and get the same job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, TypeVar

from connector import amounts
from connector.batch import quantities
from connector.batch.fields import in_keys
from connector.batch.job_specification import creation
from connector.batch.plan import JobChange, PlannedCall, Step, WavePlan
from connector.batch.plane import Plane
from connector.batch.problems import FilePosition, ManifestRefused, Problem
from connector.batch.smc_plane import PARALLEL
from connector.errors import Conflict, ConnectorError, Interrupted

ATTEMPTS: Final = 100  # how many deleted jobs of one wave and machine are skipped
RELEASE: Final = 30.0  # seconds until a deleted job that never ran is gone
LATER: Final = 120.0  # seconds until a job that could not be started at once starts by itself

MOST_TAGS: Final = 20  # that one call may set

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done, and what was not, each with its line and what to do."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    undone: int = 0
    left: tuple[Problem, ...] = ()  # of `failures`: what could not be undone
    failures: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


class Apply:
    """Carries out one plan once. `told` gets each machine's name and what was done.

    `marks`: tags that every job gets with its creation, or before its first change; they are undone with the rest.
    """

    def __init__(
        self,
        plane: Plane,
        plan: WavePlan,
        told: Callable[[str, str], None] = lambda _machine, _what: None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        marks: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._plane, self._plan, self._told = plane, plan, told
        self._marks = marks
        self._clock, self._pause = clock, pause
        self._created: dict[str, Step] = {}
        self._due: set[str] = set()  # created jobs whose start came between plan and creation
        self._changed: list[Step] = []

    def run(self) -> Applied:
        """Carry out the plan. Raises `ManifestRefused` if the plan has problems; then nothing was done."""
        if self._plan.problems:
            raise ManifestRefused(self._plan.wave.file, self._plan.problems)
        try:
            failures = self._create() or self._change()
        except ConnectorError as why:
            failures = [Problem(_said(why), FilePosition(), why.remedy or "apply again")]
        except KeyboardInterrupt:  # it is undone like a failure
            raise _interrupted(*self._undo()) from None
        except BaseException:
            self._undo()
            raise
        if failures:
            undone, left = self._undo()
            return Applied(undone=undone, failures=(*failures, *left), left=tuple(left))
        started, trouble, warnings = self._start()
        return Applied(
            created=tuple(sorted(self._created)),
            changed=tuple(step.job.id for step in self._changed if step.job),
            started=tuple(started),
            failures=tuple(trouble),
            warnings=tuple(warnings),
        )

    def _create(self) -> list[Problem]:
        """Create jobs for all new machines. If the job of a token was deleted, the next token is tried."""
        pending = [step for step in self._plan.pending if step.change is JobChange.CREATE]
        for attempt in range(ATTEMPTS):
            failures = self._each(pending, partial(self._create_one, attempt=attempt))
            if failures or not pending:
                return failures
            wanted = {id(step) for step in pending}
            ids = [job for job, step in self._created.items() if id(step) in wanted]
            alive = {job.id for job in self._plane.jobs_by_id(ids) if job.status != "Deleting"}
            pending = [self._created.pop(job) for job in ids if job not in alive]
        return [_problem(step, "its jobs were deleted too often", "rename the wave") for step in pending]

    def _create_one(self, step: Step, attempt: int) -> None:
        if step.specification is None:
            raise AssertionError(f"the step for {step.machine} creates no job")
        now = self._clock()
        parameters = creation(step.specification, self._plan.wave.name, now, attempt)
        marked = [*parameters["Tag"], *({"Key": key, "Value": value} for key, value in self._marks.items())]
        fits = len(marked) <= MOST_TAGS
        job = self._plane.create(parameters | {"Tag": marked} if fits else parameters)
        self._created[job] = step
        if step.specification.start is not None and step.specification.start <= now:
            self._due.add(job)
        if self._marks and not fits:
            self._plane.tag([job], self._marks)
        if step.specification.placement.left_out:
            self._plane.leave_out(job, step.specification.placement.left_out)
        self._told(step.machine, "created")

    def _change(self) -> list[Problem]:
        return self._each([s for s in self._plan.pending if s.change is JobChange.CHANGE], self._change_one)

    def _change_one(self, step: Step) -> None:
        self._changed.append(step)
        if self._marks and step.job:
            self._plane.tag([step.job.id], self._marks)
        for call in step.calls:
            self._do(call)
        self._told(step.machine, "changed")

    def _do(self, call: PlannedCall) -> None:
        parameters = dict(call.parameters)
        if call.action == "ModifyReplicationJobAttribute":
            self._plane.modify(str(parameters.pop("JobId")), parameters)
        elif call.action == "SetReplicationJobDisks":
            self._plane.leave_out(str(parameters["JobId"]), parameters["DiskKey"])
        elif call.action == "TagResources":
            tags = {tag["Key"]: tag["Value"] for tag in parameters["Tag"]}
            self._plane.tag(parameters["ResourceId"], tags)
        elif call.action == "UntagResources":
            self._plane.untag(parameters["ResourceId"], parameters["TagKey"])

    def _start(self) -> tuple[list[str], list[Problem], list[Problem]]:
        """Start the jobs that start at once. A job that cannot start now is scheduled."""
        jobs = {job: step for job, step in self._created.items() if step.starts or job in self._due}
        jobs |= {step.job.id: step for step in self._changed if step.starts and step.job}
        warnings: list[Problem] = []

        def start(job: str) -> None:
            try:
                self._plane.start(job)
            except Conflict as refused:
                soon = quantities.written(self._clock() + LATER)
                self._plane.modify(job, {"ScheduledStartTime": soon})
                text = f"{jobs[job].machine} begins later: {refused.what}"
                warnings.append(Problem(text, jobs[job].mark, "nothing: it is scheduled"))
            self._told(jobs[job].machine, "started")

        failed = dict(_side_by_side(list(jobs), start, whatever=True))
        remedy = "it is created: apply again to start it"
        failures = [_problem(jobs[job], _said(why), remedy) for job, why in failed.items()]
        return sorted(jobs.keys() - failed.keys()), failures, warnings

    def _each(self, steps: Sequence[Step], work: Callable[[Step], None]) -> list[Problem]:
        failed = _side_by_side(steps, work)
        return [
            _problem(step, _said(why), why.remedy or "put it right, then apply again") for step, why in failed
        ]

    def _undo(self) -> tuple[int, list[Problem]]:
        """Delete created jobs and undo changes; answer how many steps, and what could not be undone."""
        created, changed = list(self._created), self._changed[:]
        trouble = [
            (self._created[job], why)
            for job, why in _side_by_side(created, self._plane.delete, whatever=True)
        ]
        trouble += _side_by_side(changed, self._put_back, whatever=True)
        deadline = self._clock() + RELEASE
        while created and self._clock() < deadline:  # their names are free again when they are gone
            if created := [job.id for job in self._plane.jobs_by_id(created) if job.status == "Deleting"]:
                self._pause(0.2)
        remedy = "apply again to go on from there, or delete the job: `connector job list --tag wave`"
        remaining = [_problem(step, f"could not be undone: {_said(why)}", remedy) for step, why in trouble]
        remaining += self._staying(
            [step for step in changed if step not in [failed for failed, _ in trouble]]
        )
        return len(self._created) + len(changed) - len(remaining), remaining

    def _staying(self, steps: Sequence[Step]) -> Iterator[Problem]:
        """What stands in changed jobs although their changes were undone: a value where none was before."""
        concerned = {step.job.id: step for step in steps if step.job and step.lasting}
        try:
            jobs = self._plane.jobs_by_id(list(concerned)) if concerned else ()
        except ConnectorError as silent:
            for step in concerned.values():
                names = ", ".join(step.lasting)
                yield _problem(
                    step, f"{names} may have stayed: {_said(silent)}", "see `connector batch plan`"
                )
            return
        for job in jobs:
            step = concerned[job.id]
            if staying := [f"{name} {job.asked[name]}" for name in step.lasting if job.asked.get(name)]:
                begins = "it begins by itself then: " if "ScheduledStartTime" in step.lasting else ""
                remedy = (
                    f"{begins}change it and apply again, or delete the job: `connector job delete {job.name}`"
                )
                yield _problem(step, f"{', '.join(staying)} stays: it cannot be unset", remedy)

    def _put_back(self, step: Step) -> None:
        for call in step.undo:
            self._do(call)
        if self._marks and step.job:
            before = {key: step.job.tags[key] for key in self._marks if key in step.job.tags}
            if before:
                self._plane.tag([step.job.id], before)
            if added := sorted(self._marks.keys() - before.keys()):
                self._plane.untag([step.job.id], added)


def _interrupted(undone: int, left: Sequence[Problem]) -> Interrupted:
    text = f"stopped, and not applied; {amounts.plural(undone, 'step')} undone"
    if not left:
        return Interrupted(f"{text}: nothing is left of it", remedy="apply again")
    lines = "; ".join(problem.what for problem in left)
    return Interrupted(f"{text}, {len(left)} could not be: {lines}", remedy=left[0].remedy)


def _side_by_side(
    items: Sequence[T], work: Callable[[T], None], *, whatever: bool = False
) -> list[tuple[T, ConnectorError]]:
    """Do the work for every item, a few at a time; answer the failures. After a failure none begins, unless `whatever`."""
    failed: list[tuple[T, ConnectorError]] = []

    def one(entry: T) -> None:
        if failed and not whatever:
            return
        try:
            work(entry)
        except ConnectorError as why:
            failed.append((entry, why))

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="apply") as pool:
        _drain(pool.map(one, items))
    return failed


def _drain(results: Iterable[None]) -> None:
    for _ in results:
        pass


def _said(why: ConnectorError) -> str:
    return f"{why.on}: {why.what}" if why.on else why.what


def _problem(step: Step, text: str, remedy: str) -> Problem:
    path = f"machines[{step.specification.placement.entry}]" if step.specification else ""
    mark = step.mark if step.specification else FilePosition()
    subject = "" if text.startswith(step.machine) else f"{step.machine}: "
    return Problem(f"{subject}{in_keys(text)}", mark, in_keys(remedy), path)
