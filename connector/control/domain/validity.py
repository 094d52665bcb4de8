"""The public API bounds how long a job is valid and when it may start. Pure; times are seconds."""

from __future__ import annotations

from typing import Final

from connector.control.domain.refusals import OutOfRange
from connector.specification import bounds

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

#: The valid time counts from creation, whether or not the job was ever started.
DEFAULT_VALIDITY: Final = bounds.DEFAULT_DAYS_VALID * DAY
SHORTEST_VALIDITY: Final = bounds.DAYS_VALID[0] * DAY
LONGEST_VALIDITY: Final = bounds.DAYS_VALID[-1] * DAY

#: An expired job is deleted after so many seconds.
REMNANT: Final = 7 * DAY
LATEST_START: Final = bounds.DAYS_AHEAD * DAY


def valid_until(created: float, requested: float | None) -> float:
    """The end of a job's validity. Raises `OutOfRange` outside `DAYS_VALID` after its creation."""
    if requested is None:
        return created + DEFAULT_VALIDITY
    if not SHORTEST_VALIDITY <= requested - created <= LONGEST_VALIDITY:
        raise OutOfRange(
            "ValidTime",
            f"a job is valid for {bounds.words(bounds.DAYS_VALID)} days, counted from its creation",
        )
    return requested


def scheduled_start(now: float, requested: float | None) -> float | None:
    """When the first run begins by itself. Raises `OutOfRange` for the past and for more than `DAYS_AHEAD`."""
    if requested is not None and not now <= requested <= now + LATEST_START:
        raise OutOfRange(
            "ScheduledStartTime", f"a start can be scheduled at most {bounds.DAYS_AHEAD} days ahead"
        )
    return requested


def rhythm(frequency: int | None, max_images: int | None) -> None:
    """Check the hours between two runs and the number of images to keep. Raises `OutOfRange`."""
    if frequency is not None and frequency not in bounds.HOURS_BETWEEN_RUNS:
        raise OutOfRange("Frequency", f"the interval is {bounds.words(bounds.HOURS_BETWEEN_RUNS)} hours")
    if max_images is not None and max_images not in bounds.IMAGES_KEPT:
        raise OutOfRange("MaxNumberOfImageToKeep", f"{bounds.words(bounds.IMAGES_KEPT)} images can be kept")


def next_run(ended: float, frequency: int | None) -> float | None:
    """One interval after a run ended; None for a job on demand."""
    return None if frequency is None else ended + frequency * HOUR
