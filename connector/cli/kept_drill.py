"""What the last drill of an image left beside it, for `connector verify`: how it ended, and whether its files are intact.

The summary is not signed: whoever can write beside the image can write it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from connector.cloud import kept_files
from connector.cloud.drill_child import KEPT, SUMMARY

_MOST: Final = 64 << 10  # bytes of a summary


def read(images: Path) -> dict[str, Any] | None:
    """The summary, with `intact` for each file; None without a drill that this user may read."""
    content = kept_files.read(images / KEPT / SUMMARY)
    if content is None or len(content) > _MOST:
        return None
    try:
        row = json.loads(content)
        files = {
            str(name): _is_intact(images / KEPT / str(name), facts) for name, facts in row["files"].items()
        }
        return {
            "boots": bool(row["boots"]),
            "outcome": str(row["outcome"]),
            "reason": str(row["reason"]),
            "ended": str(row["ended"]),
            "intact": files,
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"boots": False, "outcome": "its summary is damaged", "reason": "", "ended": "", "intact": {}}


def _is_intact(path: Path, facts: Mapping[str, Any]) -> bool:
    content = kept_files.read(path) if path.parent.name == KEPT else None
    return content is not None and hashlib.sha256(content).hexdigest() == facts["sha256"]


def lines(drill: Mapping[str, Any]) -> list[str]:
    """For people."""
    reason = f" ({drill['reason']})" if drill["reason"] else ""
    verb = "booted" if drill["boots"] else "did not boot"
    shown = [f"drill of {drill['ended']}: a copy {verb}: {drill['outcome']}{reason}; not signed"]
    return shown + [
        f"drill: {name} is not as it was kept"
        for name, intact in sorted(drill["intact"].items())
        if not intact
    ]
