"""A pass is offered by the workflow, taken by one appliance, and finished once.

A lost pass gets a new attempt with a new id, so its former appliance can no longer report for it.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.clock import SET_BACK
from connector.control.domain.entities import (
    LEFT_OUT,
    Appliance,
    ApplianceStatus,
    Json,
    Outcome,
    Pass,
    PassState,
    Task,
)
from connector.control.domain.jobs import SYNCING, JobEvent, JobState, follow
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.store import runs, tables
from connector.control.store.database import HANDING_OUT, Database, new_id
from connector.control.store.limits import Quotas
from connector.control.store.pass_rows import IN_ORDER, in_state, pass_of
from connector.control.store.queue import waiting
from connector.errors import Conflict, NotFound

_PASSES: Final = tables.passes
_RUNS: Final = tables.runs
_JOBS: Final = tables.jobs

_SHOWN: Final = 3  # names of appliances in one sentence
#: After so many lost appliances a pass is given up.
ATTEMPTS: Final = 20


class Passes:
    """The passes of all jobs."""

    def __init__(self, database: Database, limits: Quotas) -> None:
        self._database = database
        self._limits = limits

    def offer(self, run_id: str, slot: int) -> Pass:
        """The last attempt in this slot; a new one if there is none. Idempotent."""
        with self._database.write() as connection:
            run = connection.execute(
                sa.select(_RUNS).where(_RUNS.c.id == run_id).with_for_update(key_share=True)
            ).one()
            last = _last(connection, run_id, slot)
            if last is None:
                last = self._insert(connection, run, slot, 1)
                self._database.log(connection, run.job_id, "offered", f"pass {last.id} waits")
            return last

    def _insert(
        self,
        connection: sa.Connection,
        run: Any,
        slot: int,
        attempt: int,
        rest: float = 0.0,
        reason: str = "",
    ) -> Pass:
        now = self._database.now()
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
        return _one(connection, values["id"])

    def take(self, appliance: Appliance, errands: bool = False) -> Pass | None:
        """Give this appliance the oldest pass that the limits allow; None if there is none.

        `errands`: give it a power task instead of a pass that reads; no limit holds power tasks up.
        """
        with self._database.read() as connection:
            if self._next(connection, appliance, errands) is None:
                return None
        with self._database.write() as connection:
            self._database.exclusive(connection, HANDING_OUT)
            attempt = self._next(connection, appliance, errands)
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
            still = sa.and_(_PASSES.c.id == attempt.id, _PASSES.c.state == PassState.OFFERED)
            if connection.execute(_PASSES.update().where(still).values(**values)).rowcount != 1:
                return None
            connection.execute(_JOBS.update().where(_JOBS.c.id == attempt.job_id).values(waiting=""))
            text = f"pass {attempt.id} begun by the appliance {appliance.name}"
            self._database.log(connection, attempt.job_id, "taken", text)
            return _one(connection, attempt.id)

    def _next(self, connection: sa.Connection, appliance: Appliance, errands: bool) -> Pass | None:
        now = self._database.now()
        ready = sa.or_(_PASSES.c.not_before <= now, _PASSES.c.offered > now + SET_BACK)
        offered = in_state(connection, PassState.OFFERED, _PASSES.c.vcenter == appliance.vcenter, ready)
        suitable = [attempt for attempt in offered if attempt.task.reads is not errands]
        if not suitable:
            return None
        why = waiting(connection, offered, self._limits)
        return next((attempt for attempt in suitable if not why[attempt.id]), None)

    def explain(self, online: Iterable[str]) -> None:
        """Write into each job whose pass nobody has taken what it waits for."""
        now = self._database.now()
        with self._database.read() as connection:
            offered = in_state(connection, PassState.OFFERED)
            ready = [attempt for attempt in offered if not _rests(attempt, now)]
            by_vcenter = {
                attempt.vcenter: [other for other in ready if other.vcenter == attempt.vcenter]
                for attempt in ready
            }
            readers = _readers(connection)
            why: dict[str, str] = {}
            for passes in by_vcenter.values():
                why |= waiting(connection, passes, self._limits)
        for resting in (attempt for attempt in offered if _rests(attempt, now)):
            self._explain(
                resting, f"rests, and is tried again {_clock(resting.not_before)}: {resting.reason}"
            )
        for attempt in ready:
            names = readers.get(attempt.vcenter, [])
            busy = why[attempt.id] or _busy(names)
            self._explain(attempt, busy if attempt.vcenter in online else _absent(names))

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

    def ended(self) -> list[Pass]:
        """The finished passes of runs that have not ended. The workflows of these runs must be told."""
        with self._database.read() as connection:
            open_runs = sa.select(_RUNS.c.id).where(_RUNS.c.ended.is_(None))
            if not (under_way := list(connection.execute(open_runs).scalars())):
                return []
            query = sa.select(_PASSES).where(_PASSES.c.run_id.in_(under_way))
            passes = [pass_of(row) for row in connection.execute(query)]  # few rows compared with all passes
        return [attempt for attempt in passes if attempt.state is PassState.FINISHED]

    def fail(self, run_id: str, error: Json) -> None:
        """End all open passes of this run as failed, even if an appliance has them."""
        live = sa.and_(_PASSES.c.run_id == run_id, _PASSES.c.state.in_((PassState.OFFERED, PassState.TAKEN)))
        with self._database.write() as connection:
            for row in connection.execute(
                sa.select(_PASSES).where(live).with_for_update(key_share=True)
            ).all():
                self._end(connection, row.id, Outcome.FAILED, error, {})

    def progress(self, pass_id: str, appliance: Appliance, phase: str, disks: Sequence[Json]) -> None:
        """Keep the latest progress. A report after the pass's end is dropped."""
        with self._database.write(counted=False) as connection:
            attempt = _owned(connection, pass_id, appliance)
            if attempt.state is PassState.TAKEN:
                connection.execute(
                    _PASSES.update().where(_PASSES.c.id == pass_id).values(phase=phase, disks=list(disks))
                )

    def finish(
        self,
        pass_id: str,
        appliance: Appliance,
        outcome: Outcome,
        error: Json | None,
        result: Json,
        rest: float = 0.0,
    ) -> Pass:
        """End a pass. The same report again is harmless; a different one raises `Conflict`.

        A pass that stops without having been asked to was given back: it is offered again after `rest` seconds, and
        `error` says why.
        """
        with self._database.write() as connection:
            attempt = _one(connection, pass_id)
            if outcome is Outcome.STOPPED and _handed_back(attempt, appliance):
                return attempt
            attempt = _owned(connection, pass_id, appliance)
            if attempt.state is PassState.FINISHED:
                if attempt.outcome is not outcome:
                    raise Conflict(
                        f"this pass has ended as {attempt.outcome}",
                        on=pass_id,
                        remedy="ask for the next order: the pass is offered again when it is needed",
                    )
                return attempt
            query = (
                sa.select(_RUNS.c.stop).where(_RUNS.c.id == attempt.run_id).with_for_update(key_share=True)
            )
            stop_asked = connection.execute(query).scalar_one()
            if outcome is Outcome.STOPPED and not stop_asked:
                reason = str((error or {}).get("what", ""))
                self._log(
                    connection, attempt, f"handed back{f': {reason}' if reason else ' by its appliance'}"
                )
                self._renew(connection, attempt, error, rest, reason)
                return _one(connection, pass_id)
            was_asked = outcome is Outcome.STOPPED
            return self._end(connection, pass_id, outcome, None if was_asked else error, result)

    def stop(self, job_id: str) -> Pass | None:
        """Ask the job's open run to stop. A pass that nobody has taken ends at once and is answered."""
        with self._database.write() as connection:
            job = connection.execute(
                sa.select(tables.jobs).where(tables.jobs.c.id == job_id).with_for_update(key_share=True)
            ).one()
            follow(JobState(job.status, job.business), JobEvent.STOP, job_id)
            run = connection.execute(
                sa.select(_RUNS)
                .where(_RUNS.c.job_id == job_id, _RUNS.c.ended.is_(None))
                .with_for_update(key_share=True)
            ).one()
            if run.proved:
                raise StateRefusal(
                    RefusalCode.JOB_STATUS,
                    "all machines of its application are proved, and it ends in a moment",
                    on=job.name,
                    remedy="wait until it is Finished; then the application can be rolled back",
                )
            connection.execute(_RUNS.update().where(_RUNS.c.id == run.id).values(stop=True))
            if not run.stop:
                self._database.log(connection, job_id, "stop", "stop requested")
            waiting = connection.execute(
                sa.select(_PASSES.c.id)
                .where(_PASSES.c.run_id == run.id, _PASSES.c.state == PassState.OFFERED)
                .with_for_update(key_share=True)
            ).scalar_one_or_none()
            return None if waiting is None else self._end(connection, waiting, Outcome.STOPPED, None, {})

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

    def definitions(self, appliance: Appliance, held: Iterable[str]) -> dict[str, tuple[Json, bool]]:
        """The present definition of each pass's job, and whether the pass is the final one."""
        query = (
            sa.select(_PASSES.c.id, _PASSES.c.final, _JOBS.c.definition)
            .join(_JOBS, _JOBS.c.id == _PASSES.c.job_id)
            .where(_PASSES.c.appliance_id == appliance.id, _PASSES.c.id.in_(list(held)))
        )
        with self._database.read() as connection:
            return {row.id: (row.definition, row.final) for row in connection.execute(query)}

    def verdict(self, run_id: str, slot: int) -> Pass | None:
        """The finished pass of this slot; None while there is none."""
        with self._database.read() as connection:
            last = _last(connection, run_id, slot)
        return last if last is not None and last.state is PassState.FINISHED else None

    def lose(self, is_lost: Callable[[Pass], bool], why: str) -> list[Pass]:
        """Give up every taken pass for which `is_lost` is true, and offer it again. Answer those that ended instead."""
        ended: list[Pass] = []
        with self._database.read() as connection:
            if not any(map(is_lost, in_state(connection, PassState.TAKEN))):
                return []
        with self._database.write() as connection:
            query = (
                sa.select(_PASSES).where(_PASSES.c.state == PassState.TAKEN).with_for_update(key_share=True)
            )
            for row in connection.execute(query).all():
                if not is_lost(attempt := pass_of(row)):
                    continue
                if (end := self._replace(connection, attempt, why)) is not None:
                    ended.append(end)
        return ended

    def _replace(self, connection: sa.Connection, attempt: Pass, why: str) -> Pass | None:
        run = connection.execute(
            sa.select(_RUNS).where(_RUNS.c.id == attempt.run_id).with_for_update(key_share=True)
        ).one()
        self._log(connection, attempt, why)
        if run.stop or self._lost(connection, attempt) + 1 >= ATTEMPTS:
            outcome = Outcome.STOPPED if run.stop else Outcome.FAILED
            error = {
                "error": "ControlFailed",
                "what": f"{attempt.attempt} appliances in a row were lost during this pass",
                "on": attempt.job_id,
                "remedy": "read the appliances' logs, then start the job again",
                "retryable": False,
            }
            return self._end(connection, attempt.id, outcome, None if run.stop else error, {})
        self._renew(connection, attempt)
        return None

    def _lost(self, connection: sa.Connection, attempt: Pass) -> int:
        """How many attempts at this pass were lost without a report. A pass that was given back does not count."""
        slot_passes = sa.and_(_PASSES.c.run_id == attempt.run_id, _PASSES.c.slot == attempt.slot)
        silent = sa.and_(_PASSES.c.state == PassState.LOST, _PASSES.c.error.is_(None))
        return connection.execute(
            sa.select(sa.func.count()).select_from(_PASSES).where(slot_passes, silent)
        ).scalar_one()

    def _renew(
        self,
        connection: sa.Connection,
        attempt: Pass,
        error: Json | None = None,
        rest: float = 0.0,
        reason: str = "",
    ) -> None:
        """Offer the same pass again as a new attempt."""
        run = connection.execute(
            sa.select(_RUNS).where(_RUNS.c.id == attempt.run_id).with_for_update(key_share=True)
        ).one()
        lost: Json = {"state": PassState.LOST, "ended": self._database.now(), "error": error}
        connection.execute(_PASSES.update().where(_PASSES.c.id == attempt.id).values(**lost))
        self._insert(connection, run, attempt.slot, attempt.attempt + 1, rest, reason)

    def _log(self, connection: sa.Connection, attempt: Pass, why: str) -> None:
        self._database.log(connection, attempt.job_id, "lost", f"pass {attempt.id}: {why}")

    def _end(
        self, connection: sa.Connection, pass_id: str, outcome: Outcome, error: Json | None, result: Json
    ) -> Pass:
        values: Json = {"outcome": outcome, "error": error, "result": result, "ended": self._database.now()}
        connection.execute(
            _PASSES.update().where(_PASSES.c.id == pass_id).values(state=PassState.FINISHED, **values)
        )
        attempt = _one(connection, pass_id)
        if outcome is Outcome.DONE and attempt.task.reads:
            connection.execute(_JOBS.update().where(_JOBS.c.id == attempt.job_id).values(compare_reason=""))
        self._database.log(connection, attempt.job_id, "ended", f"pass {pass_id} {outcome}")
        for finding in result.get("findings", ()):
            text = f"{finding.get('subject')}: {finding.get('message')} ({finding.get('check')})"
            self._database.log(connection, attempt.job_id, "finding", text)
        return attempt

    def of(self, job_id: str) -> list[Pass]:
        """A job's passes, oldest first."""
        query = sa.select(_PASSES).where(_PASSES.c.job_id == job_id).order_by(*IN_ORDER)
        with self._database.read() as connection:
            return [pass_of(row) for row in connection.execute(query)]

    def disk_set(self, job_id: str) -> list[Json]:
        """The disk set of the last pass that was done."""
        finished = [
            attempt for attempt in self.of(job_id) if attempt.outcome is Outcome.DONE and attempt.result
        ]
        disk_sets = [attempt.result.get("disk_set") for attempt in finished if attempt.result]
        return next((disks for disks in reversed(disk_sets) if isinstance(disks, list)), [])

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
            return _owned(connection, pass_id, appliance)


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


def _readers(connection: sa.Connection) -> dict[str, list[str]]:
    """Names of the approved appliances, by vCenter."""
    c, readers = tables.appliances.c, defaultdict[str, list[str]](list)
    approved = c.state == ApplianceStatus.APPROVED
    for row in connection.execute(sa.select(c.vcenter, c.name).where(approved).order_by(c.name)):
        readers[row.vcenter].append(row.name)
    return readers


def _busy(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"waits for room at the appliance {names[0]}"
    return f"waits for room at {f'one of the appliances {_some(names)}' if names else 'an appliance'}"


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


def stoppable(state: JobState) -> bool:
    """Whether STOP asks a running pass to stop, instead of changing the state at once."""
    return state == SYNCING


def _last(connection: sa.Connection, run_id: str, slot: int) -> Pass | None:
    query = (
        sa.select(_PASSES)
        .where(_PASSES.c.run_id == run_id, _PASSES.c.slot == slot)
        .order_by(_PASSES.c.attempt.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else pass_of(row)


def _one(connection: sa.Connection, pass_id: str) -> Pass:
    row = connection.execute(sa.select(_PASSES).where(_PASSES.c.id == pass_id)).one_or_none()
    if row is None:
        raise NotFound("no such pass", on=pass_id)
    return pass_of(row)


def _owned(connection: sa.Connection, pass_id: str, appliance: Appliance) -> Pass:
    attempt = _one(connection, pass_id)
    if attempt.appliance_id != appliance.id or attempt.state not in (PassState.TAKEN, PassState.FINISHED):
        raise Conflict("this pass is not yours any more", on=pass_id, remedy="stop it and clean up")
    return attempt


def _rests(attempt: Pass, now: float) -> bool:
    """Whether the pass still rests. A rest that began in the future was begun by a clock that was set back: it is over."""
    return attempt.not_before > now and attempt.offered <= now + SET_BACK


def _clock(moment: float) -> str:
    return f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):at %H:%M:%S UTC}"


def _handed_back(attempt: Pass, appliance: Appliance) -> bool:
    return attempt.state is PassState.LOST and attempt.appliance_id == appliance.id
