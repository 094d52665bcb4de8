"""An offered pass waits first for its application, then for room within the limits.

An application is one group: its passes begin when there is room for all of them, and none before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from connector.control.domain.entities import Pass, PassState
from connector.control.domain.jobs import JobStatus
from connector.control.store import runs, tables
from connector.control.store.applications import obstacles
from connector.control.store.limits import PassGroup, Quotas, why_waiting
from connector.control.store.pass_rows import in_state, of_runs

_RUNS: Final = tables.runs


@dataclass(frozen=True, slots=True)
class _Cohort:
    """A cohort that is under way and reads: all passes of its open runs; `members` is the number of these runs."""

    members: int
    passes: Sequence[Pass]

    @property
    def admitted(self) -> bool:
        """Whether it has begun. Then its room is kept until each of its machines is read."""
        return any(attempt.state is not PassState.OFFERED for attempt in self.passes)

    @property
    def ready(self) -> bool:
        return len(self.passes) == self.members

    def reserved(self) -> Iterable[Pass]:
        """The newest pass of each machine that has still to be read."""
        newest = {attempt.run_id: attempt for attempt in self.passes}  # oldest first
        for attempt in newest.values():
            begun = attempt.state in (PassState.TAKEN, PassState.FINISHED)
            if self.admitted and not (attempt.task.reads and begun):
                yield attempt


def waiting(
    connection: sa.Connection,
    ready: Sequence[Pass],
    vcenter: str,
    limits: Quotas,
    names: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Why each pass of this vCenter must wait; empty for a pass that may begin. `names`: of jobs, by id.

    `ready`: all passes that an appliance could take now, of every vCenter, oldest first. Those of another vCenter count
    where a limit counts all of them, unless their source is offline: such a pass may wait for long.
    """
    offered = [attempt for attempt in ready if attempt.vcenter == vcenter]
    dark = _offline(connection) if len(offered) < len(ready) else set()
    ahead = [attempt for attempt in ready if attempt.vcenter == vcenter or attempt.job_id not in dark]
    together = obstacles(connection, offered)
    cohorts = _cohorts(connection)
    running = [attempt for attempt in in_state(connection, PassState.TAKEN) if attempt.task.reads]
    reserved = [attempt for cohort in cohorts.values() for attempt in cohort.reserved()]
    groups = [
        replace(group, elsewhere=all(attempt.vcenter != vcenter for attempt in group.passes))
        for group in _claims(ahead, cohorts)
    ]
    why = why_waiting(groups, running, limits, reserved, names)
    return {attempt.id: together.get(attempt.id) or why.get(attempt.id, "") for attempt in offered}


def _offline(connection: sa.Connection) -> set[str]:
    """Ids of the running jobs whose source no appliance can read now."""
    jobs, sources = tables.jobs.c, tables.sources.c
    query = sa.select(jobs.id).join(tables.sources, sources.id == jobs.source_id)
    return set(
        connection.execute(query.where(sources.error_code != "", jobs.status == JobStatus.RUNNING)).scalars()
    )


def _claims(offered: Sequence[Pass], cohorts: dict[str, _Cohort]) -> list[PassGroup]:
    by_run = {attempt.run_id: cohort for cohort in cohorts.values() for attempt in cohort.passes}
    groups: list[PassGroup] = []
    grouped: set[str] = set()
    for attempt in offered:
        cohort = by_run.get(attempt.run_id)
        if cohort is None or cohort.admitted:
            if attempt.task.reads:
                groups.append(PassGroup((attempt,), admitted=cohort is not None))
        elif cohort.ready and attempt.id not in grouped:
            groups.append(PassGroup(cohort.passes, together=True))
            grouped |= {member.id for member in cohort.passes}
    return groups


def _cohorts(connection: sa.Connection) -> dict[str, _Cohort]:
    query = sa.select(_RUNS.c.id, _RUNS.c.cohort).where(
        _RUNS.c.cohort.is_not(None),
        _RUNS.c.ended.is_(None),
        _RUNS.c.stop.is_(False),
        _RUNS.c.kind != runs.ROLLBACK,
    )
    cohort_of = {row.id: row.cohort for row in connection.execute(query)}
    if not cohort_of:
        return {}
    passes_of: dict[str, list[Pass]] = {cohort: [] for cohort in cohort_of.values()}
    for attempt in of_runs(connection, list(cohort_of)):
        passes_of[cohort_of[attempt.run_id]].append(attempt)
    counts = list(cohort_of.values())
    return {cohort: _Cohort(counts.count(cohort), passes) for cohort, passes in passes_of.items()}
