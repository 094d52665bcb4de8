"""An access key may call the public API. Each nonce that it has used is remembered and refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.access import AccessKey, Role
from connector.control.domain.refusals import RefusalCode, UnknownObject
from connector.control.store import tables
from connector.control.store.database import Database

_KEYS: Final = tables.access_keys
_NONCES: Final = tables.nonces

#: A signature older than 15 minutes is refused because of its age. Its nonce is remembered for longer.
NONCE_LIFETIME: Final = 3600.0


class AccessKeyStore:
    """Access keys of people and programs. Callers seal the secrets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        key_id: str,
        sealed: str,
        role: Role,
        name: str,
        workgroups: Sequence[str] | None = None,
        until: float | None = None,
    ) -> AccessKey:
        """Keep a new key. The caller has made its id and sealed its secret."""
        now = self._database.now()
        workgroup_ids = None if workgroups is None else tuple(workgroups)
        key = AccessKey(
            key_id, sealed, role, name, now, disabled=False, workgroups=workgroup_ids, until=until
        )
        limits = {"workgroups": None if workgroup_ids is None else list(workgroup_ids), "until": until}
        with self._database.write() as connection:
            connection.execute(
                _KEYS.insert().values(
                    id=key_id,
                    sealed=sealed,
                    role=role,
                    name=name,
                    created=key.created,
                    disabled=False,
                    **limits,
                )
            )
            self._database.audit.about(key_id)
        return key

    def find(self, key_id: str) -> AccessKey | None:
        """The key, even if it is disabled; None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(_KEYS).where(_KEYS.c.id == key_id)).one_or_none()
        return None if row is None else _key(row)

    def all(self) -> list[AccessKey]:
        """Oldest first."""
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(sa.select(_KEYS).order_by(_KEYS.c.created))]

    def disable(self, key_id: str) -> None:
        """Accept nothing that is signed with it any more."""
        with self._database.write() as connection:
            updated = connection.execute(_KEYS.update().where(_KEYS.c.id == key_id).values(disabled=True))
            if updated.rowcount != 1:
                raise UnknownObject(RefusalCode.KEY_UNKNOWN, "no such access key", on=key_id)

    def claim(self, key_id: str, nonce: str) -> bool:
        """Use this nonce. Answer whether it is the first use, over all replicas."""
        values = {"key_id": key_id, "nonce": nonce, "at": self._database.now()}
        try:
            with self._database.write(counted=False) as connection:
                connection.execute(_NONCES.insert().values(**values))
        except sa.exc.IntegrityError:
            return False
        return True

    def forget_nonces(self) -> None:
        """Drop the nonces of signatures that are too old to be accepted."""
        with self._database.write(counted=False) as connection:
            connection.execute(_NONCES.delete().where(_NONCES.c.at < self._database.now() - NONCE_LIFETIME))


def _key(row: Any) -> AccessKey:
    workgroup_ids = None if row.workgroups is None else tuple(row.workgroups)
    return AccessKey(**{**row._mapping, "role": Role(row.role), "workgroups": workgroup_ids})
