"""The environment of a worker: what its owner has, without what looks like a secret. VMware's library needs none of it."""

import os
import re
from typing import Final

_SECRET: Final = re.compile(
    r"PASS(WORD|WD|PHRASE)|PGPASS$|SECRET|TOKEN|CREDENTIALS?$|(ACCESS|API|PRIVATE|SIGNING|ENCRYPTION)_?KEY|APIKEY"
    r"|_AUTH$|COOKIE",
    re.IGNORECASE,
)
_IN_URL: Final = re.compile(r"://[^/@\s:]*:[^/@\s]+@|[?&](sslpassword|password)=", re.IGNORECASE)


def of_worker(libraries: str) -> dict[str, str]:
    """With ``libraries`` before whatever search path there is."""
    given = {
        name: value
        for name, value in os.environ.items()
        if not _SECRET.search(name) and not _IN_URL.search(value)
    }
    inherited = given.get("LD_LIBRARY_PATH")
    given["LD_LIBRARY_PATH"] = f"{libraries}:{inherited}" if inherited else libraries
    return given | {"PYTHONUTF8": "1"}
