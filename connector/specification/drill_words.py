"""How a drill of the public API stands, in words that the command line and waves share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: Its states in the API while it has not ended.
OPEN: Final = ("Waiting", "Running")


def result(row: Mapping[str, Any]) -> str:
    """How it stands, in a few words. `row`: an item of DescribeReplicationJobDrills."""
    if row.get("Verdict"):
        reason = f" ({row['Reason']})" if row.get("Reason") else ""
        return f"{row['Verdict']}: {row.get('Outcome')}{reason}"
    state = str(row.get("State"))
    if state == "Done":
        return "done"
    why = row.get("ErrorReason") or row.get("Phase")
    return f"{state.lower()}: {why}" if why else state.lower()
