"""How figures read on a page. Pure; what a template calls a filter is a function here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import escape

from connector.amounts import size
from connector.control.domain.entities import Pass, PassState
from connector.names import visible
from connector.specification import limits

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


_PROVED = "proved"  # how appliances call a disk that is read and compared


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """One disk; bytes, bytes a second, seconds. `eta` is None while nobody can say."""

    label: str
    capacity: int
    wanted: int
    done: int
    rate: float
    bottleneck: str
    state: str

    @property
    def left(self) -> int:
        return max(0, self.wanted - self.done)

    @property
    def percent(self) -> float:
        if not self.wanted:
            return 100.0 if self.state == _PROVED else 0.0
        return 100.0 * min(self.done, self.wanted) / self.wanted

    @property
    def eta(self) -> float | None:
        return self.left / self.rate if self.left and self.rate > 0 else None


@dataclass(frozen=True, slots=True)
class Figures:
    """A pass, or nothing yet."""

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
        """When the last disk is done, if each goes on as it does; None while one of them stands."""
        if not self.running:
            return None
        waits = [disk.eta for disk in self.disks if disk.left]
        known = [eta for eta in waits if eta is not None]
        return max(known) if known and len(known) == len(waits) else None

    @property
    def bottleneck(self) -> str:
        """What holds back the disk that has most left."""
        busy = [disk for disk in self.disks if disk.left and disk.bottleneck]
        return max(busy, key=lambda disk: disk.left).bottleneck if busy and self.running else ""


def figures(found: Pass | None) -> Figures:
    """The figures of a job's newest pass."""
    if found is None:
        return Figures()
    running = found.state is PassState.TAKEN
    return Figures(found.phase, running, tuple(_disk(disk, running=running) for disk in found.disks))


def _disk(reported: Mapping[str, Any], *, running: bool) -> DiskFigures:
    state = str(reported.get("state", ""))
    return DiskFigures(
        label=str(reported.get("label", "")),
        capacity=int(reported.get("capacity", 0)),
        wanted=int(reported.get("wanted", 0)),
        done=int(reported.get("done", 0)),
        rate=float(reported.get("rate", 0.0)) if running and state != _PROVED else 0.0,
        bottleneck=limits.named(str(reported.get("bottleneck", ""))) if running else "",
        state=state,
    )
