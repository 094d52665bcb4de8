"""A hook that runs after a phase is owed from before the phase until it has run. A tag of the jobs remembers it.

So a command that is repeated, after a failed hook or a kill, runs what is still owed. A job that a phase creates is created with
the tag (`marks`): a kill between the two would lose the hook.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector.batch.hooks import HookRunner
from connector.batch.manifest import Phase
from connector.batch.plane import JobView, Plane

_OWED: Final = "owed"
_DONE: Final = "done"


class OwedHooks:
    """The hooks of one wave that are owed."""

    def __init__(self, plane: Plane, hooks: HookRunner) -> None:
        self._plane, self._hooks = plane, hooks

    def owe(self, phase: Phase, jobs: Sequence[str], group: str = "") -> None:
        """Remember that the phase's hooks must run for these jobs. Without such hooks nothing is done."""
        if jobs and self._hooks.has(phase, group):
            self._plane.tag(jobs, {_tag(phase): _OWED})

    def marks(self, phase: Phase) -> dict[str, str]:
        """The tags of a job that owes the phase's hooks; none if there are no such hooks."""
        return {_tag(phase): _OWED} if self._hooks.has(phase) else {}

    def run(self, phase: Phase, jobs: Sequence[str], machines: Sequence[str], group: str = "") -> None:
        """Run the phase's hooks; then they are no longer owed. Raises `HookFailed`."""
        self._hooks.run(phase, group, machines)
        if jobs and self._hooks.has(phase, group):
            self._plane.tag(jobs, {_tag(phase): _DONE})


def owes(job: JobView, phase: Phase) -> bool:
    """Whether the phase's hooks must still run for this job."""
    return job.tags.get(_tag(phase)) == _OWED


def _tag(phase: Phase) -> str:
    """The key of the tag, for instance `wave-after-cutover`. No label of a manifest begins with `wave`."""
    return f"wave-{phase.value}"
