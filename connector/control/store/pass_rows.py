"""Rows of passes, read and changed inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.entities import (
    Appliance,
    Json,
    Outcome,
    Pass,
    PassState,
    Task,
)
from connector.control.store import runs, tables
from connector.control.store.database import Database, new_id
from connector.errors import Conflict, NotFound

_PASSES: Final = tables.passes
_RUNS: Final = tables.runs
_JOBS: Final = tables.jobs

#: Ids say nothing about age, and two attempts of one run may be offered at the same time.
OLDEST_FIRST: Final = (_PASSES.c.offered, _PASSES.c.run_id, _PASSES.c.slot, _PASSES.c.attempt)

#: The order of one job's passes, whatever the clock did: by the number of their run.
IN_ORDER: Final = (
    sa.select(tables.runs.c.number).where(tables.runs.c.id == _PASSES.c.run_id).scalar_subquery(),
    _PASSES.c.slot,
    _PASSES.c.attempt,
)


def in_state(connection: sa.Connection, state: PassState, *more: sa.ColumnElement[bool]) -> list[Pass]:
    """All passes in this state, oldest first."""
    return _found(connection, _PASSES.c.state == state, *more)


def of_runs(connection: sa.Connection, run_ids: Sequence[str]) -> list[Pass]:
    """All passes of these runs, oldest first."""
    return _found(connection, _PASSES.c.run_id.in_(run_ids))


def withdraw(connection: sa.Connection, run_id: str, now: float) -> None:
    """End the passes of this run that nobody has taken, as stopped."""
    waiting = sa.and_(_PASSES.c.run_id == run_id, _PASSES.c.state == PassState.OFFERED)
    stopped: dict[str, Any] = {"state": PassState.FINISHED, "outcome": Outcome.STOPPED, "result": {}}
    connection.execute(_PASSES.update().where(waiting).values(ended=now, **stopped))


def pass_of(row: Any) -> Pass:
    """One row of the table of passes."""
    values = dict(row._mapping)
    values["state"] = PassState(values["state"])
    values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
    values["task"] = Task(values["task"])
    values["wanted"] = tuple(values["wanted"])
    return Pass(**values)


def _found(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Pass]:
    rows = connection.execute(sa.select(_PASSES).where(*conditions).order_by(*OLDEST_FIRST))
    return [pass_of(row) for row in rows]


def insert(
    database: Database,
    connection: sa.Connection,
    run: Any,
    slot: int,
    attempt: int,
    rest: float = 0.0,
    reason: str = "",
) -> Pass:
    """A new attempt at the pass of this slot, offered after `rest` seconds."""
    now = database.now()
    stopped: Json = {"state": PassState.FINISHED, "outcome": Outcome.STOPPED, "ended": now, "result": {}}
    values: Json = {
        "id": new_id("p"),  # never used again: instances and vCenter know readings by it
        "run_id": run.id,
        "job_id": run.job_id,
        "slot": slot,
        "attempt": attempt,
        "final": runs.task(run.plan[slot]) is Task.FINAL,
        "task": runs.task(run.plan[slot]),
        "state": PassState.OFFERED,
        "offered": now,
        "phase": "waiting",
        "disks": [],
        "not_before": now + rest if rest else 0.0,
        "reason": reason,
    }
    values |= _place(connection, run.job_id)
    connection.execute(_PASSES.insert().values(**values | (stopped if run.stop else {})))
    return by_id(connection, values["id"])


def renew(
    database: Database,
    connection: sa.Connection,
    attempt: Pass,
    error: Json | None = None,
    rest: float = 0.0,
    reason: str = "",
) -> None:
    """Offer the same pass again as a new attempt. The caller has locked the pass and its run."""
    run = connection.execute(sa.select(_RUNS).where(_RUNS.c.id == attempt.run_id)).one()
    lost: Json = {"state": PassState.LOST, "ended": database.now(), "error": error}
    connection.execute(_PASSES.update().where(_PASSES.c.id == attempt.id).values(**lost))
    insert(database, connection, run, attempt.slot, attempt.attempt + 1, rest, reason)


def end(
    database: Database,
    connection: sa.Connection,
    pass_id: str,
    outcome: Outcome,
    error: Json | None,
    result: Json,
) -> Pass:
    """The pass has ended; what its evidence found is in the job's log."""
    values: Json = {"outcome": outcome, "error": error, "result": result, "ended": database.now()}
    connection.execute(
        _PASSES.update().where(_PASSES.c.id == pass_id).values(state=PassState.FINISHED, **values)
    )
    attempt = by_id(connection, pass_id)
    if outcome is Outcome.DONE and attempt.task.reads:
        connection.execute(_JOBS.update().where(_JOBS.c.id == attempt.job_id).values(compare_reason=""))
    database.log(connection, attempt.job_id, "ended", f"pass {pass_id} {outcome}")
    for finding in result.get("findings", ()):
        text = f"{finding.get('subject')}: {finding.get('message')} ({finding.get('check')})"
        database.log(connection, attempt.job_id, "finding", text)
    return attempt


def newest_in_slot(connection: sa.Connection, run_id: str, slot: int) -> Pass | None:
    """The newest attempt in this slot."""
    query = (
        sa.select(_PASSES)
        .where(_PASSES.c.run_id == run_id, _PASSES.c.slot == slot)
        .order_by(_PASSES.c.attempt.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else pass_of(row)


def by_id(connection: sa.Connection, pass_id: str) -> Pass:
    """Raises NotFound."""
    row = connection.execute(sa.select(_PASSES).where(_PASSES.c.id == pass_id)).one_or_none()
    if row is None:
        raise NotFound("no such pass", on=pass_id)
    return pass_of(row)


def locked(connection: sa.Connection, pass_ids: Sequence[str]) -> list[Pass]:
    """These passes as they are now, locked with their runs and jobs until the caller's transaction ends."""
    passes = sa.select(_PASSES).where(_PASSES.c.id.in_(pass_ids)).order_by(_PASSES.c.id)
    attempts = connection.execute(passes).all()
    for table, ids in (
        (_JOBS, {attempt.job_id for attempt in attempts}),
        (_RUNS, {attempt.run_id for attempt in attempts}),
    ):
        rows = sa.select(table.c.id).where(table.c.id.in_(ids)).order_by(table.c.id)
        connection.execute(rows.with_for_update(key_share=True)).all()
    return [pass_of(row) for row in connection.execute(passes.with_for_update(key_share=True)).all()]


def owned_by(connection: sa.Connection, pass_id: str, appliance: Appliance) -> Pass:
    """A pass that this appliance has or has finished. Raises `Conflict` if it is another appliance's now."""
    attempt = by_id(connection, pass_id)
    if attempt.appliance_id != appliance.id or attempt.state not in (PassState.TAKEN, PassState.FINISHED):
        raise Conflict("this pass is not yours any more", on=pass_id, remedy="stop it and clean up")
    return attempt


def _place(connection: sa.Connection, job_id: str) -> Json:
    """What the limits count for the job's source: vCenter, host, datastores, number of disks."""
    sources, disks = tables.sources, tables.source_disks
    query = sa.select(sources.c.id, sources.c.vcenter, sources.c.facts).join(
        _JOBS, _JOBS.c.source_id == sources.c.id
    )
    source = connection.execute(query.where(_JOBS.c.id == job_id)).one()
    facts = connection.execute(sa.select(disks.c.facts).where(disks.c.source_id == source.id)).scalars().all()
    return {
        "vcenter": source.vcenter,
        "host": str(source.facts.get("host", "")),
        "datastores": sorted({str(disk["datastore"]) for disk in facts if disk.get("datastore")}),
        "disk_count": max(1, len(facts)),
    }
