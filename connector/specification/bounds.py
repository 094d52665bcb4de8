"""Bounds of the times of a job, as the public API documents them. Every check and every text takes them from here."""

from __future__ import annotations

from typing import Final

#: Days from a job's creation to its end.
DAYS_VALID: Final = range(7, 91)
DEFAULT_DAYS_VALID: Final = 30
#: So many days ahead a first run can be scheduled.
DAYS_AHEAD: Final = 30
#: Hours between two runs.
HOURS_BETWEEN_RUNS: Final = range(1, 169)
IMAGES_KEPT: Final = range(1, 11)


def words(bounds: range, unit: str = "") -> str:
    """The bounds for people: `7 to 90`, or `7d to 90d` with a unit."""
    return f"{bounds[0]}{unit} to {bounds[-1]}{unit}"
