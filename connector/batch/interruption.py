"""An interrupted `batch cutover` says what goes on without it, and how to watch it or take it back. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connector.batch.parse import Wave
from connector.batch.plane import JobView
from connector.errors import ConnectorError, Interrupted


def interrupted(wave: Wave, jobs: Sequence[JobView], machine: Callable[[JobView], str]) -> Interrupted:
    """The control plane goes on with every cutover that it was asked for. `machine`: the name of a job's machine."""
    running = [job for job in jobs if job.cut_over and job.status == "Running"]
    down = [f"{machine(job)}: {job.down}" for job in jobs if job.down]
    if not running:
        return Interrupted(
            "; ".join(["stopped; no cutover of the wave is under way", *down]),
            remedy="the same command goes on where it was",
        )
    names = ", ".join(map(machine, running))
    return Interrupted(
        "; ".join([f"no longer watching; the cutover of {names} goes on in the control plane", *down]),
        remedy=f"{_watch(wave)}; take back: {_way_back(wave, running)}",
    )


def interrupted_unheard(wave: Wave, silent: ConnectorError) -> Interrupted:
    """The same when the control plane does not say how far the jobs are."""
    text = "no longer watching; what was asked for goes on in the control plane, which does not say how far it is"
    return Interrupted(f"{text}: {silent.what}", remedy=_watch(wave))


def _watch(wave: Wave) -> str:
    return f"watch: connector batch status {wave.file} --watch"


def _way_back(wave: Wave, running: Sequence[JobView]) -> str:
    """The commands that take these cutovers back. A running job is stopped first; an application goes back as one."""
    united = {group.name for group in wave.manifest.groups if group.shutdownOrder}
    applications = dict.fromkeys(application(wave, job.group) for job in running if job.group in united)
    alone = [job.name for job in running if job.group not in united]
    commands = [f"connector application rollback {name}" for name in applications]
    if alone:
        commands.append(f"connector job rollback {' '.join(alone)}")
    names = " ".join(job.name for job in running)
    return f"connector job stop {names}, then {', '.join(commands)}"


def application(wave: Wave, group: str) -> str:
    """The name of the application that a group with an order is."""
    return f"{wave.name}.{group}"
