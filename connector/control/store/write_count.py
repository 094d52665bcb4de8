"""Each write that has consequences gets a number in its epoch, inside its own transaction.

A writer is a process. Two histories that forked from one backup can have equal numbers, so the number of each writer counts too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from connector.control.store import tables
from connector.errors import ControlFailed, StateRestored

_EPOCHS: Final = tables.epochs
_WRITERS: Final = tables.writers
_CURRENT: Final = _EPOCHS.c.ended.is_(None)

REMEDY: Final = "read `connector control status`, then run `connector control confirm --state DIR`"


@dataclass(frozen=True, slots=True)
class WritePosition:
    """How far a database is. `restored`: why its state is held; empty if it is not held."""

    number: int
    sequence: int
    epoch: str
    writer: str
    began: float
    restored: str = ""
    restored_at: float | None = None
    heard: int = 0
    engine: int | None = None


class WentBack(Exception):
    """The database has lost committed writes. The text says how that was seen, `epoch` in which epoch."""

    def __init__(self, how: str, epoch: str) -> None:
        super().__init__(how)
        self.epoch = epoch


def refusal(restored: str) -> StateRestored:
    """The refusal of everything while the state is held."""
    return StateRestored(
        f"the state of this control plane was restored ({restored}); nothing begins until the restore is confirmed",
        on="control plane",
        remedy=REMEDY,
    )


def no_epoch() -> ControlFailed:
    """The failure when the table of epochs is empty."""
    return ControlFailed("the database has no epoch", on="database", remedy="restore a backup")


def current(connection: sa.Connection) -> WritePosition:
    """The current epoch."""
    row = connection.execute(sa.select(_EPOCHS).where(_CURRENT)).one_or_none()
    if row is None:
        raise no_epoch()
    return _point(row)


def count(connection: sa.Connection, writer: str, last: int, latest: WritePosition | None) -> WritePosition:
    """Count one more write of this writer, whose last one was number `last`.

    The caller locks nothing after this but the end of the audit log.
    """
    updated = (
        _EPOCHS.update()
        .where(_CURRENT)
        .values(sequence=_EPOCHS.c.sequence + 1, writer=writer)
        .returning(*_EPOCHS.c)
    )
    row = connection.execute(updated).one_or_none()
    if row is None:
        raise no_epoch()
    now = _point(row)
    if now.restored:
        raise refusal(now.restored)
    must_go_on(now, latest, ahead=1)
    number = last if latest is not None and latest.epoch == now.epoch else 0
    own = _WRITERS.c.id == writer
    moved = _WRITERS.update().where(own, _WRITERS.c.last >= number).values(last=now.sequence)
    if connection.execute(moved).rowcount == 1:
        return now
    if number:
        raise WentBack(f"the database has lost what this process wrote as number {number}", now.epoch)
    connection.execute(_WRITERS.insert().values(id=writer, last=now.sequence))
    return now


def must_go_on(now: WritePosition, latest: WritePosition | None, ahead: int = 0) -> None:
    """Raise `WentBack` if the database was further than now. `ahead`: by how much it must have advanced."""
    if latest is None or now.number > latest.number:
        return
    if now.epoch != latest.epoch:
        raise WentBack(
            f"the database was in epoch {latest.number} and is in another epoch {now.number}", now.epoch
        )
    if now.sequence < latest.sequence + ahead:
        behind = f"number {latest.sequence}, and now it ends at {now.sequence - ahead}"
        raise WentBack(f"the database held writes up to {behind}", now.epoch)


def last_of(connection: sa.Connection, writer: str) -> int | None:
    """The sequence of this writer's last write; None when it never wrote here."""
    return connection.execute(sa.select(_WRITERS.c.last).where(_WRITERS.c.id == writer)).scalar_one_or_none()


def _point(row: Any) -> WritePosition:
    values = dict(row._mapping)
    values["epoch"] = values.pop("id")
    values.pop("ended")
    return WritePosition(**values)


def remember_lost(connection: sa.Connection, epoch: str, now: float) -> None:
    """Keep an epoch that somebody knows and this database has lost. Its number is below all others."""
    epochs = tables.epochs
    if connection.execute(sa.select(epochs.c.id).where(epochs.c.id == epoch)).first() is not None:
        return
    lowest = connection.execute(sa.select(sa.func.min(epochs.c.number))).scalar_one()
    values = {
        "id": epoch,
        "number": min(lowest, 0) - 1,
        "sequence": 0,
        "writer": "",
        "began": now,
        "ended": now,
    }
    connection.execute(epochs.insert().values(**values))
