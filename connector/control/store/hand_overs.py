"""A hand-over is a row of its job. A run writes it, people ask for the former disks, and the active runner does what they ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.entities import HandOver, HandOverState
from connector.control.domain.jobs import JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.store import tables
from connector.control.store.database import Database

_ROWS: Final = tables.hand_overs
_TEXTS: Final = {
    HandOverState.BEGUN: "the image goes onto the disks of target instance {}",
    HandOverState.DONE: "target instance {} has the image on its disks; its former disks are kept",
    HandOverState.PUTTING_BACK: "the former disks of target instance {} are to be put back",
    HandOverState.PUT_BACK: "target instance {} has its former disks again",
    HandOverState.RELEASING: "the former disks of target instance {} are to be removed",
    HandOverState.RELEASED: "the former disks of target instance {} are removed",
}


class HandOverStore:
    """The hand-overs of all jobs, one for each. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, job_ids: Sequence[str]) -> dict[str, HandOver]:
        """The hand-over of each of these jobs that has one."""
        query = sa.select(_ROWS).where(_ROWS.c.job_id.in_(job_ids))
        with self._database.read() as connection:
            return {row.job_id: _hand_over(row) for row in connection.execute(query)}

    def asked(self) -> list[HandOver]:
        """Those of which somebody asked something that is not done yet, oldest first."""
        requests = [state for state in HandOverState if state.is_asked]
        query = sa.select(_ROWS).where(_ROWS.c.state.in_(requests)).order_by(_ROWS.c.changed, _ROWS.c.job_id)
        with self._database.read() as connection:
            return [_hand_over(row) for row in connection.execute(query)]

    def begin(self, job_id: str, instance: str) -> None:
        """Record that the image of a run goes onto this machine.

        Raises `StateRefusal` while the former disks are being put back or removed.
        """
        with self._database.write() as connection:
            before = self._locked(connection, job_id)
            if before is not None and before.state.is_asked:
                raise StateRefusal(
                    RefusalCode.JOB_STATUS, _refusal(before), on=job_id, remedy="wait for its end"
                )
            if before is None:
                begun = HandOver(job_id, instance, HandOverState.BEGUN, self._database.now())
                connection.execute(_ROWS.insert().values(**asdict(begun)))
                self._log(connection, job_id, instance, HandOverState.BEGUN)
            elif before.state is not HandOverState.BEGUN:
                self._set(connection, job_id, instance, HandOverState.BEGUN)

    def ask(self, job_id: str, request: HandOverState) -> HandOver:
        """Ask for the former disks to be put back, or removed. Repeating a request is harmless.

        Raises `StateRefusal` without former disks, while the job runs, and while the other request is carried out.
        """
        done = HandOverState.PUT_BACK if request is HandOverState.PUTTING_BACK else HandOverState.RELEASED
        with self._database.write() as connection:
            c = tables.jobs.c
            job = sa.select(c.status).where(c.id == job_id).with_for_update(key_share=True)
            if connection.execute(job).scalar_one() == JobStatus.RUNNING:
                raise StateRefusal(
                    RefusalCode.JOB_STATUS, "the job is running", on=job_id, remedy="stop it first"
                )
            now = self._locked(connection, job_id)
            if now is not None and now.state in (request, done):
                return now
            if now is None or not now.state.keeps_former or now.state.is_asked:
                raise StateRefusal(
                    RefusalCode.JOB_STATUS,
                    _refusal(now),
                    on=job_id,
                    remedy="look at the job: `connector job show`",
                )
            return self._set(connection, job_id, now.instance, request)

    def end(self, job_id: str, state: HandOverState, trouble: str = "", *, of: HandOverState) -> None:
        """Record that a run or the runner has done its part, or with `trouble` that it could not.

        `of`: what was carried out. Nothing is recorded if the hand-over is not in that state any more.
        """
        with self._database.write() as connection:
            now = self._locked(connection, job_id)
            if now is not None and now.state is of:
                self._set(connection, job_id, now.instance, state, trouble)

    def _set(
        self, connection: sa.Connection, job_id: str, instance: str, state: HandOverState, trouble: str = ""
    ) -> HandOver:
        row = HandOver(job_id, instance, state, self._database.now(), trouble)
        connection.execute(_ROWS.update().where(_ROWS.c.job_id == job_id).values(**asdict(row)))
        self._log(connection, job_id, instance, state, trouble)
        return row

    def _log(
        self, connection: sa.Connection, job_id: str, instance: str, state: HandOverState, trouble: str = ""
    ) -> None:
        text = f"could not be done: {trouble}" if trouble else _TEXTS[state].format(instance)
        self._database.log(connection, job_id, "target", text)

    def _locked(self, connection: sa.Connection, job_id: str) -> HandOver | None:
        query = sa.select(_ROWS).where(_ROWS.c.job_id == job_id).with_for_update(key_share=True)
        row = connection.execute(query).one_or_none()
        return None if row is None else _hand_over(row)


def must_rest(connection: sa.Connection, job_id: str) -> None:
    """Raise `StateRefusal` while the former disks of this job are being put back or removed: a run would change them too."""
    state = _state(connection, job_id)
    if state is not None and state.is_asked:
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            "the former disks of its target instance are being put back or removed",
            on=job_id,
            remedy="wait for the end: `connector job former-disks JOB`",
        )


def must_keep_nothing(connection: sa.Connection, job_id: str) -> None:
    """Raise `StateRefusal` while former disks may exist that only this job lists."""
    state = _state(connection, job_id)
    if state is not None and state.keeps_former:
        raise StateRefusal(
            RefusalCode.JOB_STATUS,
            "the former disks of its target instance are kept",
            on=job_id,
            remedy="put them back or let them go first: `connector job former-disks JOB --put-back`, or --release",
        )


def _state(connection: sa.Connection, job_id: str) -> HandOverState | None:
    word = connection.execute(sa.select(_ROWS.c.state).where(_ROWS.c.job_id == job_id)).scalar()
    return None if word is None else HandOverState(word)


def _refusal(now: HandOver | None) -> str:
    if now is None:
        return "the job has put no image onto a target instance"
    if now.state.is_asked:
        return "the former disks are being put back or removed already"
    return (
        "the former disks are put back"
        if now.state is HandOverState.PUT_BACK
        else "the former disks are removed"
    )


def _hand_over(row: Any) -> HandOver:
    return HandOver(**{**row._mapping, "state": HandOverState(row.state)})
