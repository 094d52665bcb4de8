"""Appliances: who may speak on the agents' API, for which vCenter and tenant. Only digests of their secrets are kept.

A vCenter belongs to one tenant: the one of the first appliance of it that was approved.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.clock import SET_BACK
from connector.control.domain.entities import AccessToken, Appliance, ApplianceKey, ApplianceStatus
from connector.control.store import tables
from connector.control.store.database import REGISTERING, Database, new_id
from connector.errors import AuthenticationFailed, Conflict, NotFound, NotPermitted
from connector.transfer.evidence import fingerprint, from_pem

_APPLIANCES: Final = tables.appliances
_KEYS: Final = tables.appliance_keys
_VCENTERS: Final = tables.vcenters
_SECRETS: Final = ("secret_hash", "next_secret_hash")


class Appliances:
    """Enrolled appliances, their keys and their heartbeats."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enrol(
        self, name: str, vcenter: str, version: str, token: AccessToken | None = None, key: str = ""
    ) -> tuple[Appliance, str]:
        """A new appliance and its secret, which nobody can ever read again.

        `token`: the code that it came with; None: the built-in one, which is the administrator's own. `key`: with which
        it signs evidence (PEM). Raises NotPermitted for a vCenter that the code is not good for.
        """
        secret, now, appliance_id = secrets.token_urlsafe(32), self._database.now(), new_id("a")
        with self._database.write() as connection:
            self._database.exclusive(connection, REGISTERING)
            owner = _tenant(connection, vcenter)
            tenant = (
                token.workgroup_id if token is not None and owner is None else owner[0] if owner else None
            )
            _may_serve(token, vcenter, owner)
            standing = _standing(connection, token, vcenter, known=owner is not None)
            if standing is ApplianceStatus.APPROVED and owner is None:
                _claim(connection, vcenter, tenant, now)
            connection.execute(
                _APPLIANCES.insert().values(
                    id=appliance_id,
                    name=name,
                    vcenter=vcenter,
                    version=version,
                    secret_hash=_digest(secret),
                    heartbeat=now,
                    created=now,
                    token_id=token.id if token is not None else None,
                    state=standing,
                    workgroup_id=tenant,
                )
            )
            if key:
                _add_key(connection, appliance_id, key, now)
            return _appliance(_row(connection, appliance_id)), secret

    def authenticate(self, appliance_id: str, secret: str) -> Appliance:
        """The appliance that owns this secret. Once a new secret is used the one before it ends with the next heartbeat."""
        with self._database.read() as connection:
            row = _find(connection, appliance_id)
        digest = _digest(secret)
        current = hmac.compare_digest(row.secret_hash if row is not None else _digest("nobody"), digest)
        fresh = hmac.compare_digest(row.next_secret_hash if row is not None else "", digest)
        if row is None or not (current or fresh):
            raise AuthenticationFailed("unknown appliance or wrong secret", remedy="enrol it again")
        if ApplianceStatus(row.state) is ApplianceStatus.REVOKED:
            raise NotPermitted(
                "this appliance was revoked",
                on=row.name,
                remedy="enrol it with a new code, or approve it again: connector appliance approve",
            )
        if fresh and row.rotate:
            with self._database.write() as connection:
                mine = sa.and_(_APPLIANCES.c.id == appliance_id, _APPLIANCES.c.next_secret_hash == digest)
                changes = {"secret_hash": digest, "next_secret_hash": row.secret_hash, "rotate": False}
                connection.execute(_APPLIANCES.update().where(mine, _APPLIANCES.c.rotate).values(**changes))
        return self.get(appliance_id)

    def get(self, appliance_id: str) -> Appliance:
        with self._database.read() as connection:
            return _appliance(_row(connection, appliance_id))

    def beat(self, appliance_id: str) -> None:
        """The appliance is alive. What it still sent with the secret before this one has arrived."""
        after = sa.case((_APPLIANCES.c.rotate, _APPLIANCES.c.next_secret_hash), else_="")
        values = {"heartbeat": self._database.now(), "next_secret_hash": after}
        with self._database.write(counted=False) as connection:
            connection.execute(_APPLIANCES.update().where(_APPLIANCES.c.id == appliance_id).values(**values))

    def approve(self, appliance_id: str) -> Appliance:
        """It may act for its vCenter, which becomes its tenant's if it is nobody's. Repeating it is harmless."""
        with self._database.write() as connection:
            self._database.exclusive(connection, REGISTERING)
            row = _row(connection, appliance_id)
            owner = _tenant(connection, row.vcenter)
            if owner is None:
                _claim(connection, row.vcenter, row.workgroup_id, self._database.now())
            elif row.workgroup_id is not None and owner[0] != row.workgroup_id:
                raise Conflict(
                    "its vCenter belongs to another tenant by now",
                    on=row.name,
                    remedy="revoke this appliance",
                )
            tenant = row.workgroup_id if owner is None else owner[0]
            changes = {"state": ApplianceStatus.APPROVED, "workgroup_id": tenant}
            connection.execute(_APPLIANCES.update().where(_APPLIANCES.c.id == row.id).values(**changes))
            return _appliance(_row(connection, appliance_id))

    def revoke(self, appliance_id: str) -> Appliance:
        """Its secrets are refused from now on. Repeating it is harmless."""
        self._set(appliance_id, state=ApplianceStatus.REVOKED)
        return self.get(appliance_id)

    def suspend(self, token_id: str) -> list[Appliance]:
        """What came in by this code waits for approval again; answers those that this changed."""
        approved = sa.and_(
            _APPLIANCES.c.token_id == token_id, _APPLIANCES.c.state == ApplianceStatus.APPROVED
        )
        with self._database.write() as connection:
            rows = connection.execute(sa.select(_APPLIANCES).where(approved)).all()
            connection.execute(_APPLIANCES.update().where(approved).values(state=ApplianceStatus.WAITING))
        return [self.get(row.id) for row in rows]

    def ask_rotation(self, appliance_id: str) -> Appliance:
        """It shall fetch a new secret and sign with a new key; until it did, the old ones are good."""
        self._set(appliance_id, rotate=True)
        return self.get(appliance_id)

    def rotate(self, appliance_id: str, key: str) -> str:
        """A new secret, and `key` (PEM) is the one to sign with. The old secret is good until the new one is used.

        The old key stays good for passes that were taken before now. An answer that was lost is asked for again.
        """
        secret, now = secrets.token_urlsafe(32), self._database.now()
        with self._database.write() as connection:
            row = _row(connection, appliance_id)
            if not row.rotate:
                raise NotPermitted(
                    "nobody asked this appliance for a new key",
                    on=row.name,
                    remedy="connector appliance rotate",
                )
            print_ = fingerprint(from_pem(key.encode()))
            mine = sa.and_(_KEYS.c.appliance_id == appliance_id, _KEYS.c.replaced.is_(None))
            connection.execute(_KEYS.update().where(mine, _KEYS.c.fingerprint != print_).values(replaced=now))
            if not any(known.fingerprint == print_ for known in _keys(connection, appliance_id)):
                _add_key(connection, appliance_id, key, now)
            changes = {"next_secret_hash": _digest(secret)}
            connection.execute(_APPLIANCES.update().where(_APPLIANCES.c.id == appliance_id).values(**changes))
        return secret

    def register_key(self, appliance_id: str, key: str) -> None:
        """Of an appliance that has none: it was enrolled before keys were registered. Raises Conflict for another one."""
        wanted = fingerprint(from_pem(key.encode()))
        if wanted in [one.fingerprint for one in self.keys(appliance_id) if one.replaced is None]:
            return
        with self._database.write() as connection:
            known = _keys(connection, appliance_id)
            if not known:
                _add_key(connection, appliance_id, key, self._database.now())
            elif wanted not in [one.fingerprint for one in known if one.replaced is None]:
                raise Conflict(
                    f"another evidence key is registered than {wanted}",
                    on=_row(connection, appliance_id).name,
                    remedy="put the key back, or enrol the appliance again",
                )

    def keys(self, appliance_id: str) -> list[ApplianceKey]:
        """The public keys that it signs or signed evidence with, oldest first."""
        with self._database.read() as connection:
            return _keys(connection, appliance_id)

    def all(self) -> list[Appliance]:
        """All appliances by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_APPLIANCES).order_by(_APPLIANCES.c.name, _APPLIANCES.c.id))
            return [_appliance(row) for row in rows]

    def alive(self, grace: float) -> list[Appliance]:
        """Those that may act and were heard of within `grace` seconds."""
        now = self._database.now()
        lately = [a for a in self.all() if now - grace <= a.heartbeat <= now + max(grace, SET_BACK)]
        return [a for a in lately if a.state is ApplianceStatus.APPROVED]

    def _set(self, appliance_id: str, **changes: object) -> None:
        with self._database.write() as connection:
            done = connection.execute(
                _APPLIANCES.update().where(_APPLIANCES.c.id == appliance_id).values(**changes)
            )
        if done.rowcount != 1:
            raise _unknown(appliance_id)


def _may_serve(token: AccessToken | None, vcenter: str, owner: tuple[str | None] | None) -> None:
    """The administrator's own code is good for every vCenter, another one for its own and its tenant's."""
    if token is None:
        return
    if token.vcenter and token.vcenter != vcenter:
        raise NotPermitted(
            "this activation code is for another vCenter", on=vcenter, remedy="make a code for this vCenter"
        )
    if owner is not None and token.workgroup_id is not None and owner[0] != token.workgroup_id:
        raise NotPermitted(
            "this vCenter belongs to another tenant", on=vcenter, remedy="ask the administrator"
        )


def _standing(
    connection: sa.Connection, token: AccessToken | None, vcenter: str, *, known: bool
) -> ApplianceStatus:
    """Whether what comes in by this code waits for an administrator: after a revocation it does in any case."""
    revoked = sa.select(_APPLIANCES.c.id).where(
        _APPLIANCES.c.token_id == token.id if token is not None else _APPLIANCES.c.token_id.is_(None),
        _APPLIANCES.c.vcenter == vcenter,
        _APPLIANCES.c.state == ApplianceStatus.REVOKED,
    )
    if connection.execute(revoked.limit(1)).first() is not None:
        return ApplianceStatus.WAITING
    if token is None:
        return ApplianceStatus.APPROVED
    named = token.vcenter == vcenter
    return ApplianceStatus.APPROVED if named and (token.joins or known) else ApplianceStatus.WAITING


def _tenant(connection: sa.Connection, vcenter: str) -> tuple[str | None] | None:
    """Whose this vCenter is, in a tuple; None: it is nobody's so far."""
    row = connection.execute(sa.select(_VCENTERS).where(_VCENTERS.c.id == vcenter)).one_or_none()
    return None if row is None else (row.workgroup_id,)


def _claim(connection: sa.Connection, vcenter: str, tenant: str | None, now: float) -> None:
    connection.execute(_VCENTERS.insert().values(id=vcenter, workgroup_id=tenant, created=now))


def _add_key(connection: sa.Connection, appliance_id: str, key: str, now: float) -> None:
    print_ = fingerprint(from_pem(key.encode()))
    connection.execute(
        _KEYS.insert().values(appliance_id=appliance_id, fingerprint=print_, key=key, registered=now)
    )


def _keys(connection: sa.Connection, appliance_id: str) -> list[ApplianceKey]:
    mine = _KEYS.c.appliance_id == appliance_id
    rows = connection.execute(sa.select(_KEYS).where(mine).order_by(_KEYS.c.registered, _KEYS.c.fingerprint))
    return [ApplianceKey(**row._mapping) for row in rows]


def _find(connection: sa.Connection, appliance_id: str) -> Any:
    return connection.execute(sa.select(_APPLIANCES).where(_APPLIANCES.c.id == appliance_id)).one_or_none()


def _row(connection: sa.Connection, appliance_id: str) -> Any:
    row = _find(connection, appliance_id)
    if row is None:
        raise _unknown(appliance_id)
    return row


def _unknown(appliance_id: str) -> NotFound:
    return NotFound("no such appliance", on=appliance_id, remedy="list the appliances")


def _digest(secret: str) -> str:
    # The secret has 256 random bits: a slow hash would protect nothing that a fast one does not.
    return hashlib.sha256(secret.encode()).hexdigest()


def _appliance(row: Any) -> Appliance:
    values = {name: value for name, value in row._mapping.items() if name not in _SECRETS}
    return Appliance(**values | {"state": ApplianceStatus(row.state)})
