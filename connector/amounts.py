"""Bytes, rates, lines and spans of time as people read them: KiB, MiB, GiB; MiB/s of data; Mbit/s of a line; min, h. Pure."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """Bytes in the largest binary unit that leaves something before the point."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 or value >= 100 or value == int(value) else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"


def rate(per_second: float) -> str:
    """Bytes a second; nothing moves backwards."""
    return f"{size(max(0.0, per_second))}/s"


def line(bytes_per_second: float) -> str:
    """What a line carries, as lines are sold: 1,000,000 bits a second are 1 Mbit/s."""
    return f"{bytes_per_second * 8 / 1e6:.0f} Mbit/s"


def span(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
