"""A wave is cut over group by group. A group begins only inside its window, and only if all of its machines can be cut over.

Each group is judged alone: one that cannot begin stops only those that wait for it. If a machine fails, no other group begins.
No state is kept here: after a crash, the next run finds finished groups finished and follows the jobs under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connector import amounts
from connector.batch import quantities
from connector.batch.groups import order, ranks
from connector.batch.hooks import HookRunner
from connector.batch.manifest import Happening, Phase
from connector.batch.parse import Wave
from connector.batch.plane import JobView, Plane
from connector.batch.status import counting
from connector.errors import Conflict, ConnectorError, ControlFailed, Interrupted, NotFound
from connector.outages import Silence

POLL: Final = 2.0
#: A job in one of these states reaches no cutover by itself. The remedy says what to do.
_STUCK: Final = {
    "Ready": "start it: `connector job start {job}`, and wait for its first run",
    "Stopped": "start it again: `connector job start {job}`",
    "InError": "see `connector job logs {job}`, put it right, start it again",
    "Expired": "its validity is over: delete it, and apply again",
}
_BACK: Final = "its cutover was rolled back, and its source runs"


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
        self._names: dict[str, str] = {}
        self._shown: dict[
            str, tuple[str, bool]
        ] = {}  # of each job: the state that was said last, and whether its source was down
        self._orders = {group.name: group.shutdownOrder for group in wave.manifest.groups}
        self._after = {group.name: group.after for group in wave.manifest.groups}

    def run(self, *, regardless: bool = False, poll: float = POLL) -> CutoverResult:
        """Cut the groups over. `regardless`: ignore the windows. Raises `Conflict` if no group may begin now.

        After an interrupt it raises `Interrupted`, which names what goes on without it.
        """
        try:
            return self._run(regardless, poll)
        except KeyboardInterrupt:
            raise self._interrupted() from None

    def _run(self, regardless: bool, poll: float) -> CutoverResult:
        self._names = {source.id: source.name for source in self._plane.sources()}
        names = self._in_order()
        did = False  # whether this very run cut a group over
        while True:
            jobs = self._grouped()
            unfinished = [name for name in names if not _done(jobs.get(name, ()))]
            self._demand_orders(unfinished, jobs)
            free = [name for name in unfinished if not self._waits(name, unfinished)]
            troubles = {name: why for name in free if (why := self._trouble(name, jobs[name], regardless))}
            begun = [name for name in free if name not in troubles]
            if not begun:
                return self._rest(names, unfinished, list(troubles.values()), did)
            if failed := self._cut(begun, jobs, poll):
                self._around.notify(Happening.FAILED, "", [name for name, _ in failed], failed[0][1])
                left = [name for name in unfinished if name not in begun]
                return CutoverResult(self._finished(names), tuple(failed), tuple(map(_label, left)))
            did = True

    def _rest(
        self, names: Sequence[str], unfinished: Sequence[str], troubles: Sequence[Conflict], did: bool
    ) -> CutoverResult:
        """Nothing more can begin. Raises the first trouble if nothing began at all."""
        if troubles and not did:
            for trouble in troubles[1:]:
                self._told(str(trouble))
            raise troubles[0]
        for trouble in troubles:
            self._told(str(trouble))
        if not unfinished:
            self._around.notify(Happening.WAVE_FINISHED)
        return CutoverResult(self._finished(names), (), tuple(map(_label, unfinished)))

    def _cut(
        self, groups: Sequence[str], jobs: dict[str, list[JobView]], poll: float
    ) -> list[tuple[str, str]]:
        """Cut these groups over side by side; answer the machines that failed, with their reasons."""
        for name in groups:
            self._begin(name, jobs[name])
        failed = self._follow(groups, poll)
        now = self._grouped()
        for name in groups:
            if _done(now.get(name, ())):
                self._end(name, jobs[name])
        return failed

    def _finished(self, names: Sequence[str]) -> tuple[str, ...]:
        jobs = self._grouped()
        return tuple(_label(name) for name in names if jobs.get(name) and _done(jobs[name]))

    def _interrupted(self) -> Interrupted:
        """The control plane goes on with every cutover that it was asked for."""
        watch = f"watch: connector batch status {self._wave.file} --watch"
        try:
            jobs = [job for group in self._grouped().values() for job in group]
        except ConnectorError as silent:
            text = "no longer watching; what was asked for goes on in the control plane, which does not say how far it is"
            return Interrupted(f"{text}: {silent.what}", remedy=watch)
        running = [job for job in jobs if job.cut_over and job.status == "Running"]
        if not running:
            return Interrupted(
                "stopped; no cutover of the wave is under way",
                remedy="the same command goes on where it was",
            )
        names = ", ".join(self._machine(job) for job in running)
        down = [f"{self._machine(job)}: {job.down}" for job in running if job.down]
        return Interrupted(
            "; ".join([f"no longer watching; the cutover of {names} goes on in the control plane", *down]),
            remedy=f"{watch}; take back: {self._way_back(running)}",
        )

    def _way_back(self, running: Sequence[JobView]) -> str:
        """The commands that take these cutovers back. A running job is stopped first; an application goes back as one."""
        united = [name for name in dict.fromkeys(job.group for job in running) if self._orders.get(name)]
        alone = [job.name for job in running if not self._orders.get(job.group)]
        commands = [f"connector application rollback {self._application(name)}" for name in united]
        if alone:
            commands.append(f"connector job rollback {' '.join(alone)}")
        names = " ".join(job.name for job in running)
        return f"connector job stop {names}, then {', '.join(commands)}"

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
        """The wave's jobs as they are now, by group; "" for those without one."""
        names = {group.name for group in self._wave.manifest.groups}
        jobs_of: dict[str, list[JobView]] = {}
        for job in counting(self._plane.jobs(self._wave.name)).values():
            jobs_of.setdefault(job.group if job.group in names else "", []).append(job)
        return jobs_of

    def _demand_orders(self, groups: Sequence[str], jobs: dict[str, list[JobView]]) -> None:
        """Raises Conflict for a machine that its group's shutdownOrder forgets: then nothing begins."""
        for name in groups:
            if self._orders.get(name) and (missing := self._unordered(name, jobs[name])):
                text = f"shutdownOrder of group {name} does not say when it is shut down"
                raise Conflict(text, on=missing, remedy="add it, or a glob that its name matches")

    def _trouble(self, group: str, jobs: Sequence[JobView], regardless: bool) -> Conflict | None:
        """Why this group cannot begin: its window, or a machine whose cutover is not possible."""
        if not regardless and (closed := self._closed(group)):
            return closed
        return next((self._stuck(job) for job in jobs if job.status in _STUCK), None)

    def _stuck(self, job: JobView) -> Conflict:
        """Why no cutover of a job can begin, with the command that helps."""
        if job.rolled_back:
            text = _BACK
            remedy = (
                f"sync it anew with `connector batch start {self._wave.file}`, then run the cutover again"
            )
            return Conflict(text, on=self._machine(job), remedy=remedy)
        text = f"it is {job.state}{': ' if job.error else ''}{job.error}"
        return Conflict(text, on=self._machine(job), remedy=_STUCK[job.status].format(job=job.name))

    def _ranks(self, group: str, jobs: Sequence[JobView]) -> dict[str, int]:
        """The ranks by machine."""
        return ranks(self._orders[group], [self._machine(job) for job in jobs])

    def _unordered(self, group: str, jobs: Sequence[JobView]) -> str:
        return min({self._machine(job) for job in jobs} - set(self._ranks(group, jobs)), default="")

    def _closed(self, group: str) -> Conflict | None:
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

    def _begin(self, group: str, jobs: Sequence[JobView]) -> None:
        machines = [self._machine(job) for job in jobs]
        if self._orders.get(group):
            places = self._ranks(group, jobs)
            unfinished = {job.id: places[self._machine(job)] for job in jobs if job.status != "Finished"}
            self._plane.unite(self._application(group), unfinished)
        self._around.run(Phase.BEFORE_CUTOVER, group, machines)
        self._around.notify(Happening.CUTOVER_BEGUN, group, machines)
        self._told(f"{_label(group)}: cutover of {amounts.plural(len(machines), 'machine')} begins")
        self._ask(group, jobs)

    def _application(self, group: str) -> str:
        return f"{self._wave.name}.{group}"

    def _ask(self, group: str, jobs: Sequence[JobView]) -> None:
        """Ask for the cutover of waiting jobs. If a delta begins at this moment, wait for it and ask again."""
        if self._orders.get(group):
            self._ask_all(group, jobs)
            return
        cutover = self._wave.manifest.cutover
        for job in jobs:
            if job.status != "Waiting":
                continue
            try:
                self._plane.cut_over(job.id, final_sync=cutover.finalSync if cutover else True)
                self._told(f"{self._machine(job)}: cutover asked for")
            except Conflict as refused:
                self._told(f"{self._machine(job)}: not yet: {refused.what}")

    def _ask_all(self, group: str, jobs: Sequence[JobView]) -> None:
        """Ask for the cutover of an application as soon as all of its jobs wait."""
        if {job.status for job in jobs} - {"Finished"} != {"Waiting"}:
            return
        try:
            self._plane.cut_over_all(self._application(group))
            self._told(f"{_label(group)}: cutover asked for, all or none")
        except Conflict as refused:
            self._told(f"{_label(group)}: not yet: {refused.what}")

    def _settled(self, group: str) -> bool:
        """Whether the group, if it is an application, can no longer be rolled back."""
        return not self._orders.get(group) or self._plane.settled(self._application(group))

    def _follow(self, groups: Sequence[str], poll: float) -> list[tuple[str, str]]:
        """Wait until every machine of the groups is finished or has failed; answer those that failed.

        If the control plane is silent for a while, go on waiting: sources may be down.
        """
        told_jobs: set[str] = set()
        silence = Silence(self._told, self._clock)
        while groups:
            try:
                failed = self._look(groups, told_jobs)
                silence.heard()
                if failed is not None:
                    return failed
            except ControlFailed as silent:
                silence.bear(silent)
            self._pause(poll)
        return []

    def _look(self, groups: Sequence[str], told_jobs: set[str]) -> list[tuple[str, str]] | None:
        """The failures when all jobs are over, else None. Waiting jobs are asked. `told_jobs`: jobs whose end was printed."""
        grouped = self._grouped()
        jobs = [job for name in groups for job in grouped.get(name, ())]
        for job in jobs:
            if job.status == "Finished" and job.id not in told_jobs:
                told_jobs.add(job.id)
                self._told(f"{self._machine(job)}: finished, image {job.image}")
            self._tell_state(job)
        rests = all(job.status == "Finished" or job.status in _STUCK for job in jobs)
        if rests and all(map(self._settled, groups)):
            jobs = [job for name in groups for job in self._grouped().get(name, ())]
            return [(self._machine(job), _why(job)) for job in jobs if job.status in _STUCK]
        for name in groups:
            self._ask(name, grouped.get(name, ()))
        return None

    def _tell_state(self, job: JobView) -> None:
        """One line when a cutover under way reaches another state, or when its source goes down."""
        now = (job.business, bool(job.down))
        if job.cut_over and job.business and self._shown.get(job.id) != now:
            self._shown[job.id] = now
            self._told(f"{self._machine(job)}: {'; '.join(filter(None, (job.business, job.down)))}")

    def _end(self, group: str, jobs: Sequence[JobView]) -> None:
        machines = [self._machine(job) for job in jobs]
        self._around.run(Phase.AFTER_CUTOVER, group, machines)
        self._around.notify(Happening.GROUP_FINISHED, group, machines)
        self._told(f"{_label(group)}: finished")

    def _machine(self, job: JobView) -> str:
        return self._names.get(job.source, job.name)


def _why(job: JobView) -> str:
    if job.rolled_back and not job.error:
        return _BACK
    return "; ".join(filter(None, (job.down, job.error or job.state)))


def _done(jobs: Sequence[JobView]) -> bool:
    return all(job.status == "Finished" for job in jobs)


def _label(group: str) -> str:
    return f"group {group}" if group else "machines without a group"
