"""What whoever creates a job should know before: advice that refuses nothing. Pure."""

from __future__ import annotations

import re
from typing import Final

from connector.control.store.rows import Source

#: R25.
NO_MOBILITY: Final = (
    "Windows client access licences have no mobility: "
    "your own Windows licence needs a dedicated host or bare metal"
)

#: R29. Of Windows Server the cloud sells licences for these.
LICENSED: Final = ("2012", "2016", "2019", "2022")
_SERVER: Final = re.compile(r"windows\D{0,12}?server\D{0,20}?(20\d\d)", re.I)
_GUEST_IDS: Final = (
    # vCenter's identifiers carry the version before it was named
    (re.compile(r"windows8Server", re.I), "2012"),
    (re.compile(r"windows9Server", re.I), "2016"),
    (re.compile(r"windows2019srvNext", re.I), "2022"),
    (re.compile(r"windows2022srvNext", re.I), "2025"),
    (re.compile(r"windows(2019|2022)srv", re.I), ""),
    (re.compile(r"(winNet|windows7Server|winLonghorn)", re.I), "2008 or earlier"),
)


def is_windows(source: Source) -> bool:
    """Whether vCenter says that Windows is its guest."""
    return str(source.facts.get("guest_id", "")).lower().startswith("win")


def server_version(source: Source) -> str:
    """The year of Windows Server in it; empty for any other guest."""
    if named := _SERVER.search(str(source.facts.get("guest_name", ""))):
        return named.group(1)
    guest = str(source.facts.get("guest_id", ""))
    for pattern, version in _GUEST_IDS:
        if found := pattern.match(guest):
            return version or found.group(1)
    return ""


def on(source: Source, licence: str = "") -> list[str]:
    """One sentence each, for a job of this source with this `LicenseType`."""
    if not is_windows(source):
        return []
    found = []
    if licence == "BYOL":
        found.append(NO_MOBILITY)
    version = server_version(source)
    if not version:
        found.append("This Windows is no server: the cloud has no licence for it, bring your own")
    elif version not in LICENSED:
        found.append(
            f"Windows Server {version} is not licensed by the cloud ({', '.join(LICENSED)} are), and Microsoft"
            " supports nothing before 2012: upgrade it, or bring your own licence"
        )
    return found
