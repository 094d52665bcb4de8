"""The cloud's access key comes from a file that only its owner may read, or from the environment. It is never printed or logged.

A changed file is read again: a temporary key is renewed by replacing the file.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from connector import pasted, readable
from connector.errors import BadInput

#: The variables of Alibaba Cloud's own tools.
VARIABLES: Final = (
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
)
_FIELDS: Final = ("access_key_id", "access_key_secret", "security_token")


@dataclass(frozen=True, slots=True)
class CloudAccessKey:
    """An access key; with a `token` it is temporary."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


class Credentials:
    """Finds the access key. Thread-safe."""

    def __init__(self, file: Path | None, environment: Mapping[str, str] = os.environ) -> None:
        self._file = file
        self._environment = environment
        self._lock = threading.Lock()
        self._read: tuple[int, CloudAccessKey] | None = None

    def current(self) -> CloudAccessKey:
        """The key that signs now. Raises BadInput if there is none."""
        if self._file is None:
            return self._from_environment()
        with self._lock:
            try:
                status = self._file.stat()
                if self._read is None or self._read[0] != status.st_mtime_ns:
                    self._read = (status.st_mtime_ns, _from_file(self._file, status.st_mode))
            except OSError as error:
                raise BadInput(
                    f"the access key cannot be read ({error.strerror})", on=str(self._file)
                ) from None
            return self._read[1]

    def _from_environment(self) -> CloudAccessKey:
        key, secret, token = (self._environment.get(name, "") for name in VARIABLES)
        if not key or not secret:
            raise BadInput(
                "there is no access key",
                on="alibaba",
                remedy=f"name an access_key_file, or set {VARIABLES[0]} and {VARIABLES[1]}",
            )
        return _key(key, secret, token, "alibaba")


def _from_file(path: Path, mode: int) -> CloudAccessKey:
    if stat.S_IMODE(mode) & 0o077:
        raise BadInput("others may read the access key", on=str(path), remedy=f"chmod 600 {path}")
    try:
        content: Any = yaml.safe_load(readable.text(path))
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict) or not set(content) <= set(_FIELDS):
        content = {}
    key, secret, token = (content.get(name, "") for name in _FIELDS)
    if not all(isinstance(text, str) for text in (key, secret, token)) or not key or not secret:
        raise BadInput(
            "holds no access key",
            on=str(path),
            remedy=f"it has the lines {_FIELDS[0]}: ... and {_FIELDS[1]}: ...",
        )
    return _key(key, secret, token, str(path))


def _key(key: str, secret: str, token: str, on: str) -> CloudAccessKey:
    """The key without blanks that were pasted with it. Raises BadInput."""
    return CloudAccessKey(
        pasted.token(key, "access key's id", on),
        pasted.token(secret, "access key's secret", on),
        pasted.token(token, "security token", on) if token else "",
    )
