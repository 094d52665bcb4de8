"""Bytes, rates, lines, counts and spans of time as people read them: KiB; MiB/s of data; Mbit/s of a line; 1 disk; min. Pure."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """Bytes in the largest binary unit of which there is at least one."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 or value >= 100 or value == int(value) else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"


def rate(per_second: float) -> str:
    """Bytes a second; a negative rate counts as 0."""
    return f"{size(max(0.0, per_second))}/s"


def line(bytes_per_second: float) -> str:
    """The rate of a link in Mbit/s: 1 Mbit/s is 1,000,000 bits a second."""
    return f"{bytes_per_second * 8 / 1e6:.0f} Mbit/s"


def plural(number: int, singular: str, many: str = "") -> str:
    """A number with its noun in singular or plural: `1 disk`, `2 disks`, `1,000 entries`."""
    return f"{number:,} {singular if number == 1 else many or singular + 's'}"


def span(seconds: float) -> str:
    """Seconds in words: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    rounded = round(seconds)
    if rounded < 90:
        return f"{rounded} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
