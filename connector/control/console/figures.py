"""Each filter of the templates is a pure function here that writes one figure for a page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import escape

from connector import amounts
from connector.amounts import size
from connector.control.domain.entities import Pass, PassState
from connector.control.http.views import PROVED
from connector.names import visible
from connector.specification import limited_by

_NEVER: Final = 1e11


def rate(per_second: float) -> str:
    """Bytes per second; empty if nothing moves."""
    return f"{size(per_second)}/s" if per_second > 0 else ""


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units; empty for None."""
    if seconds is None:
        return ""
    remaining = max(0, int(seconds))
    if remaining < 60:
        return f"{remaining} s"
    minutes, hours, days = remaining // 60, remaining // 3600, remaining // 86400
    if minutes < 60:
        return f"{minutes} min {remaining % 60:02d} s"
    return f"{hours} h {minutes % 60:02d} min" if hours < 48 else f"{days} d {hours % 24} h"


def moment(seconds: float | None) -> str:
    """A time to the second, in UTC; empty for a time that is not set or means never."""
    return _when("%Y-%m-%d %H:%M:%S", seconds)


def machine_time(seconds: float | None) -> str:
    """The same for the attribute of a `time` element."""
    return _when("%Y-%m-%dT%H:%M:%SZ", seconds)


def count(number: int) -> str:
    """A whole number with its thousands separated."""
    return f"{number:,}"


def percent(value: float) -> str:
    """0 to 100 with one digit. An incomplete value never shows 100."""
    rounded = min(value, 99.9) if value < 100 else 100.0
    return f"{rounded:.0f} %" if rounded in (0.0, 100.0) else f"{rounded:.1f} %"


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
    "plural": amounts.plural,
    "percent": percent,
    "visible": visible,
    #: The unchanged text, for values that a form sends back. Everything else on a page is `visible`.
    "exact": escape,
}


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """The figures of one disk: bytes, bytes per second, seconds. `eta` is None while it is unknown."""

    label: str
    capacity: int
    wanted: int
    done: int
    rate: float
    bottleneck: str
    state: str
    readers: str = ""

    @property
    def left(self) -> int:
        return max(0, self.wanted - self.done)

    @property
    def percent(self) -> float:
        if not self.wanted:
            return 100.0 if self.state == PROVED else 0.0
        return 100.0 * min(self.done, self.wanted) / self.wanted

    @property
    def eta(self) -> float | None:
        return self.left / self.rate if self.left and self.rate > 0 else None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a pass, or of a job without a pass."""

    phase: str = ""
    running: bool = False
    disks: tuple[DiskFigures, ...] = ()

    @property
    def wanted(self) -> int:
        return sum(disk.wanted for disk in self.disks)

    @property
    def done(self) -> int:
        return sum(min(disk.done, disk.wanted) for disk in self.disks)

    @property
    def rate(self) -> float:
        return sum(disk.rate for disk in self.disks if disk.left) if self.running else 0.0

    @property
    def eta(self) -> float | None:
        """When the last disk is done at the present rates; None while one of the disks does not move."""
        if not self.running:
            return None
        waits = [disk.eta for disk in self.disks if disk.left]
        known_etas = [eta for eta in waits if eta is not None]
        return max(known_etas) if known_etas and len(known_etas) == len(waits) else None

    @property
    def bottleneck(self) -> str:
        """What limits the disk that has the most bytes left."""
        busy = [disk for disk in self.disks if disk.left and disk.bottleneck]
        return max(busy, key=lambda disk: disk.left).bottleneck if busy and self.running else ""


def figures(newest: Pass | None) -> Figures:
    """The figures of a job's newest pass."""
    if newest is None:
        return Figures()
    running = newest.state is PassState.TAKEN
    return Figures(newest.phase, running, tuple(_disk(disk, running=running) for disk in newest.disks))


def _disk(reported: Mapping[str, Any], *, running: bool) -> DiskFigures:
    state = str(reported.get("state", ""))
    return DiskFigures(
        label=str(reported.get("label", "")),
        capacity=int(reported.get("capacity", 0)),
        wanted=int(reported.get("wanted", 0)),
        done=int(reported.get("done", 0)),
        rate=float(reported.get("rate", 0.0)) if running and state != PROVED else 0.0,
        bottleneck=limited_by.named(str(reported.get("bottleneck", ""))) if running else "",
        state=state,
        readers=str(reported.get("reader") or ""),
    )
