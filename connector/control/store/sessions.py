"""A session is a person's login in the console. Only a digest of its cookie is kept, so the database lets nobody log in."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from connector.control.domain.access import ConsoleSession
from connector.control.domain.clock import SET_BACK
from connector.control.store import tables
from connector.control.store.database import Database

_SESSIONS: Final = tables.sessions

#: Seconds after which a session ends in any case: one shift.
LIFETIME: Final = 12 * 3600.0
#: Seconds without a request after which it ends. A live page counts as a request.
IDLE: Final = 2 * 3600.0
#: How many sessions one access key has at most.
MOST_OF_KEY: Final = 100
_NOTE: Final = 60.0  # seconds between two writes of its last use


class Sessions:
    """The sessions of all replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, key_id: str, origin: str) -> str:
        """Open a session and drop those that have ended. Answer the cookie's value, which is kept nowhere."""
        token = secrets.token_urlsafe(32)
        now = self._database.now()
        with self._database.write(counted=False, audited=True) as connection:
            connection.execute(_SESSIONS.delete().where(sa.not_(_alive(now))))
            _make_room(connection, key_id)
            connection.execute(
                _SESSIONS.insert().values(
                    id=_digest(token), key_id=key_id, origin=origin, created=now, seen=now
                )
            )
        return token

    def find(self, token: str) -> ConsoleSession | None:
        """The session of this cookie, and record its use; None if there is none or it has ended."""
        now = self._database.now()
        query = sa.select(_SESSIONS).where(_SESSIONS.c.id == _digest(token), _alive(now))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if now - row.seen > _NOTE:
            self.use([row.id])
        return ConsoleSession(**row._mapping)

    def use(self, ids: Collection[str]) -> set[str]:
        """Which of these sessions are alive and have a usable key. Record their use."""
        now = self._database.now()
        keys = tables.access_keys
        usable = sa.exists().where(
            keys.c.id == _SESSIONS.c.key_id,
            keys.c.disabled.is_(False),
            keys.c.approved,
            sa.or_(keys.c.until.is_(None), keys.c.until > now),
        )
        usable_ids = sa.and_(_SESSIONS.c.id.in_(ids), _alive(now), usable)
        with self._database.read() as connection:
            last_used = {
                row.id: row.seen
                for row in connection.execute(sa.select(_SESSIONS.c.id, _SESSIONS.c.seen).where(usable_ids))
            }
        stale = [session for session, used in last_used.items() if now - used > _NOTE]
        if stale:
            with self._database.write(counted=False) as connection:
                connection.execute(_SESSIONS.update().where(_SESSIONS.c.id.in_(stale)).values(seen=now))
        return set(last_used)

    def close(self, token: str) -> None:
        """Log out. Harmless if the session has ended."""
        with self._database.write(counted=False, audited=True) as connection:
            connection.execute(_SESSIONS.delete().where(_SESSIONS.c.id == _digest(token)))


def _make_room(connection: sa.Connection, key_id: str) -> None:
    """End the key's sessions that were unused for the longest time, until there is room for one more."""
    own = sa.select(_SESSIONS.c.id).where(_SESSIONS.c.key_id == key_id).order_by(_SESSIONS.c.seen.desc())
    over = list(connection.execute(own.offset(MOST_OF_KEY - 1)).scalars())
    connection.execute(_SESSIONS.delete().where(_SESSIONS.c.id.in_(over)))


def _alive(now: float) -> sa.ColumnElement[bool]:
    """The condition that a session is alive. One from the future is not: the clock was set back, and people log in again."""
    return sa.and_(
        _SESSIONS.c.created > now - LIFETIME,
        _SESSIONS.c.created <= now + SET_BACK,
        _SESSIONS.c.seen > now - IDLE,
        _SESSIONS.c.seen <= now + SET_BACK,
    )


def _digest(token: str) -> str:
    # The cookie has 256 random bits: a slow hash would not protect it better than a fast one.
    return hashlib.sha256(token.encode()).hexdigest()
