"""A drill is a row: who asks for one adds it, the active runner carries it out, and its result stays with the job."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.drills import Drill, DrillState
from connector.control.domain.entities import Json
from connector.control.domain.refusals import RefusalCode, StateRefusal, UnknownObject
from connector.control.store import tables
from connector.control.store.database import Database

_DRILLS: Final = tables.drills
_OPEN: Final = _DRILLS.c.state.in_([state for state in DrillState if state.is_open])
_NEWEST_FIRST: Final = (_DRILLS.c.asked.desc(), _DRILLS.c.id.desc())
KEPT: Final = 20  # drills of one job: beyond it the oldest are dropped


class DrillStore:
    """The drills of all jobs. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, drill: Drill) -> Drill:
        """Add a drill in Waiting, as the newest of its job. Raises `StateRefusal` while another one of the job waits or runs."""
        with self._database.write() as connection:
            _lock(connection, drill.job_id)
            if _open_of(connection, drill.job_id):
                raise StateRefusal(
                    RefusalCode.JOB_STATUS,
                    "a drill of this job waits or runs already",
                    on=drill.job_id,
                    remedy="wait for its end, or stop it",
                )
            drill = replace(drill, asked=_after_the_others(connection, drill))
            connection.execute(_DRILLS.insert().values(**asdict(drill)))
            old = sa.select(_DRILLS.c.id).where(_DRILLS.c.job_id == drill.job_id).order_by(*_NEWEST_FIRST)
            dropped = list(connection.execute(old).scalars())[KEPT:]
            connection.execute(_DRILLS.delete().where(_DRILLS.c.id.in_(dropped)))
            what = "the plan of a conversion" if drill.plan_only else "a drill"
            self._database.log(
                connection, drill.job_id, "drill", f"{what} of image {drill.image_name} was asked for"
            )
        return drill

    def stop(self, job_id: str) -> Drill:
        """Stop the drill that waits or runs; one that runs ends soon. Raises `StateRefusal` when there is none."""
        with self._database.write() as connection:
            _lock(connection, job_id)
            drill = _open_of(connection, job_id)
            if drill is None:
                raise StateRefusal(
                    RefusalCode.JOB_STATUS,
                    "no drill of this job waits or runs",
                    on=job_id,
                    remedy="look at its drills",
                )
            connection.execute(_DRILLS.update().where(_DRILLS.c.id == drill.id).values(stop=True))
            if drill.state is DrillState.WAITING:
                self._end(connection, drill, DrillState.STOPPED)
            return _one(connection, drill.id)

    def open(self) -> list[Drill]:
        """All drills that wait or run, in the order in which they were asked for."""
        query = sa.select(_DRILLS).where(_OPEN).order_by(_DRILLS.c.asked, _DRILLS.c.id)
        with self._database.read() as connection:
            return [_drill(row) for row in connection.execute(query)]

    def begin(self, drill_id: str) -> bool:
        """Whether the drill runs from now on; it does not if it was stopped meanwhile."""
        waits = sa.and_(_DRILLS.c.id == drill_id, _DRILLS.c.state == DrillState.WAITING)
        values = {"state": DrillState.RUNNING, "started": self._database.now()}
        with self._database.write() as connection:
            return connection.execute(_DRILLS.update().where(waits).values(**values)).rowcount == 1

    def tell(self, drill_id: str, phase: str) -> None:
        """Keep the newest line of a drill that runs."""
        with self._database.write(counted=False) as connection:
            connection.execute(_DRILLS.update().where(_DRILLS.c.id == drill_id).values(phase=phase))

    def end(self, drill_id: str, state: DrillState, **values: Any) -> Drill:
        """Record how it ended, unless it has ended before. `values`: `boots`, `report`, `kept`, `error`."""
        with self._database.write() as connection:
            drill = _one(connection, drill_id)
            if drill.state.is_open:
                self._end(connection, drill, state, **values)
            return _one(connection, drill_id)

    def of(self, job_ids: Sequence[str]) -> list[Drill]:
        """The drills of these jobs, newest first."""
        query = sa.select(_DRILLS).where(_DRILLS.c.job_id.in_(job_ids)).order_by(*_NEWEST_FIRST)
        with self._database.read() as connection:
            return [_drill(row) for row in connection.execute(query)]

    def last(self, job_ids: Sequence[str], *, plans: bool = True) -> dict[str, Drill]:
        """The newest drill of each of these jobs that has one, by job. `plans`: also one that started nothing."""
        newest: dict[str, Drill] = {}
        for drill in self.of(job_ids):
            if plans or not drill.plan_only:
                newest.setdefault(drill.job_id, drill)
        return newest

    def get(self, job_id: str, drill_id: str) -> Drill:
        """One drill of a job. Raises `UnknownObject`."""
        with self._database.read() as connection:
            drill = _found(connection, drill_id)
        if drill is None or drill.job_id != job_id:
            raise UnknownObject(RefusalCode.DRILL_UNKNOWN, "no such drill of this job", on=drill_id)
        return drill

    def _end(self, connection: sa.Connection, drill: Drill, state: DrillState, **values: Any) -> None:
        ended = values | {"state": state, "ended": self._database.now(), "phase": ""}
        connection.execute(_DRILLS.update().where(_DRILLS.c.id == drill.id).values(**ended))
        text = f"{'the plan' if drill.plan_only else 'the drill'} of image {drill.image_name}: {_how(state, values)}"
        self._database.log(connection, drill.job_id, "drill", text)


def _how(state: DrillState, values: Mapping[str, Any]) -> str:
    """How a drill ended, for the job's log."""
    if state is DrillState.DONE:
        boots = values.get("boots")
        return "done" if boots is None else "a copy boots" if boots else "a copy DOES NOT BOOT"
    error: Json = values.get("error") or {}
    why = f": {error['what']}" if error.get("what") else ""
    return f"{state.lower()}{why}"


def _after_the_others(connection: sa.Connection, drill: Drill) -> float:
    """When the drill was asked for: later than the others of its job, also after the clock was set back."""
    newest = sa.select(sa.func.max(_DRILLS.c.asked)).where(_DRILLS.c.job_id == drill.job_id)
    last = connection.execute(newest).scalar()
    return drill.asked if last is None else max(drill.asked, math.nextafter(float(last), math.inf))


def _lock(connection: sa.Connection, job_id: str) -> None:
    """Lock the job until the caller's transaction ends, so that two requests do not both add a drill."""
    query = sa.select(tables.jobs.c.id).where(tables.jobs.c.id == job_id)
    connection.execute(query.with_for_update(key_share=True)).one()


def _open_of(connection: sa.Connection, job_id: str) -> Drill | None:
    row = connection.execute(sa.select(_DRILLS).where(_DRILLS.c.job_id == job_id, _OPEN)).first()
    return None if row is None else _drill(row)


def _found(connection: sa.Connection, drill_id: str) -> Drill | None:
    row = connection.execute(sa.select(_DRILLS).where(_DRILLS.c.id == drill_id)).one_or_none()
    return None if row is None else _drill(row)


def _one(connection: sa.Connection, drill_id: str) -> Drill:
    """A drill that exists. Only another process of ours removes drills, and only those that have ended."""
    drill = _found(connection, drill_id)
    if drill is None:
        raise UnknownObject(RefusalCode.DRILL_UNKNOWN, "the drill is gone", on=drill_id)
    return drill


def _drill(row: Any) -> Drill:
    return Drill(**{**row._mapping, "state": DrillState(row.state)})
