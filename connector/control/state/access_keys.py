"""An access key has an id, a secret that signs, and a role. The vault seals the secret, which is shown once."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from typing import Final

from connector.control.domain.access import AccessKey, Role
from connector.control.state.directory_key import DirectoryKey
from connector.control.state.vault import Vault
from connector.control.store import keys

_LETTERS: Final = string.ascii_letters + string.digits
_RANKS: Final = (Role.READER, Role.OPERATOR, Role.ADMIN)


def includes(role: Role, needed: Role) -> bool:
    """Whether `role` may do everything that the role `needed` may do."""
    return _RANKS.index(role) >= _RANKS.index(needed)


class AccessKeys:
    """Makes and finds keys. All replicas on one database need the same vault key. Thread-safe."""

    def __init__(self, stored: keys.AccessKeyStore, vault: Vault, own: DirectoryKey | None = None) -> None:
        """`own`: the key of this process's state directory."""
        self._stored = stored
        self._vault = vault
        self._own = own

    def create(
        self, name: str, role: Role, workgroups: Sequence[str] | None = None, until: float | None = None
    ) -> tuple[AccessKey, str]:
        """Make a key; answer it with its secret, which cannot be read again. `AccessKey` describes its limits."""
        key_id = "AK" + "".join(secrets.choice(_LETTERS) for _ in range(22))
        secret = "".join(secrets.choice(_LETTERS) for _ in range(40))
        key = self._stored.add(key_id, self._vault.seal(secret), role, name, workgroups, until)
        return key, secret

    def find(self, key_id: str) -> tuple[AccessKey, str] | None:
        """The key, even if it is disabled, and its secret; None if there is none."""
        if self._own is not None and key_id == self._own.id:
            return self._own.row(), self._own.secret
        key = self._stored.find(key_id)
        return None if key is None else (key, self._vault.unseal(key.sealed))

    def claim(self, key_id: str, nonce: str) -> bool:
        """Use this nonce. Answer whether it is the first use, over all replicas."""
        return self._stored.claim(key_id, nonce)
