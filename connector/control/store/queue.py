"""Which of the offered passes may be given out: what their application waits for, then the limits.

An application is one claim: its passes begin when there is room for all of them, and none before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from connector.control.domain.entities import Pass, PassState
from connector.control.store import runs, tables
from connector.control.store.applications import obstacles
from connector.control.store.limits import PassGroup, Quotas, reasons
from connector.control.store.pass_rows import in_state, of_runs

_RUNS: Final = tables.runs


@dataclass(frozen=True, slots=True)
class _Cohort:
    """What is under way of a cohort that reads: all passes of its `members` runs that have not ended."""

    members: int
    passes: Sequence[Pass]

    @property
    def admitted(self) -> bool:
        """Whether it has begun: then room is kept until each of its machines is read."""
        return any(found.state is not PassState.OFFERED for found in self.passes)

    @property
    def ready(self) -> bool:
        return len(self.passes) == self.members

    def reserved(self) -> Iterable[Pass]:
        """Of each machine that is still to be read, the pass that comes next or is before it."""
        newest = {found.run_id: found for found in self.passes}  # oldest first
        for found in newest.values():
            begun = found.state in (PassState.TAKEN, PassState.FINISHED)
            if self.admitted and not (found.task.reads and begun):
                yield found


def waiting(connection: sa.Connection, offered: Sequence[Pass], limits: Quotas) -> dict[str, str]:
    """Why each of `offered`, oldest first, must wait; empty for one that need not."""
    together = obstacles(connection, offered)
    cohorts = _cohorts(connection)
    running = [found for found in in_state(connection, PassState.TAKEN) if found.task.reads]
    reserved = [found for cohort in cohorts.values() for found in cohort.reserved()]
    why = reasons(_claims(offered, cohorts), running, limits, reserved)
    return {found.id: together.get(found.id) or why.get(found.id, "") for found in offered}


def _claims(offered: Sequence[Pass], cohorts: dict[str, _Cohort]) -> list[PassGroup]:
    by_run = {found.run_id: cohort for cohort in cohorts.values() for found in cohort.passes}
    claims: list[PassGroup] = []
    claimed: set[str] = set()
    for found in offered:
        cohort = by_run.get(found.run_id)
        if cohort is None or cohort.admitted:
            if found.task.reads:
                claims.append(PassGroup((found,), admitted=cohort is not None))
        elif cohort.ready and found.id not in claimed:
            claims.append(PassGroup(cohort.passes, together=True))
            claimed |= {member.id for member in cohort.passes}
    return claims


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
    found: dict[str, list[Pass]] = {cohort: [] for cohort in cohort_of.values()}
    for one in of_runs(connection, list(cohort_of)):
        found[cohort_of[one.run_id]].append(one)
    counts = list(cohort_of.values())
    return {cohort: _Cohort(counts.count(cohort), seen) for cohort, seen in found.items()}
