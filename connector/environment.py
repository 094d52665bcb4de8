"""What of a process's environment is secret: no child inherits it, and nobody else can look it up in /proc."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Collection, Mapping
from typing import Final

#: Words in the name of a variable whose value is a secret. The name of a file with one is none.
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
    """Whether a variable is kept from children: by its name, or by a URL with a password."""
    named = _NAMES.search(name) is not None and _HARMLESS.search(name) is None
    return named or _IN_URL.search(value) is not None


def without_secrets(
    environment: Mapping[str, str] | None = None, also: Collection[str] = ()
) -> dict[str, str]:
    """The environment for a child. `also`: names that are secret whatever they look like."""
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if name not in also and not is_secret(name, value)}


def hide() -> None:
    """Overwrite the secrets in the block that /proc/PID/environ shows; `os.environ` still has them.

    First thing in a program, before anything is started. A child that inherits without asking gets no secret either.
    """
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    for name, value in os.environ.items():
        if is_secret(name, value) and (place := library.getenv(os.fsencode(name))):
            ctypes.memset(place, ord("-"), len(ctypes.string_at(place)))
