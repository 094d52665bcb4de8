"""What people are told about a source that a cutover has shut down, until the cutover or a rollback has ended.

The same words stand in lists, on pages, in the terminal and in errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TITLE: Final = "SOURCE IS DOWN"

_HOUR: Final = 3600


def notice(since: str, back_in: float | None, *, at_rest: bool = False) -> str:
    """One clause. `since`: a time as it is shown; `back_in`: seconds, None when nobody knows.

    `at_rest`: nothing is under way that would bring the machine back.
    """
    if at_rest:
        return f"{TITLE} since {since}, and nothing is under way that brings it back"
    if back_in is None:
        return f"{TITLE} since {since}; how long the rest takes is not known"
    if back_in <= 0:
        return f"{TITLE} since {since}, longer than predicted"
    return f"{TITLE} since {since}, back in about {about(back_in)}"


def of_row(row: Mapping[str, Any]) -> str:
    """What is to be said of a job as the API shows it; empty while its source is up, or where the API does not tell."""
    if not row.get("SourceDown"):
        return ""
    since = str(row.get("DownSinceTime") or "").replace("T", " ").replace("Z", " UTC")
    seconds_left = int(row.get("BackInSeconds", -1))
    return notice(
        since, None if seconds_left < 0 else float(seconds_left), at_rest=row.get("Status") != "Running"
    )


def ways_on(resume: str, roll_back: str) -> str:
    """The two ways on, each with the command or the button for it."""
    return f"resume the cutover: {resume}; or power the source on again: {roll_back}"


def about(seconds: float) -> str:
    """A duration as a person says it, rounded up."""
    if seconds < 60:
        return "a minute"
    minutes = -(-int(seconds) // 60)
    if seconds < _HOUR:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
