"""An access token is an activation code for appliances. The code is shown once; only its digest is kept.

A code brings in at most `count` sources. A disabled or expired code enrols no appliance. When a code is disabled or
deleted, the appliances that it enrolled wait for approval again; their sources stay.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.amounts import plural
from connector.control.domain.access import AccessToken, TokenStatus
from connector.control.domain.entities import Json
from connector.control.domain.refusals import RefusalCode, UnknownObject
from connector.control.domain.validity import DAY
from connector.control.store import tables
from connector.control.store.database import Database, new_id
from connector.errors import AuthenticationFailed

_TOKENS: Final = tables.access_tokens

_MAKE: Final = "make a new one: connector token create NAME"


class Tokens:
    """Activation codes that people made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        description: str,
        *,
        count: int,
        days: int,
        vcenter: str = "",
        workgroup_id: str | None = None,
        joins: bool = False,
    ) -> tuple[AccessToken, str]:
        """Create a token; answer it with its code, which cannot be read again. `AccessToken` says what the fields mean."""
        code = secrets.token_urlsafe(24)
        values: Json = {"name": name, "description": description, "count": count, "days": days}
        values |= {"vcenter": vcenter, "workgroup_id": workgroup_id, "joins": joins}
        values |= {"id": new_id("at"), "created": self._database.now(), "registered": 0, "disabled": False}
        with self._database.write() as connection:
            connection.execute(_TOKENS.insert().values(code_hash=_digest(code), **values))
            self._database.audit.about(values["id"])
        return self.get(values["id"]), code

    def get(self, token_id: str) -> AccessToken:
        return self._token(self._row(token_id))

    def all(
        self, *, ids: Sequence[str] = (), name: str | None = None, status: str | None = None
    ) -> list[AccessToken]:
        """Tokens that match exactly, newest first."""
        query = sa.select(_TOKENS).order_by(_TOKENS.c.created.desc(), _TOKENS.c.id)
        if ids:
            query = query.where(_TOKENS.c.id.in_(ids))
        if name is not None:
            query = query.where(_TOKENS.c.name == name)
        with self._database.read() as connection:
            tokens = [self._token(row) for row in connection.execute(query)]
        return [token for token in tokens if status in (None, token.status)]

    def disable(self, token_id: str) -> None:
        """Let it enrol no appliance any more. Its sources stay. `JobService.suspend` suspends its appliances."""
        self._row(token_id)
        with self._database.write() as connection:
            connection.execute(_TOKENS.update().where(_TOKENS.c.id == token_id).values(disabled=True))

    def delete(self, token_id: str) -> None:
        self._row(token_id)
        with self._database.write() as connection:
            connection.execute(_TOKENS.delete().where(_TOKENS.c.id == token_id))

    def redeem(self, code: str) -> AccessToken:
        """The token of this code. Raises `AuthenticationFailed` if no appliance may enrol with it."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(_TOKENS).where(_TOKENS.c.code_hash == _digest(code))
            ).one_or_none()
        if row is None:
            raise AuthenticationFailed("wrong activation code", remedy=f"check its file, or {_MAKE}")
        token = self._token(row)
        if not token.approved:
            raise AuthenticationFailed(
                "this activation code was brought back by a restore",
                on=token.id,
                remedy=f"approve it: connector control approve {token.id} --state DIR; or {_MAKE}",
            )
        if token.status is not TokenStatus.ACTIVE:
            raise AuthenticationFailed(f"this activation code is {token.status}", on=token.id, remedy=_MAKE)
        if token.registered >= token.count:
            raise AuthenticationFailed(
                f"this activation code has brought in {plural(token.count, 'source')} and can bring in no more",
                on=token.id,
                remedy=_MAKE,
            )
        return token

    def _row(self, token_id: str) -> Any:
        with self._database.read() as connection:
            row = connection.execute(sa.select(_TOKENS).where(_TOKENS.c.id == token_id)).one_or_none()
        if row is None:
            raise UnknownObject(RefusalCode.TOKEN_UNKNOWN, "no such access token", on=token_id)
        return row

    def _token(self, row: Any) -> AccessToken:
        values = {k: v for k, v in row._mapping.items() if k not in ("code_hash", "disabled")}
        return AccessToken(**values, status=_status(row, self._database.now()))


def room(connection: sa.Connection, token_id: str | None) -> int | None:
    """How many more sources this token may bring in; None: no bound. Locks its row."""
    if token_id is None:
        return None
    row = connection.execute(
        sa.select(_TOKENS).where(_TOKENS.c.id == token_id).with_for_update(key_share=True)
    ).one_or_none()
    return 0 if row is None or row.disabled or not row.approved else max(0, row.count - row.registered)


def count(connection: sa.Connection, token_id: str, more: int) -> None:
    """Record that the token brought in `more` sources."""
    connection.execute(
        _TOKENS.update().where(_TOKENS.c.id == token_id).values(registered=_TOKENS.c.registered + more)
    )


def _status(row: Any, now: float) -> TokenStatus:
    if row.disabled or not row.approved:
        return TokenStatus.DISABLED
    return TokenStatus.EXPIRED if now >= row.created + row.days * DAY else TokenStatus.ACTIVE


def _digest(code: str) -> str:
    # The code has 192 random bits: a slow hash would not protect it better than a fast one.
    return hashlib.sha256(code.encode()).hexdigest()
