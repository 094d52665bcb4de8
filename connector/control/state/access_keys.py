"""Access keys: an id to name, a secret to sign with, a role. The secret is sealed by the vault and shown once."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from typing import Final

from connector.control.domain.entities import AccessKey, Role
from connector.control.state.directory_key import DirectoryKey
from connector.control.state.vault import Vault
from connector.control.store import keys

_LETTERS: Final = string.ascii_letters + string.digits
_RANKS: Final = (Role.READER, Role.OPERATOR, Role.ADMIN)


def includes(role: Role, needed: Role) -> bool:
    """Whether `role` may do what needs `needed`."""
    return _RANKS.index(role) >= _RANKS.index(needed)


class AccessKeys:
    """Makes and finds keys. Thread-safe. Every replica on one database needs the same vault key."""

    def __init__(self, stored: keys.AccessKeyStore, vault: Vault, own: DirectoryKey | None = None) -> None:
        """`own`: the key of this process's state directory."""
        self._stored = stored
        self._vault = vault
        self._own = own

    def create(
        self, name: str, role: Role, workgroups: Sequence[str] | None = None, until: float | None = None
    ) -> tuple[AccessKey, str]:
        """A new key and its secret, which nobody can ever read again. See `AccessKey` for its limits."""
        key_id = "AK" + "".join(secrets.choice(_LETTERS) for _ in range(22))
        secret = "".join(secrets.choice(_LETTERS) for _ in range(40))
        key = self._stored.add(key_id, self._vault.seal(secret), role, name, workgroups, until)
        return key, secret

    def find(self, key_id: str) -> tuple[AccessKey, str] | None:
        """The key, disabled or not, and its secret; None when there is none."""
        if self._own is not None and key_id == self._own.id:
            return self._own.row(), self._own.secret
        key = self._stored.find(key_id)
        return None if key is None else (key, self._vault.unseal(key.sealed))

    def claim(self, key_id: str, nonce: str) -> bool:
        """Whether this nonce is used for the first time, by whichever replica."""
        return self._stored.claim(key_id, nonce)
