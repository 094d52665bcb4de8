"""Appliances: who may speak on the agents' API. Only a digest of the secret is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Final

import sqlalchemy as sa

from connector.control.clock import SET_BACK
from connector.control.store import tables
from connector.control.store.database import Database, new_id
from connector.control.store.rows import Appliance
from connector.errors import AuthenticationFailed

_APPLIANCES: Final = tables.appliances


class Appliances:
    """Enrolled appliances and their heartbeats."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enrol(
        self, name: str, vcenter: str, version: str, token_id: str | None = None
    ) -> tuple[Appliance, str]:
        """A new appliance and its secret, which nobody can ever read again. `token_id`: how it came in."""
        secret = secrets.token_urlsafe(32)
        now = self._database.now()
        appliance = Appliance(new_id("a"), name, vcenter, version, now, now, token_id)
        with self._database.write() as connection:
            connection.execute(
                _APPLIANCES.insert().values(
                    id=appliance.id,
                    name=name,
                    vcenter=vcenter,
                    version=version,
                    secret_hash=_digest(secret),
                    heartbeat=now,
                    created=now,
                    token_id=token_id,
                )
            )
        return appliance, secret

    def authenticate(self, appliance_id: str, secret: str) -> Appliance:
        """The appliance that owns this secret."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(_APPLIANCES).where(_APPLIANCES.c.id == appliance_id)
            ).one_or_none()
        expected = row.secret_hash if row is not None else _digest("nobody")
        if not hmac.compare_digest(expected, _digest(secret)) or row is None:
            raise AuthenticationFailed("unknown appliance or wrong secret", remedy="enrol it again")
        return _appliance(row)

    def beat(self, appliance_id: str) -> None:
        """The appliance is alive."""
        with self._database.write(counted=False) as connection:
            connection.execute(
                _APPLIANCES.update()
                .where(_APPLIANCES.c.id == appliance_id)
                .values(heartbeat=self._database.now())
            )

    def all(self) -> list[Appliance]:
        """All appliances by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_APPLIANCES).order_by(_APPLIANCES.c.name, _APPLIANCES.c.id))
            return [_appliance(row) for row in rows]

    def alive(self, grace: float) -> list[Appliance]:
        """Those heard of within `grace` seconds."""
        now = self._database.now()
        return [a for a in self.all() if now - grace <= a.heartbeat <= now + max(grace, SET_BACK)]


def _digest(secret: str) -> str:
    # The secret has 256 random bits: a slow hash would protect nothing that a fast one does not.
    return hashlib.sha256(secret.encode()).hexdigest()


def _appliance(row: Any) -> Appliance:
    return Appliance(**{k: v for k, v in row._mapping.items() if k != "secret_hash"})
