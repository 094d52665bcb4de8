"""A calendar says how much of the link an appliance may use now. Pure except for the clock that is passed in.

Where windows overlap, the smallest rate counts; outside of all windows there is no limit. A window whose end is not after its
start lasts into the next day, and belongs to the day on which it starts.

`Flow` (`connector/transfer/flow.py`) makes a pass wait for this rate and for the limit of its job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_MIDNIGHT: Final = 24 * 60


def _minutes(text: Any) -> Any:
    """Minutes since midnight. YAML reads 18:30 without quotes as such a number, which is never below 60."""
    if isinstance(text, int) and text >= 60:
        return text
    try:
        hours, minutes = (int(part) for part in str(text).split(":"))
    except ValueError:
        raise ValueError("a time of day is HH:MM") from None
    if not (0 <= minutes < 60 and 0 <= hours * 60 + minutes <= _MIDNIGHT):
        raise ValueError("a time of day is 00:00 to 24:00")
    return hours * 60 + minutes


TimeOfDay = Annotated[int, BeforeValidator(_minutes), Field(ge=0, le=_MIDNIGHT)]


class BandwidthWindow(BaseModel):
    """On these days, between these times, all passes of the appliance together may send `mbit` Mbit/s."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: tuple[Day, ...] = Field(DAYS, min_length=1)
    start: TimeOfDay = Field(0, alias="from")
    end: TimeOfDay = Field(_MIDNIGHT, alias="to")
    mbit: float = Field(gt=0, allow_inf_nan=False)

    def holds(self, moment: datetime) -> bool:
        """Whether `moment`, in the calendar's time zone, is inside the window."""
        minute = moment.hour * 60 + moment.minute
        today, yesterday = DAYS[moment.weekday()], DAYS[(moment - timedelta(days=1)).weekday()]
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        return (today in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)


class Calendar:
    """The windows of one appliance. Thread-safe. `clock` returns seconds since the epoch."""

    def __init__(
        self, windows: Sequence[BandwidthWindow], zone: tzinfo, clock: Callable[[], float] = time.time
    ) -> None:
        self._windows, self._zone, self._clock = tuple(windows), zone, clock

    def rate(self) -> float:
        """Bytes a second that may be sent now; 0 is no limit."""
        moment = datetime.fromtimestamp(self._clock(), self._zone)
        return min((w.mbit * 1e6 / 8 for w in self._windows if w.holds(moment)), default=0.0)


def zone(name: str) -> tzinfo:
    """The time zone with this name in the IANA database. Raises ValueError when this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            "this machine does not know the time zone; use a name like Europe/Berlin, or install tzdata"
        ) from None
