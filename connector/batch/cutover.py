"""A wave is cut over group by group. A group begins only inside its window, and only if all of its machines can be cut over.

Each group is judged alone: one that cannot begin stops only those that wait for it. If a machine fails, no other group begins.
A machine belongs to the group that the manifest says; one without a job keeps its group from its cutover (`jobless`).
No source is shut down after the window. A cutover that has begun is finished, also one that was stopped, whatever keeps its
group from beginning: the window, another machine, or a group that it waits for (`_held`).
No state is kept here: after a crash, the next run finds finished groups finished, runs the hooks that are still owed (`owed`)
and follows the jobs under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from connector import amounts
from connector.batch import job_states, jobless, quantities
from connector.batch.earlier import finished_elsewhere
from connector.batch.groups import order, ranks
from connector.batch.hooks import HookFailed, HookRunner
from connector.batch.interruption import application, interrupted, interrupted_unheard
from connector.batch.job_states import STUCK, first_run, goes_down, goes_on, was_stopped
from connector.batch.manifest import Happening, Phase
from connector.batch.owed import OwedHooks, owes
from connector.batch.parse import Wave
from connector.batch.plane import GROUP, JobView, Plane, SourceView
from connector.batch.refusals import Refusals
from connector.batch.resolve import Resolved, ResolvedMachine, resolve
from connector.batch.status import counting
from connector.errors import (
    BadInput,
    Conflict,
    ConnectorError,
    ControlFailed,
    Ineligible,
    Interrupted,
    NotFound,
)
from connector.outages import Silence

POLL: Final = 2.0


@dataclass(frozen=True, slots=True)
class CutoverResult:
    """The groups in their order. `failed`: machines with their reasons."""

    finished: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    not_begun: tuple[str, ...] = ()


class CutOver:
    """Carries out one cutover. `told` gets one line for each event. `pause` waits that many seconds."""

    def __init__(
        self,
        plane: Plane,
        wave: Wave,
        around: HookRunner,
        told: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._plane, self._wave, self._around, self._told = plane, wave, around, told
        self._clock, self._pause = clock, pause
        self._owed = OwedHooks(plane, around)
        self._regardless = False
        #: Groups of which nothing may begin: the ids of the jobs whose cutover has begun and goes on.
        self._held: dict[str, set[str]] = {}
        self._resuming: set[str] = set()  # jobs whose cutover had been stopped, until they are started again
        self._sources: Sequence[SourceView] = ()
        self._names: dict[str, str] = {}
        self._resolved = Resolved((), ())
        self._group_of: dict[str, str] = {}  # by source, as the manifest says
        #: Of each job: the state that was said last, and whether its source was down.
        self._shown: dict[str, tuple[str, bool]] = {}
        self._refusals = Refusals(told)
        self._orders = {group.name: group.shutdownOrder for group in wave.manifest.groups}
        self._after = {group.name: group.after for group in wave.manifest.groups}

    def run(self, *, regardless: bool = False, poll: float = POLL) -> CutoverResult:
        """Cut the groups over. `regardless`: ignore the windows. Raises `Conflict` if no group may begin now.

        After an interrupt it raises `Interrupted`, which names what goes on without it.
        """
        self._regardless = regardless
        try:
            return self._run(poll)
        except KeyboardInterrupt:
            raise self._interrupted() from None

    def _run(self, poll: float) -> CutoverResult:
        self._look_up()
        names = self._in_order()
        self._end_owed(names)
        did = False  # whether this very run cut a group over
        while True:
            jobs = self._grouped()
            lacking = self._without_job(jobs)
            unfinished = [name for name in names if name in lacking or not _done(jobs.get(name, ()))]
            if not any(goes_on(job) for group in jobs.values() for job in group):
                self._demand_orders(unfinished, jobs)
            free = [name for name in unfinished if not self._waits(name, unfinished)]
            troubles = {name: why for name in free if (why := self._trouble(name, jobs, lacking))}
            begun = [name for name in free if name not in troubles]
            self._hold([name for name in unfinished if name not in begun], jobs)
            if not begun and not self._held:
                return self._rest(names, unfinished, [*self._down(jobs), *troubles.values()], did)
            if failed := self._cut(begun, jobs, poll):
                left = [name for name in unfinished if name not in begun]
                return CutoverResult(self._finished(names), tuple(failed), tuple(map(_label, left)))
            did = True

    def _look_up(self) -> None:
        """Find the machines of the manifest, once: a selector may not match a machine any more that is shut down."""
        self._sources = self._plane.sources()
        self._names = {source.id: source.name for source in self._sources}
        self._resolved = resolve(self._wave, self._sources)
        self._group_of = {placed.source.id: placed.group for placed in self._resolved.placements}

    def _without_job(self, jobs: Mapping[str, Sequence[JobView]]) -> dict[str, list[ResolvedMachine | str]]:
        job_of = {job.source: job for group in jobs.values() for job in group}
        return jobless.without_job(self._wave, self._resolved, self._sources, job_of)

    def _rest(
        self, names: Sequence[str], unfinished: Sequence[str], troubles: Sequence[Conflict], did: bool
    ) -> CutoverResult:
        """Nothing more can begin. Raises the first trouble if nothing began at all."""
        lines = list(dict.fromkeys(map(str, troubles)))
        for line in lines if did else lines[1:]:
            self._told(line)
        if troubles and not did:
            raise troubles[0]
        if not unfinished:
            self._around.notify(Happening.WAVE_FINISHED)
        return CutoverResult(self._finished(names), (), tuple(map(_label, unfinished)))

    def _hold(self, groups: Sequence[str], jobs: Mapping[str, Sequence[JobView]]) -> None:
        """Of these groups nothing may begin; remember what has begun, so that it is finished."""
        going = {name: {job.id for job in jobs.get(name, ()) if goes_on(job)} for name in groups}
        self._held = {name: ids for name, ids in going.items() if ids}

    def _down(self, jobs: Mapping[str, Sequence[JobView]]) -> list[Conflict]:
        """The machines whose failed cutover keeps their sources down. They are said before anything else."""
        every = (job for group in jobs.values() for job in group)
        return [self._stuck(job) for job in every if job_states.stays_down(job)]

    def _cut(
        self, groups: Sequence[str], jobs: dict[str, list[JobView]], poll: float
    ) -> list[tuple[str, str]]:
        """Cut these groups over side by side, and what has begun of others; answer the machines that failed, with their reasons.

        Everything that can stop a group comes before the first source is asked to shut down.
        """
        try:
            for name in groups:
                self._prepare(name, jobs[name])
        except ConnectorError as stopped:
            self._hold([*groups, *self._held], jobs)
            if self._held:
                self._told(str(stopped))
                for machine, why in self._follow_all((), jobs, poll):
                    self._told(f"{machine}: {why}")
            raise
        for name in groups:
            self._announce(name, jobs[name])
        return self._follow_all(groups, jobs, poll)

    def _follow_all(
        self, groups: Sequence[str], jobs: dict[str, list[JobView]], poll: float
    ) -> list[tuple[str, str]]:
        """Follow these groups, and what has begun of others; end those that finish; answer the machines that failed."""
        for name in self._held:
            self._take_up(name, jobs[name])
        groups = [*groups, *self._held]
        failed = self._follow(groups, poll)
        if failed:
            self._around.notify(Happening.FAILED, "", [name for name, _ in failed], failed[0][1])
        now = self._grouped()
        try:
            self._end_all({name: jobs[name] for name in self._whole(groups, now)})
        except HookFailed:
            for machine, why in failed:
                self._told(f"{machine}: {why}")
            raise
        return failed

    def _end_owed(self, names: Sequence[str]) -> None:
        """End the finished groups whose last hooks have not run: they failed, or the command was interrupted."""
        jobs = self._grouped()
        finished = self._whole(names, jobs)
        owing = [name for name in finished if any(owes(job, Phase.AFTER_CUTOVER) for job in jobs[name])]
        self._end_all({name: jobs[name] for name in owing})

    def _end_all(self, jobs: dict[str, list[JobView]]) -> None:
        """End these groups. A hook that fails keeps no other group from its hooks; then the first failure is raised."""
        failures: list[HookFailed] = []
        for name, group in jobs.items():
            try:
                self._end(name, group)
            except HookFailed as hook_failed:
                failures.append(hook_failed)
        for failure in failures[1:]:
            self._told(str(failure))
        if failures:
            raise failures[0]

    def _finished(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(_label, self._whole(names, self._grouped())))

    def _whole(self, names: Sequence[str], jobs: Mapping[str, Sequence[JobView]]) -> list[str]:
        """Those of these groups that have machines, all with a job, and all finished."""
        lacking = self._without_job(jobs)
        return [name for name in names if jobs.get(name) and name not in lacking and _done(jobs[name])]

    def _interrupted(self) -> Interrupted:
        try:
            jobs = [job for group in self._grouped().values() for job in group]
        except ConnectorError as silent:
            return interrupted_unheard(self._wave, silent)
        return interrupted(self._wave, jobs, self._machine)

    def _in_order(self) -> list[str]:
        """The names of the groups, each after all that it waits for. "" is first: the machines without a group."""
        if not counting(self._plane.jobs(self._wave.name)):
            raise NotFound("the wave has no jobs", on=self._wave.name, remedy="apply it first")
        return ["", *(name for level in order(self._after) for name in level)]

    def _waits(self, group: str, unfinished: Sequence[str]) -> bool:
        """Whether a group waits for one of these, directly or through other groups."""
        return any(
            other in unfinished or self._waits(other, unfinished) for other in self._after.get(group, ())
        )

    def _grouped(self) -> dict[str, list[JobView]]:
        """The wave's jobs as they are now, by group; "" for those without one.

        A machine's group is the manifest's, which decides who waits for it. The job's tag may be older.
        """
        names = {group.name for group in self._wave.manifest.groups}
        jobs_of: dict[str, list[JobView]] = {}
        for job in counting(self._plane.jobs(self._wave.name)).values():
            group = self._group_of.get(job.source, job.group)
            jobs_of.setdefault(group if group in names else "", []).append(
                replace(job, tags={**job.tags, GROUP: group})
            )
        return jobs_of

    def _demand_orders(self, groups: Sequence[str], jobs: Mapping[str, Sequence[JobView]]) -> None:
        """Raises Conflict for a machine that its group's shutdownOrder forgets: then nothing begins."""
        for name in groups:
            if forgotten := self._forgotten(name, jobs.get(name, ())):
                raise forgotten

    def _forgotten(self, group: str, jobs: Sequence[JobView]) -> Conflict | None:
        if not self._orders.get(group) or not (missing := self._unordered(group, jobs)):
            return None
        text = f"shutdownOrder of group {group} does not say when it is shut down"
        return Conflict(text, on=missing, remedy="add it, or a glob that its name matches")

    def _trouble(
        self,
        group: str,
        jobs: Mapping[str, Sequence[JobView]],
        lacking: Mapping[str, Sequence[ResolvedMachine | str]],
    ) -> Conflict | None:
        """Why this group cannot begin: its window, a machine without a job, or one whose cutover is not possible."""
        if group in lacking:
            return self._jobless(group, jobs, lacking[group])
        if kept := self._closed(group) or self._forgotten(group, jobs[group]):
            return kept
        stuck = (job for job in jobs[group] if job.status in STUCK and not was_stopped(job))
        early = (job_states.early(self._machine(job), self._wave) for job in jobs[group] if first_run(job))
        return next(map(self._stuck, stuck), None) or next(early, None)

    def _jobless(
        self,
        group: str,
        jobs: Mapping[str, Sequence[JobView]],
        lacking: Sequence[ResolvedMachine | str],
    ) -> Conflict:
        mine = [job for jobs_of_group in jobs.values() for job in jobs_of_group]
        placements = [machine for machine in lacking if isinstance(machine, ResolvedMachine)]
        return jobless.refusal(self._wave, group, lacking, finished_elsewhere(self._plane, placements, mine))

    def _stuck(self, job: JobView) -> Conflict:
        """Why no cutover of a job can begin, with the command that helps."""
        united = bool(self._orders.get(job.group))
        name = (
            f"application rollback {application(self._wave, job.group)}"
            if united
            else f"job rollback {job.name}"
        )
        return job_states.stuck(job, self._machine(job), self._wave, f"connector {name}")

    def _ranks(self, group: str, jobs: Sequence[JobView]) -> dict[str, int]:
        """The ranks by machine."""
        return ranks(self._orders[group], [self._machine(job) for job in jobs])

    def _unordered(self, group: str, jobs: Sequence[JobView]) -> str:
        return min({self._machine(job) for job in jobs} - set(self._ranks(group, jobs)), default="")

    def _closed(self, group: str) -> Conflict | None:
        """Why no cutover of the group may begin at this moment: its window, unless the windows are ignored."""
        if self._regardless:
            return None
        subject = f"group {group}" if group else self._wave.name
        window, now = self._wave.window(group), self._clock()
        if window is None:
            remedy = "set cutover.window in the manifest, or use --now"
            return Conflict("the manifest sets no cutover window", on=subject, remedy=remedy)
        start, end = (quantities.written(moment) for moment in window)
        if now < window[0]:
            text = f"the cutover window opens in {amounts.span(window[0] - now)}, at {start}"
            return Conflict(text, on=subject, remedy="wait for it, or use --now")
        if now >= window[1]:
            return Conflict(f"the cutover window closed at {end}", on=subject, remedy="move it, or use --now")
        return None

    def _keeps(self, group: str) -> bool:
        """Whether no cutover of the group may begin at this moment."""
        return group in self._held or self._closed(group) is not None

    def _prepare(self, group: str, jobs: Sequence[JobView]) -> None:
        """All that comes before the cutover. Raises what stops it; then nothing has begun."""
        machines = [self._machine(job) for job in jobs]
        if self._orders.get(group) and not any(map(goes_down, jobs)):  # else it is united already
            places = self._ranks(group, jobs)
            unfinished = {job.id: places[self._machine(job)] for job in jobs if job.status != "Finished"}
            self._plane.unite(application(self._wave, group), unfinished)
        elif not any(map(goes_down, jobs)) and self._plane.is_united(application(self._wave, group)):
            self._plane.unite(application(self._wave, group), {})  # its order was taken out of the manifest
        self._around.run(Phase.BEFORE_CUTOVER, group, machines)
        self._owed.owe(Phase.AFTER_CUTOVER, [job.id for job in jobs], group)
        self._resuming |= {job.id for job in jobs if was_stopped(job)}

    def _take_up(self, group: str, jobs: Sequence[JobView]) -> None:
        """Finish what has begun of a group of which nothing else may begin. No hook can keep a source down."""
        begun = [job for job in jobs if job.id in self._held[group]]
        self._owed.owe(Phase.AFTER_CUTOVER, [job.id for job in jobs], group)
        self._resuming |= {job.id for job in begun if was_stopped(job)}
        for job in begun:
            down = f"; {job.down}" if job.down else ""
            self._told(f"{self._machine(job)}: its cutover has begun and is finished{down}")

    def _announce(self, group: str, jobs: Sequence[JobView]) -> None:
        machines = [self._machine(job) for job in jobs]
        self._around.notify(Happening.CUTOVER_BEGUN, group, machines)
        open_jobs = sum(job.status != "Finished" for job in jobs)
        self._told(f"{_label(group)}: cutover of {amounts.plural(open_jobs, 'machine')} begins")

    def _ask_each(self, groups: Sequence[str], jobs: Mapping[str, Sequence[JobView]]) -> None:
        for name in groups:
            self._ask(name, jobs.get(name, ()))

    def _ask(self, group: str, jobs: Sequence[JobView]) -> None:
        """Ask for the cutover of waiting jobs, and start those whose cutover was stopped.

        If a delta begins at this moment, wait for it and ask again. A refusal that no waiting ends is a failure of its
        machine, and stops no other.
        """
        for job in jobs:
            if self._resumes(job):
                self._resume(job)
        if self._keeps(group):
            return
        if self._orders.get(group):
            self._ask_all(group, jobs)
            return
        cutover = self._wave.manifest.cutover
        for job in jobs:
            if job.status != "Waiting" or self._refusals.why(job.id):
                continue
            try:
                self._plane.cut_over(job.id, final_sync=cutover.finalSync if cutover else True)
                self._told(f"{self._machine(job)}: cutover asked for")
            except (Conflict, NotFound) as refused:  # NotFound: somebody has just deleted it
                self._refusals.passing(self._machine(job), refused)
            except (BadInput, Ineligible) as refused:
                self._refusals.lasting(self._machine(job), [job.id], refused)

    def _resumes(self, job: JobView) -> bool:
        return was_stopped(job) and job.id in self._resuming

    def _resume(self, job: JobView) -> None:
        """Start a job whose cutover was stopped, once: if somebody stops it again, it stays stopped."""
        try:
            self._plane.start(job.id)
        except (Conflict, NotFound) as refused:
            return self._refusals.passing(self._machine(job), refused)
        except (BadInput, Ineligible) as refused:
            self._resuming.discard(job.id)
            return self._refusals.lasting(self._machine(job), [job.id], refused)
        self._resuming.discard(job.id)
        return self._told(f"{self._machine(job)}: its stopped cutover goes on")

    def _ask_all(self, group: str, jobs: Sequence[JobView]) -> None:
        """Ask for the cutover of an application as soon as all of its jobs wait."""
        is_refused = any(self._refusals.why(job.id) for job in jobs)
        if is_refused or {job.status for job in jobs} - {"Finished"} != {"Waiting"}:
            return
        try:
            self._plane.cut_over_all(application(self._wave, group))
            self._told(f"{_label(group)}: cutover asked for, all or none")
        except (Conflict, NotFound) as refused:
            self._refusals.passing(_label(group), refused)
        except (BadInput, Ineligible) as refused:
            self._refusals.lasting(
                _label(group), [job.id for job in jobs if job.status == "Waiting"], refused
            )

    def _settled(self, group: str) -> bool:
        """Whether the group, if it is an application, can no longer be rolled back."""
        return not self._orders.get(group) or self._plane.settled(application(self._wave, group))

    def _follow(self, groups: Sequence[str], poll: float) -> list[tuple[str, str]]:
        """Wait until every machine of the groups is finished or has failed; answer those that failed.

        If the control plane is silent for a while, go on waiting: sources may be down.
        """
        told_jobs: set[str] = set()
        silence = Silence(self._told, self._clock)
        has_asked = False
        while groups:
            try:
                if not has_asked:
                    self._ask_each(groups, self._grouped())
                    has_asked = True
                failed = self._look(groups, told_jobs)
                silence.heard()
                if failed is not None:
                    return failed
            except ControlFailed as silent:
                silence.bear(silent)
            self._pause(poll)
        return []

    def _look(self, groups: Sequence[str], told_jobs: set[str]) -> list[tuple[str, str]] | None:
        """The failures when all jobs are over, else None. Waiting jobs are asked. `told_jobs`: jobs whose end was printed.

        A job whose cutover has not begun when the window closes is over too: it is not asked any more. So is one of a group
        of which nothing may begin.
        """
        grouped = self._grouped()
        jobs = [job for name in groups for job in grouped.get(name, ())]
        for job in jobs:
            if job.status == "Finished" and job.id not in told_jobs:
                told_jobs.add(job.id)
                self._told(f"{self._machine(job)}: finished, image {job.image}")
            self._tell_state(job)
        kept = {name for name in groups if self._keeps(name)}
        late = {job.id for name in kept for job in grouped.get(name, ()) if not job.cut_over}
        rests = all(self._rests(job) or job.id in late for job in jobs)
        if rests and all(map(self._settled, groups)):
            jobs = [
                job for name in groups for job in self._grouped().get(name, ()) if self._counts(name, job)
            ]
            return [
                (self._machine(job), self._refusals.why(job.id) or job_states.why(job))
                for job in jobs
                if job.status in STUCK or self._refusals.why(job.id)
            ]
        self._ask_each(groups, grouped)
        return None

    def _counts(self, group: str, job: JobView) -> bool:
        """Whether a job that is stuck is a failure of this cutover, and not one that never began in it."""
        return group not in self._held or job.id in self._held[group]

    def _rests(self, job: JobView) -> bool:
        stuck = job.status in STUCK or bool(self._refusals.why(job.id))
        return job.status == "Finished" or (stuck and not self._resumes(job))

    def _tell_state(self, job: JobView) -> None:
        """One line when a cutover under way reaches another state, or when its source goes down."""
        now = (job.business, bool(job.down))
        if job.cut_over and job.business and self._shown.get(job.id) != now:
            self._shown[job.id] = now
            self._told(f"{self._machine(job)}: {'; '.join(filter(None, (job.business, job.down)))}")

    def _end(self, group: str, jobs: Sequence[JobView]) -> None:
        machines = [self._machine(job) for job in jobs]
        self._owed.run(Phase.AFTER_CUTOVER, [job.id for job in jobs], machines, group)
        self._around.notify(Happening.GROUP_FINISHED, group, machines)
        self._told(f"{_label(group)}: finished")

    def _machine(self, job: JobView) -> str:
        return self._names.get(job.source, job.name)


def _done(jobs: Sequence[JobView]) -> bool:
    return all(job.status == "Finished" for job in jobs)


def _label(group: str) -> str:
    return f"group {group}" if group else "machines without a group"
