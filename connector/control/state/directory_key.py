"""The owner's key is a file in the state directory and no row of the database.

So it is valid whatever happens to the database, also while the state is held.
"""

from __future__ import annotations

import re
import secrets
import string
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connector.control.domain.access import AccessKey, Role
from connector.control.state.vault import damaged, secret_file

#: It has the form of the command line's settings: `--settings DIR/access-key.toml`.
FILE: Final = "access-key.toml"
NAME: Final = "owner of the state directory"

_PREFIX: Final = "state-directory-"
_ID: Final = re.compile(re.escape(_PREFIX) + "[0-9a-f]{12}")
_SECRET: Final = re.compile("[A-Za-z0-9]{40}")
_LETTERS: Final = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class DirectoryKey:
    """The owner's key of one directory. Replicas that share the file share the key."""

    file: Path
    id: str
    secret: str = field(repr=False)
    made: float

    def row(self) -> AccessKey:
        """The key in the form of the database's keys: an administrator without limits."""
        return AccessKey(self.id, "", Role.ADMIN, NAME, self.made, disabled=False, of_directory=True)


def load(state: Path) -> DirectoryKey:
    """The key in `state`; it is made if its file is missing. Raises BadInput if the file is damaged."""
    file = state / FILE
    return _read(file, secret_file(file, _fresh()))


def find(state: Path) -> DirectoryKey | None:
    """The key in `state`; None if no control plane has made one."""
    return load(state) if (state / FILE).exists() else None


def _fresh() -> str:
    key_id = _PREFIX + secrets.token_hex(6)
    secret = "".join(secrets.choice(_LETTERS) for _ in range(40))
    return f'access_key_id = "{key_id}"\naccess_key_secret = "{secret}"'


def _read(file: Path, content: str) -> DirectoryKey:
    try:
        settings: dict[str, Any] = tomllib.loads(content)
    except tomllib.TOMLDecodeError:
        raise damaged(file) from None
    key_id, secret = str(settings.get("access_key_id")), str(settings.get("access_key_secret"))
    if not (_ID.fullmatch(key_id) and _SECRET.fullmatch(secret)):
        raise damaged(file)
    return DirectoryKey(file, key_id, secret, file.stat().st_mtime)
