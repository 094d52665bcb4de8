"""Bytes, rates and lines as people read them, the same everywhere: KiB, MiB, GiB; MiB/s of data; Mbit/s of a line. Pure."""

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
