"""Secrets in a process's environment are inherited by no child, and nobody can read them in /proc."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Collection, Mapping
from typing import Final

#: Words in the names of variables with secret values. The name of a file with a secret is no secret.
_NAMES: Final = re.compile(
    r"PASS(WORD|WD|PHRASE)|PGPASS$|SECRET|TOKEN|CREDENTIALS?$|(ACCESS|API|PRIVATE|SIGNING|ENCRYPTION)_?KEY|APIKEY"
    r"|_AUTH$|COOKIE",
    re.IGNORECASE,
)
_HARMLESS: Final = re.compile(
    r"(_FILE|_PATH|_DIR|_DIRECTORY|_ID|PASSFILE|_ASKPASS|_AUTH_SOCK)$", re.IGNORECASE
)
#: A password inside a URL, as in a database's or a proxy's.
_IN_URL: Final = re.compile(r"://[^/@\s:]*:[^/@\s]+@|[?&](sslpassword|password)=", re.IGNORECASE)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable's value is secret: by its name, or by a URL with a password."""
    by_name = _NAMES.search(name) is not None and _HARMLESS.search(name) is None
    return by_name or _IN_URL.search(value) is not None


def without_secrets(
    environment: Mapping[str, str] | None = None, also: Collection[str] = ()
) -> dict[str, str]:
    """The environment for a child. `also`: further names of secret variables."""
    variables = os.environ if environment is None else environment
    return {
        name: value for name, value in variables.items() if name not in also and not is_secret(name, value)
    }


def hide() -> None:
    """Overwrite the secrets in the block that /proc/PID/environ shows; `os.environ` still has them.

    Call it first in a program. A child that inherits this block gets no secret either.
    """
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    for name, value in os.environ.items():
        if is_secret(name, value) and (place := library.getenv(os.fsencode(name))):
            ctypes.memset(place, ord("-"), len(ctypes.string_at(place)))
