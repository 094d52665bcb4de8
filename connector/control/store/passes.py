"""Passes of all jobs: the workflow offers them here, and whoever looks reads them here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import sqlalchemy as sa

from connector.control.domain.entities import (
    Appliance,
    Json,
    Outcome,
    Pass,
    PassState,
)
from connector.control.store import tables
from connector.control.store.database import Database
from connector.control.store.pass_rows import (
    IN_ORDER,
    insert,
    newest_in_slot,
    owned_by,
    pass_of,
)

_PASSES: Final = tables.passes
_RUNS: Final = tables.runs
_JOBS: Final = tables.jobs


class Passes:
    """Each slot of a run has one pass, with one attempt or more. See `PassQueue` and `PassEnds` for what becomes of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def offer(self, run_id: str, slot: int) -> Pass:
        """The last attempt in this slot; a new one if there is none. Idempotent."""
        with self._database.write() as connection:
            run = connection.execute(
                sa.select(_RUNS).where(_RUNS.c.id == run_id).with_for_update(key_share=True)
            ).one()
            last = newest_in_slot(connection, run_id, slot)
            if last is None:
                last = insert(self._database, connection, run, slot, 1)
                self._database.log(connection, run.job_id, "offered", f"pass {last.id} waits")
            return last

    def of(self, job_id: str) -> list[Pass]:
        """A job's passes, oldest first."""
        query = sa.select(_PASSES).where(_PASSES.c.job_id == job_id).order_by(*IN_ORDER)
        with self._database.read() as connection:
            return [pass_of(row) for row in connection.execute(query)]

    def before(self, attempt: Pass) -> list[Pass]:
        """The earlier attempts at the same pass, oldest first."""
        return [
            other
            for other in self.of(attempt.job_id)
            if (other.run_id, other.slot) == (attempt.run_id, attempt.slot)
            and other.attempt < attempt.attempt
        ]

    def newest(self, job_ids: Sequence[str]) -> dict[str, Pass]:
        """The newest pass of each job's newest run. Jobs whose newest run has no pass are left out."""
        newest_first = [column.desc() for column in IN_ORDER]
        rank = sa.func.row_number().over(partition_by=_PASSES.c.job_id, order_by=newest_first)
        current = sa.and_(_JOBS.c.id == _PASSES.c.job_id, _PASSES.c.offered >= _JOBS.c.started)
        ranked = (
            sa.select(_PASSES.c.id, rank.label("rank"))
            .join(_JOBS, current)
            .where(_PASSES.c.job_id.in_(job_ids))
            .subquery()
        )
        query = sa.select(_PASSES).join(ranked, ranked.c.id == _PASSES.c.id).where(ranked.c.rank == 1)
        with self._database.read() as connection:
            return {row.job_id: pass_of(row) for row in connection.execute(query)}

    def owned(self, pass_id: str, appliance: Appliance) -> Pass:
        """A pass that this appliance has or has finished. Raises `Conflict` if it is another appliance's now."""
        with self._database.read() as connection:
            return owned_by(connection, pass_id, appliance)

    def disk_set(self, job_id: str) -> list[Json]:
        """The disk set of the last pass that was done."""
        finished = [
            attempt for attempt in self.of(job_id) if attempt.outcome is Outcome.DONE and attempt.result
        ]
        disk_sets = [attempt.result.get("disk_set") for attempt in finished if attempt.result]
        return next((disks for disks in reversed(disk_sets) if isinstance(disks, list)), [])

    def definitions(self, appliance: Appliance, held: Iterable[str]) -> dict[str, tuple[Json, bool]]:
        """The present definition of each pass's job, and whether the pass is the final one."""
        query = (
            sa.select(_PASSES.c.id, _PASSES.c.final, _JOBS.c.definition)
            .join(_JOBS, _JOBS.c.id == _PASSES.c.job_id)
            .where(_PASSES.c.appliance_id == appliance.id, _PASSES.c.id.in_(list(held)))
        )
        with self._database.read() as connection:
            return {row.id: (row.definition, row.final) for row in connection.execute(query)}

    def to_stop(self, appliance: Appliance, held: Iterable[str]) -> list[str]:
        """Which of the passes that the appliance has in hand must stop or are not its own."""
        query = (
            sa.select(_PASSES.c.id)
            .join(_RUNS, _RUNS.c.id == _PASSES.c.run_id)
            .where(
                _PASSES.c.appliance_id == appliance.id,
                _PASSES.c.state == PassState.TAKEN,
                _RUNS.c.stop.is_(False),
            )
        )
        with self._database.read() as connection:
            fine = set(connection.execute(query).scalars())
        return sorted(set(held) - fine)

    def ended(self) -> list[Pass]:
        """The finished passes of runs that have not ended. The workflows of these runs must be told."""
        with self._database.read() as connection:
            open_runs = sa.select(_RUNS.c.id).where(_RUNS.c.ended.is_(None))
            if not (under_way := list(connection.execute(open_runs).scalars())):
                return []
            query = sa.select(_PASSES).where(_PASSES.c.run_id.in_(under_way))
            passes = [pass_of(row) for row in connection.execute(query)]  # few rows compared with all passes
        return [attempt for attempt in passes if attempt.state is PassState.FINISHED]

    def verdict(self, run_id: str, slot: int) -> Pass | None:
        """The finished pass of this slot; None while there is none."""
        with self._database.read() as connection:
            last = newest_in_slot(connection, run_id, slot)
        return last if last is not None and last.state is PassState.FINISHED else None
