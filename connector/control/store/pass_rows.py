"""Rows of passes, read and changed inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.entities import Outcome, Pass, PassState, Task
from connector.control.store import tables

_PASSES: Final = tables.passes

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
