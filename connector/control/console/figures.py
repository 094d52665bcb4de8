"""How far a pass is, how fast it goes and when it will be done: made from what its appliance reported last. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.control.store.rows import Pass, PassState
from connector.specification import limits

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
