"""The environment of a worker: its owner's, without variables that look like secrets, which VMware's library does not need."""

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
    """The environment, with ``libraries`` first in the search path."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not _SECRET.search(name) and not _IN_URL.search(value)
    }
    inherited = variables.get("LD_LIBRARY_PATH")
    variables["LD_LIBRARY_PATH"] = f"{libraries}:{inherited}" if inherited else libraries
    return variables | {"PYTHONUTF8": "1"}
