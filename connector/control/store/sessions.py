"""Sessions of people in the console. Only a digest of the cookie is kept: the database cannot be used to log in."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from connector.control.domain.clock import SET_BACK
from connector.control.domain.entities import ConsoleSession
from connector.control.store import tables
from connector.control.store.database import Database

_SESSIONS: Final = tables.sessions

#: Seconds after which a session ends, whatever happens: one shift.
LIFETIME: Final = 12 * 3600.0
#: Seconds without a request after which it ends. A page that is watched live counts as being used.
IDLE: Final = 2 * 3600.0
#: Sessions of one access key at once.
MOST_OF_KEY: Final = 100
_NOTE: Final = 60.0  # a use is written down this often at most


class Sessions:
    """Who is logged in, on whichever replica."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, key_id: str, origin: str) -> str:
        """A new session; answers the cookie's value, which is kept nowhere. Sweeps sessions that have ended."""
        token = secrets.token_urlsafe(32)
        now = self._database.now()
        with self._database.write(counted=False) as connection:
            connection.execute(_SESSIONS.delete().where(sa.not_(_alive(now))))
            _make_room(connection, key_id)
            connection.execute(
                _SESSIONS.insert().values(
                    id=_digest(token), key_id=key_id, origin=origin, created=now, seen=now
                )
            )
        return token

    def find(self, token: str) -> ConsoleSession | None:
        """The session of this cookie, which has been used now; None when there is none or it has ended."""
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
        """Those of `ids` that are alive, by session and by key; they have been used now."""
        now = self._database.now()
        keys = tables.access_keys
        usable = sa.exists().where(
            keys.c.id == _SESSIONS.c.key_id, keys.c.disabled.is_(False), keys.c.approved
        )
        mine = sa.and_(_SESSIONS.c.id.in_(ids), _alive(now), usable)
        with self._database.read() as connection:
            found = {
                row.id: row.seen
                for row in connection.execute(sa.select(_SESSIONS.c.id, _SESSIONS.c.seen).where(mine))
            }
        stale = [session for session, seen in found.items() if now - seen > _NOTE]
        if stale:
            with self._database.write(counted=False) as connection:
                connection.execute(_SESSIONS.update().where(_SESSIONS.c.id.in_(stale)).values(seen=now))
        return set(found)

    def close(self, token: str) -> None:
        """Log out; harmless when the session has ended."""
        with self._database.write(counted=False) as connection:
            connection.execute(_SESSIONS.delete().where(_SESSIONS.c.id == _digest(token)))


def _make_room(connection: sa.Connection, key_id: str) -> None:
    """The sessions of this key that have not been used for the longest end."""
    mine = sa.select(_SESSIONS.c.id).where(_SESSIONS.c.key_id == key_id).order_by(_SESSIONS.c.seen.desc())
    over = list(connection.execute(mine.offset(MOST_OF_KEY - 1)).scalars())
    connection.execute(_SESSIONS.delete().where(_SESSIONS.c.id.in_(over)))


def _alive(now: float) -> sa.ColumnElement[bool]:
    """A session of the future would outlive its time: the clock has been set back, and people log in again."""
    return sa.and_(
        _SESSIONS.c.created > now - LIFETIME,
        _SESSIONS.c.created <= now + SET_BACK,
        _SESSIONS.c.seen > now - IDLE,
        _SESSIONS.c.seen <= now + SET_BACK,
    )


def _digest(token: str) -> str:
    # 256 random bits: a slow hash would protect nothing that a fast one does not.
    return hashlib.sha256(token.encode()).hexdigest()
