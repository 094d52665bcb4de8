"""The public API bounds how long a job is valid and when it may start. Pure; times are seconds."""

from __future__ import annotations

from typing import Final

from connector.control.domain.refusals import OutOfRange

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

#: The valid time counts from creation, whether or not the job was ever started.
DEFAULT_VALIDITY: Final = 30 * DAY
SHORTEST_VALIDITY: Final = 7 * DAY
LONGEST_VALIDITY: Final = 90 * DAY

#: An expired job is deleted after so many seconds.
REMNANT: Final = 7 * DAY
LATEST_START: Final = 30 * DAY

FREQUENCIES: Final = range(1, 169)  # hours
IMAGES: Final = range(1, 11)


def valid_until(created: float, requested: float | None) -> float:
    """The end of a job's validity. Raises `OutOfRange` outside 7 to 90 days after its creation."""
    if requested is None:
        return created + DEFAULT_VALIDITY
    if not SHORTEST_VALIDITY <= requested - created <= LONGEST_VALIDITY:
        raise OutOfRange("ValidTime", "a job is valid for 7 to 90 days, counted from its creation")
    return requested


def scheduled_start(now: float, requested: float | None) -> float | None:
    """When the first run begins by itself. Raises `OutOfRange` for the past and for more than 30 days ahead."""
    if requested is not None and not now <= requested <= now + LATEST_START:
        raise OutOfRange("ScheduledStartTime", "a start can be scheduled at most 30 days ahead")
    return requested


def rhythm(frequency: int | None, max_images: int | None) -> None:
    """Check the hours between two runs and the number of images to keep. Raises `OutOfRange` outside 1-168 and 1-10."""
    if frequency is not None and frequency not in FREQUENCIES:
        raise OutOfRange("Frequency", "the interval is 1 to 168 hours")
    if max_images is not None and max_images not in IMAGES:
        raise OutOfRange("MaxNumberOfImageToKeep", "1 to 10 images can be kept")


def next_run(ended: float, frequency: int | None) -> float | None:
    """One interval after a run ended; None for a job on demand."""
    return None if frequency is None else ended + frequency * HOUR
