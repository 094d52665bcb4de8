"""The progress of a pass: its disk threads write it, and the reporting thread reads it.

Thread rule: every method may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, field, replace


@dataclass(frozen=True, slots=True)
class DiskProgress:
    """Bytes of one disk. `wanted` is the pass's plan, `done` the durable part of it, `wire` the bytes on the wire."""

    key: int
    label: str
    capacity: int
    state: str = "waiting"
    wanted: int = 0
    done: int = 0
    read: int = 0
    zero: int = 0
    wire: int = 0
    rate: float = 0.0  # plan bytes made durable per second, over the last few seconds
    bottleneck: str = ""
    reader: str = ""  # those that have opened it for this pass, the present one last


@dataclass(frozen=True, slots=True)
class MovedBytes:
    """Bytes that one copy of a disk has moved so far. `wire`: after compression, with TLS."""

    read: int = 0
    sent: int = 0
    zero: int = 0
    same: int = 0
    wire: int = 0

    def since(self, before: MovedBytes) -> MovedBytes:
        """What was moved since `before`. A smaller figure is the beginning of another copy."""
        pairs = list(zip(astuple(self), astuple(before), strict=True))
        if any(now < then for now, then in pairs):
            return self
        return MovedBytes(*(now - then for now, then in pairs))


@dataclass(frozen=True, slots=True)
class SnapshotFigures:
    """What the guard saw last of the open snapshot. `born`: when it was taken, by this process's monotonic clock."""

    born: float
    delta: int
    free: float | None  # share of the fullest datastore; None: no datastore is known


@dataclass(slots=True)
class _Meter:
    """The rate over a sliding window: a pause shows within seconds, and a burst does not count too much."""

    window: float = 5.0
    samples: list[tuple[float, int]] = field(default_factory=list)

    def add(self, now: float, done: int) -> float:
        if self.samples and done < self.samples[-1][1]:
            self.samples.clear()  # the target lost bytes that were not durable: counting begins again
        self.samples.append((now, done))
        while len(self.samples) > 2 and now - self.samples[0][0] > self.window:
            self.samples.pop(0)
        (start, first), (end, last) = self.samples[0], self.samples[-1]
        return (last - first) / (end - start) if end > start else 0.0


class PassProgress:
    """The figures of one pass. `snapshot` is replaced as a whole; None while no snapshot is watched."""

    def __init__(self, count: Callable[[MovedBytes], None] = lambda _: None) -> None:
        """`count` gets what was moved, each byte once."""
        self._count = count
        self._moved: dict[int, MovedBytes] = {}
        self.snapshot: SnapshotFigures | None = None
        self._lock = threading.Lock()
        self._disks: dict[int, DiskProgress] = {}
        self._meters: dict[int, _Meter] = {}
        self._phase = "starting"

    def enter(self, phase: str) -> None:
        """Name what the pass does now, for people."""
        with self._lock:
            self._phase = phase

    def add(self, disk: DiskProgress) -> None:
        with self._lock:
            self._disks[disk.key] = disk
            self._meters[disk.key] = _Meter()

    def update(self, key: int, **changes: object) -> None:
        """Replace fields of one disk; `rate` follows from `done`."""
        with self._lock:
            disk = replace(self._disks[key], **changes)  # type: ignore[arg-type]  # field names are ours
            if "done" in changes:
                disk = replace(disk, rate=self._meters[key].add(time.monotonic(), disk.done))
            self._disks[key] = disk

    def moved(self, key: int, total: MovedBytes) -> None:
        """What the present copy of one disk has moved so far."""
        with self._lock:
            more = total.since(self._moved.get(key, MovedBytes()))
            self._moved[key] = total
        self._count(more)

    def state(self, key: int) -> str:
        """What one disk does now."""
        with self._lock:
            return self._disks[key].state

    def read(self) -> tuple[str, list[dict[str, object]]]:
        """The phase, and the fields of every disk."""
        with self._lock:
            return self._phase, [asdict(disk) for disk in self._disks.values()]
