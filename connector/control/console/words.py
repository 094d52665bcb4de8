"""How figures read on a page. Pure; what a template calls a filter is a function here."""

from __future__ import annotations

import time
from typing import Any, Final

from markupsafe import escape

from connector.amounts import size
from connector.names import visible

_NEVER: Final = 1e11


def rate(per_second: float) -> str:
    """Bytes a second; empty when nothing moves."""
    return f"{size(per_second)}/s" if per_second > 0 else ""


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that matter; empty for None."""
    if seconds is None:
        return ""
    left = max(0, int(seconds))
    if left < 60:
        return f"{left} s"
    minutes, hours, days = left // 60, left // 3600, left // 86400
    if minutes < 60:
        return f"{minutes} min {left % 60:02d} s"
    return f"{hours} h {minutes % 60:02d} min" if hours < 48 else f"{days} d {hours % 24} h"


def moment(seconds: float | None) -> str:
    """A time to the second, UTC; empty for one that is not set or means never."""
    return _when("%Y-%m-%d %H:%M:%S", seconds)


def machine_time(seconds: float | None) -> str:
    """The same for the attribute of a `time` element."""
    return _when("%Y-%m-%dT%H:%M:%SZ", seconds)


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """A counted noun."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def percent(value: float) -> str:
    """0 to 100, to one digit; what is not complete never reads as 100."""
    shown = min(value, 99.9) if value < 100 else 100.0
    return f"{shown:.0f} %" if shown in (0.0, 100.0) else f"{shown:.1f} %"


def _when(form: str, seconds: float | None) -> str:
    if seconds is None or seconds >= _NEVER:
        return ""
    return time.strftime(form, time.gmtime(seconds))


FILTERS: Final[dict[str, Any]] = {
    "size": size,
    "rate": rate,
    "duration": duration,
    "moment": moment,
    "machine_time": machine_time,
    "thousands": count,
    "plural": plural,
    "percent": percent,
    "visible": visible,
    #: As it is: for what a form sends back. Everything else that a page shows is `visible`.
    "exact": escape,
}
