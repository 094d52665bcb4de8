"""Lists, pages, the terminal and errors use the same words for a source that a cutover has shut down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TITLE: Final = "SOURCE IS DOWN"

_HOUR: Final = 3600


def notice(since: str, back_in: float | None, *, at_rest: bool = False) -> str:
    """One clause. `since`: a time as it is shown. `back_in`: seconds; None if it is unknown.

    `at_rest`: nothing is under way that ends the outage.
    """
    if at_rest:
        return f"{TITLE} since {since}, and nothing is under way that brings it back"
    if back_in is None:
        return f"{TITLE} since {since}; how long the rest takes is not known"
    if back_in <= 0:
        return f"{TITLE} since {since}, longer than predicted"
    return f"{TITLE} since {since}, back in about {about(back_in)}"


def of_row(row: Mapping[str, Any]) -> str:
    """The clause for a job of the API; empty while its source is up, or if the API does not say."""
    if not row.get("SourceDown"):
        return ""
    seconds_left = int(row.get("BackInSeconds", -1))
    return notice(
        since(row), None if seconds_left < 0 else float(seconds_left), at_rest=row.get("Status") != "Running"
    )


def since(row: Mapping[str, Any]) -> str:
    """Since when the source of a job is down, as it is shown."""
    return str(row.get("DownSinceTime") or "").replace("T", " ").replace("Z", " UTC")


def ways_on(resume: str, roll_back: str) -> str:
    """The two ways to end the outage, each with its command or button."""
    return f"resume the cutover: {resume}; or power the source on again: {roll_back}"


def about(seconds: float) -> str:
    """A duration as a person says it, rounded up."""
    if seconds < 60:
        return "a minute"
    minutes = -(-int(seconds) // 60)
    if seconds < _HOUR:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
