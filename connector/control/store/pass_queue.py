"""Handing out: an appliance takes the oldest pass that the limits allow; whoever waits is told for what."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import sqlalchemy as sa

from connector.control.domain.clock import SET_BACK
from connector.control.domain.entities import (
    LEFT_OUT,
    Appliance,
    ApplianceStatus,
    Json,
    Pass,
    PassState,
)
from connector.control.store import tables
from connector.control.store.database import HANDING_OUT, Database
from connector.control.store.limits import Quotas
from connector.control.store.pass_room import waiting
from connector.control.store.pass_rows import (
    by_id,
    in_state,
)

_PASSES: Final = tables.passes
_RUNS: Final = tables.runs
_JOBS: Final = tables.jobs

_SHOWN: Final = 3  # names of appliances in one sentence


class PassQueue:
    """Offered passes, of which each appliance takes one at a time. Safe for any number of replicas."""

    def __init__(self, database: Database, limits: Quotas) -> None:
        self._database = database
        self._limits = limits

    def take(self, appliance: Appliance, power_tasks: bool = False) -> Pass | None:
        """Give this appliance the oldest pass that the limits allow; None if there is none.

        `power_tasks`: give it a power task instead of a pass that reads. No limit counts power tasks, but those of an
        application wait until there is room to read all of its machines.
        """
        with self._database.read() as connection:
            if self._next(connection, appliance, power_tasks) is None:
                return None
        with self._database.write() as connection:
            self._database.exclusive(connection, HANDING_OUT)
            attempt = self._next(connection, appliance, power_tasks)
            if attempt is None:
                return None
            now = self._database.now()
            values: Json = {
                "state": PassState.TAKEN,
                "appliance_id": appliance.id,
                "taken": now,
                "phase": f"begun by the appliance {appliance.name}"[:400],
                "wanted": _wanted(connection, attempt.job_id),
            }
            job = sa.select(_JOBS.c.id).where(_JOBS.c.id == attempt.job_id)
            connection.execute(job.with_for_update(key_share=True))
            still = sa.and_(_PASSES.c.id == attempt.id, _PASSES.c.state == PassState.OFFERED)
            if connection.execute(_PASSES.update().where(still).values(**values)).rowcount != 1:
                return None
            connection.execute(_JOBS.update().where(_JOBS.c.id == attempt.job_id).values(waiting=""))
            text = f"pass {attempt.id} begun by the appliance {appliance.name}"
            self._database.log(connection, attempt.job_id, "taken", text)
            return by_id(connection, attempt.id)

    def _next(self, connection: sa.Connection, appliance: Appliance, power_tasks: bool) -> Pass | None:
        now = self._database.now()
        ready = sa.or_(_PASSES.c.not_before <= now, _PASSES.c.offered > now + SET_BACK)
        # One query: of two, the second may lack what another process has taken in between.
        everywhere = in_state(connection, PassState.OFFERED, ready)
        own = [attempt for attempt in everywhere if attempt.vcenter == appliance.vcenter]
        suitable = [attempt for attempt in own if attempt.task.reads is not power_tasks]
        if not suitable:
            return None
        why = waiting(connection, everywhere, appliance.vcenter, self._limits)
        return next((attempt for attempt in suitable if not why[attempt.id]), None)

    def explain(self, online: Iterable[str]) -> None:
        """Write into each job whose pass nobody has taken what it waits for."""
        now = self._database.now()
        with self._database.read() as connection:
            offered = in_state(connection, PassState.OFFERED)
            ready = [attempt for attempt in offered if not _rests(attempt, now)]
            readers = _readers(connection)
            names = _job_names(connection, offered)
            why: dict[str, str] = {}
            for vcenter in {attempt.vcenter for attempt in ready}:
                why |= waiting(connection, ready, vcenter, self._limits, names)
        for resting in (attempt for attempt in offered if _rests(attempt, now)):
            self._explain(
                resting, f"rests, and is tried again {_clock(resting.not_before)}: {resting.reason}"
            )
        for attempt in ready:
            appliances = readers.get(attempt.vcenter, [])
            busy = why[attempt.id] or _busy(appliances, attempt.task.reads)
            self._explain(attempt, busy if attempt.vcenter in online else _absent(appliances))

    def _explain(self, attempt: Pass, text: str) -> None:
        with self._database.read() as connection:
            query = sa.select(_JOBS.c.waiting).where(_JOBS.c.id == attempt.job_id)
            if connection.execute(query).scalar_one() == text:
                return
        offered = sa.exists().where(_PASSES.c.id == attempt.id, _PASSES.c.state == PassState.OFFERED)
        with self._database.write(counted=False) as connection:
            connection.execute(
                _JOBS.update().where(_JOBS.c.id == attempt.job_id, offered).values(waiting=text)
            )


def _readers(connection: sa.Connection) -> dict[str, list[str]]:
    """Names of the approved appliances, by vCenter."""
    c, readers = tables.appliances.c, defaultdict[str, list[str]](list)
    approved = c.state == ApplianceStatus.APPROVED
    for row in connection.execute(sa.select(c.vcenter, c.name).where(approved).order_by(c.name)):
        readers[row.vcenter].append(row.name)
    return readers


def _job_names(connection: sa.Connection, passes: Sequence[Pass]) -> dict[str, str]:
    query = sa.select(_JOBS.c.id, _JOBS.c.name).where(_JOBS.c.id.in_([attempt.job_id for attempt in passes]))
    return {row.id: row.name for row in connection.execute(query)}


def _busy(names: Sequence[str], reads: bool) -> str:
    if len(names) == 1:
        place = f"the appliance {names[0]}"
    else:
        place = f"one of the appliances {_some(names)}" if names else "an appliance"
    if not reads:  # `passes` does not bound power tasks
        return f"waits for room at {place}"
    return f"waits for room at {place}, which reads as many machines at a time as its setting `passes` says"


def _absent(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"waits: the appliance {names[0]} is not online"
    return f"waits: {f'none of the appliances {_some(names)}' if names else 'no appliance of its vCenter'} is online"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _wanted(connection: sa.Connection, job_id: str) -> list[int]:
    """Keys of the disks that the job migrates, as the source is known now."""
    job = connection.execute(
        sa.select(_JOBS.c.source_id, _JOBS.c.definition).where(_JOBS.c.id == job_id)
    ).one()
    disks = tables.source_disks
    keys = connection.execute(sa.select(disks.c.key).where(disks.c.source_id == job.source_id)).scalars()
    left_out = set(job.definition.get(LEFT_OUT, ()))
    return sorted(key for key in keys if key not in left_out)


def _rests(attempt: Pass, now: float) -> bool:
    """Whether the pass still rests. A rest that began in the future was begun by a clock that was set back: it is over."""
    return attempt.not_before > now and attempt.offered <= now + SET_BACK


def _clock(moment: float) -> str:
    return f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):at %H:%M:%S UTC}"
