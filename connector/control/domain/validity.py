"""How long a job may live and when it may start, as the public API bounds it. Pure; times are seconds."""

from __future__ import annotations

from typing import Final

from connector.control.domain.refusals import OutOfRange

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

#: Counted from creation, whether or not the job was ever started.
DEFAULT_VALIDITY: Final = 30 * DAY
SHORTEST_VALIDITY: Final = 7 * DAY
LONGEST_VALIDITY: Final = 90 * DAY

#: An expired job is deleted so much later.
REMNANT: Final = 7 * DAY
LATEST_START: Final = 30 * DAY

FREQUENCIES: Final = range(1, 169)  # hours
IMAGES: Final = range(1, 11)


def valid_until(created: float, wanted: float | None) -> float:
    """The end of a job's validity; `OutOfRange` outside 7 to 90 days after its creation."""
    if wanted is None:
        return created + DEFAULT_VALIDITY
    if not SHORTEST_VALIDITY <= wanted - created <= LONGEST_VALIDITY:
        raise OutOfRange("ValidTime", "a job is valid for 7 to 90 days, counted from its creation")
    return wanted


def scheduled_start(now: float, wanted: float | None) -> float | None:
    """When the first run shall begin by itself; `OutOfRange` for the past and beyond 30 days."""
    if wanted is not None and not now <= wanted <= now + LATEST_START:
        raise OutOfRange("ScheduledStartTime", "a start can be scheduled at most 30 days ahead")
    return wanted


def rhythm(frequency: int | None, max_images: int | None) -> None:
    """Hours between two runs and how many images stay; `OutOfRange` outside 1-168 and 1-10."""
    if frequency is not None and frequency not in FREQUENCIES:
        raise OutOfRange("Frequency", "the interval is 1 to 168 hours")
    if max_images is not None and max_images not in IMAGES:
        raise OutOfRange("MaxNumberOfImageToKeep", "1 to 10 images can be kept")


def next_run(ended: float, frequency: int | None) -> float | None:
    """One interval after a run ended; never for a job that runs only when told to."""
    return None if frequency is None else ended + frequency * HOUR
