"""Warnings about a guest's licence at the target. They never refuse a job, because only people can judge a contract. Pure."""

from __future__ import annotations

from typing import Final

#: Prefixes of vSphere's guest identifiers. The longest match counts.
_WINDOWS: Final = {
    "win2000": "Windows 2000",
    "winnet": "Windows Server 2003",
    "winlonghorn": "Windows Server 2008",
    "windows7server": "Windows Server 2008 R2",
    "windows8server": "Windows Server 2012",
    "windows9server": "Windows Server 2016",
    "windows2019srv": "Windows Server 2019",
    "windows2019srvnext": "Windows Server 2022",
    "windows2022srvnext": "Windows Server 2025",
    "win": "Windows",
}
#: The target clouds include a licence for these.
LICENSED: Final = (
    "Windows Server 2012",
    "Windows Server 2016",
    "Windows Server 2019",
    "Windows Server 2022",
)
_RETIRED: Final = ("Windows 2000", "Windows Server 2003", "Windows Server 2008", "Windows Server 2008 R2")

#: As a finding about a source.
CHECK: Final = "licence"
REMEDY: Final = "see the user guide on licences"

NO_MOBILITY: Final = (
    "Windows client access licences have no mobility: "
    "your own Windows licence needs a dedicated host or bare metal"
)


def windows(guest_id: str) -> str:
    """The version of Windows that vCenter's guest identifier names; empty for any other guest."""
    name = guest_id.lower()
    versions = [prefix for prefix in _WINDOWS if name.startswith(prefix)]
    return _WINDOWS[max(versions, key=len)] if versions else ""


def warnings(guest_id: str, licence: str = "") -> tuple[str, ...]:
    """The warnings for this guest. `licence`: the job's `LicenseType`."""
    version = windows(guest_id)
    if not version:
        return ()
    notes = [NO_MOBILITY] if licence == "BYOL" else []
    if version in _RETIRED:
        notes.append(
            f"{version} is not supported by Microsoft any more, and the target cloud has no licence for it"
        )
    elif version not in LICENSED:
        notes.append(
            f"the target cloud has no licence for {version}: it has for {', '.join(LICENSED)}; "
            "others need licence mobility"
        )
    return tuple(notes)
