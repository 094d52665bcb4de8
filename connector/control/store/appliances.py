"""An appliance may act for one vCenter and one tenant. Only digests of the appliances' secrets are kept.

A vCenter belongs to one tenant: that of its first approved appliance.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.access import AccessToken
from connector.control.domain.clock import SET_BACK
from connector.control.domain.entities import Appliance, ApplianceKey, ApplianceStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal
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
        """Add an appliance; answer it with its secret, which cannot be read again.

        `token`: the activation code that it used; None: the built-in one, which is the administrator's. `key`: the public
        key (PEM) of its evidence. Raises NotPermitted if the code is not valid for the vCenter.
        """
        secret, now, appliance_id = secrets.token_urlsafe(32), self._database.now(), new_id("a")
        with self._database.write() as connection:
            self._database.exclusive(connection, REGISTERING)
            owner = _tenant(connection, vcenter)
            tenant = (
                token.workgroup_id if token is not None and owner is None else owner[0] if owner else None
            )
            _may_serve(token, vcenter, owner)
            status = _status_when_enrolled(connection, token, vcenter, known=owner is not None)
            if status is ApplianceStatus.APPROVED and owner is None:
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
                    state=status,
                    workgroup_id=tenant,
                )
            )
            if key:
                _add_key(connection, appliance_id, key, now)
            self._database.audit.about(appliance_id, state=str(status))
            return _appliance(_row(connection, appliance_id)), secret

    def authenticate(self, appliance_id: str, secret: str) -> Appliance:
        """The appliance that has this secret. After the first use of a new secret, the next heartbeat ends the old one."""
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
                new_secret = sa.and_(
                    _APPLIANCES.c.id == appliance_id, _APPLIANCES.c.next_secret_hash == digest
                )
                changes = {"secret_hash": digest, "next_secret_hash": row.secret_hash, "rotate": False}
                connection.execute(
                    _APPLIANCES.update().where(new_secret, _APPLIANCES.c.rotate).values(**changes)
                )
        return self.get(appliance_id)

    def get(self, appliance_id: str) -> Appliance:
        with self._database.read() as connection:
            return _appliance(_row(connection, appliance_id))

    def beat(self, appliance_id: str) -> None:
        """Record that the appliance is alive. Everything that it sent with its former secret has arrived."""
        after = sa.case((_APPLIANCES.c.rotate, _APPLIANCES.c.next_secret_hash), else_="")
        values = {"heartbeat": self._database.now(), "next_secret_hash": after}
        with self._database.write(counted=False) as connection:
            connection.execute(_APPLIANCES.update().where(_APPLIANCES.c.id == appliance_id).values(**values))

    def approve(self, appliance_id: str) -> Appliance:
        """Let it act for its vCenter. A vCenter without a tenant becomes its tenant's. Repeating it is harmless."""
        with self._database.write() as connection:
            self._database.exclusive(connection, REGISTERING)
            row = _row(connection, appliance_id)
            owner = _tenant(connection, row.vcenter)
            if owner is None:
                _claim(connection, row.vcenter, row.workgroup_id, self._database.now())
            elif row.workgroup_id is not None and owner[0] != row.workgroup_id:
                raise StateRefusal(
                    RefusalCode.APPLIANCE_TAKEN,
                    "its vCenter belongs to another tenant now",
                    on=row.name,
                    remedy="revoke this appliance",
                )
            tenant = row.workgroup_id if owner is None else owner[0]
            changes = {"state": ApplianceStatus.APPROVED, "workgroup_id": tenant}
            connection.execute(_APPLIANCES.update().where(_APPLIANCES.c.id == row.id).values(**changes))
            return _appliance(_row(connection, appliance_id))

    def revoke(self, appliance_id: str) -> Appliance:
        """Refuse its secrets from now on. Repeating it is harmless."""
        self._set(appliance_id, state=ApplianceStatus.REVOKED)
        return self.get(appliance_id)

    def suspend(self, token_id: str) -> list[Appliance]:
        """Make the appliances that enrolled with this code wait for approval again; answer those that changed."""
        approved = sa.and_(
            _APPLIANCES.c.token_id == token_id, _APPLIANCES.c.state == ApplianceStatus.APPROVED
        )
        with self._database.write() as connection:
            rows = connection.execute(sa.select(_APPLIANCES).where(approved)).all()
            connection.execute(_APPLIANCES.update().where(approved).values(state=ApplianceStatus.WAITING))
        return [self.get(row.id) for row in rows]

    def ask_rotation(self, appliance_id: str) -> Appliance:
        """Ask it to fetch a new secret and to sign with a new key. Until then the old ones are valid."""
        self._set(appliance_id, rotate=True)
        return self.get(appliance_id)

    def rotate(self, appliance_id: str, key: str) -> str:
        """A new secret; from now on `key` (PEM) signs. The old secret is valid until the new one is used.

        The old key stays valid for passes that were taken before now. If the answer is lost, the appliance asks again.
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
            own_key = sa.and_(_KEYS.c.appliance_id == appliance_id, _KEYS.c.replaced.is_(None))
            connection.execute(
                _KEYS.update().where(own_key, _KEYS.c.fingerprint != print_).values(replaced=now)
            )
            if not any(registered.fingerprint == print_ for registered in _keys(connection, appliance_id)):
                _add_key(connection, appliance_id, key, now)
            changes = {"next_secret_hash": _digest(secret)}
            connection.execute(_APPLIANCES.update().where(_APPLIANCES.c.id == appliance_id).values(**changes))
        return secret

    def register_key(self, appliance_id: str, key: str) -> None:
        """Register the key of an appliance that enrolled before keys were registered. Raises Conflict for a second key."""
        print_ = fingerprint(from_pem(key.encode()))
        if print_ in [key_row.fingerprint for key_row in self.keys(appliance_id) if key_row.replaced is None]:
            return
        with self._database.write() as connection:
            registered = _keys(connection, appliance_id)
            if not registered:
                _add_key(connection, appliance_id, key, self._database.now())
            elif print_ not in [key_row.fingerprint for key_row in registered if key_row.replaced is None]:
                raise Conflict(
                    f"another evidence key is registered than {print_}",
                    on=_row(connection, appliance_id).name,
                    remedy="put the key back, or enrol the appliance again",
                )

    def keys(self, appliance_id: str) -> list[ApplianceKey]:
        """The public keys with which it signs or signed evidence, oldest first."""
        with self._database.read() as connection:
            return _keys(connection, appliance_id)

    def all(self) -> list[Appliance]:
        """All appliances by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_APPLIANCES).order_by(_APPLIANCES.c.name, _APPLIANCES.c.id))
            return [_appliance(row) for row in rows]

    def alive(self, grace: float) -> list[Appliance]:
        """Approved appliances with a heartbeat in the last `grace` seconds."""
        now = self._database.now()
        lately = [a for a in self.all() if now - grace <= a.heartbeat <= now + max(grace, SET_BACK)]
        return [a for a in lately if a.state is ApplianceStatus.APPROVED]

    def _set(self, appliance_id: str, **changes: object) -> None:
        with self._database.write() as connection:
            updated = connection.execute(
                _APPLIANCES.update().where(_APPLIANCES.c.id == appliance_id).values(**changes)
            )
            if updated.rowcount != 1:
                raise _unknown(appliance_id)


def _may_serve(token: AccessToken | None, vcenter: str, owner: tuple[str | None] | None) -> None:
    """Raise NotPermitted unless the code is valid for the vCenter. The administrator's code is valid for every vCenter."""
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


def _status_when_enrolled(
    connection: sa.Connection, token: AccessToken | None, vcenter: str, *, known: bool
) -> ApplianceStatus:
    """Whether an appliance with this code waits for an administrator. After a revocation it always does."""
    revoked = sa.select(_APPLIANCES.c.id).where(
        _APPLIANCES.c.token_id == token.id if token is not None else _APPLIANCES.c.token_id.is_(None),
        _APPLIANCES.c.vcenter == vcenter,
        _APPLIANCES.c.state == ApplianceStatus.REVOKED,
    )
    if connection.execute(revoked.limit(1)).first() is not None:
        return ApplianceStatus.WAITING
    if token is None:
        return ApplianceStatus.APPROVED
    for_this_vcenter = token.vcenter == vcenter
    return (
        ApplianceStatus.APPROVED if for_this_vcenter and (token.joins or known) else ApplianceStatus.WAITING
    )


def _tenant(connection: sa.Connection, vcenter: str) -> tuple[str | None] | None:
    """The tenant of this vCenter, in a tuple; None: it has no tenant so far."""
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
    own = _KEYS.c.appliance_id == appliance_id
    rows = connection.execute(sa.select(_KEYS).where(own).order_by(_KEYS.c.registered, _KEYS.c.fingerprint))
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
    # The secret has 256 random bits: a slow hash would not protect it better than a fast one.
    return hashlib.sha256(secret.encode()).hexdigest()


def _appliance(row: Any) -> Appliance:
    values = {name: value for name, value in row._mapping.items() if name not in _SECRETS}
    return Appliance(**values | {"state": ApplianceStatus(row.state)})
