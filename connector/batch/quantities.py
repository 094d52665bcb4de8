"""Durations, sizes, rates and times are read as people write them. A ValueError names the rule. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

_DURATION: Final = re.compile(r"([0-9]{1,9}) ?(s|m|h|d)\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE: Final = re.compile(r"([0-9]{1,9}) ?(MiB|GiB|TiB)\Z")
_BYTES: Final = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_RATE: Final = re.compile(r"([0-9]{1,9}) ?(Mbit/s|Gbit/s)\Z")
_MBIT: Final = {"Mbit/s": 1, "Gbit/s": 1000}
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?\Z"
)


def seconds(text: str) -> int:
    """`90s`, `15m`, `6h`, `2d`."""
    return _scaled(_DURATION, _SECONDS, text, "a duration such as 90s, 15m, 6h or 2d")


def size(text: str) -> int:
    """Bytes of `512MiB`, `100GiB`, `2TiB`."""
    return _scaled(_SIZE, _BYTES, text, "a size such as 512MiB, 100GiB or 2TiB")


def megabits(text: str) -> int:
    """Mbit/s of `200Mbit/s`, `1Gbit/s`."""
    return _scaled(_RATE, _MBIT, text, "a rate such as 200Mbit/s or 1Gbit/s")


def moment(text: str, zone: ZoneInfo | None) -> float:
    """Seconds since the epoch of an ISO 8601 moment; without an offset of its own it is in `zone`."""
    if _MOMENT.match(text) is None:
        raise ValueError("a moment is written 2026-12-05T22:00, with +01:00 or Z unless a time zone is given")
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        if zone is None:
            raise ValueError("this moment has no time zone: add Z or an offset, or set timeZone")
        local = instant.replace(tzinfo=zone)
        # A clock that goes forward skips an hour: a time in that hour converts to another time.
        if local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != instant:
            raise ValueError(f"this time does not exist in {zone.key}: the clocks skip it")
        instant = local
    return instant.timestamp()


def written(instant: float) -> str:
    """ISO 8601 in UTC, as the API takes it."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> float | None:
    """Seconds since the epoch of what the API answers; None for an empty text."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _scaled(form: re.Pattern[str], units: dict[str, int], text: str, rule: str) -> int:
    match = form.match(text)
    if match is None:
        raise ValueError(f"write {rule}")
    return int(match[1]) * units[match[2]]
