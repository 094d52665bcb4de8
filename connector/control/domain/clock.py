"""The whole control plane uses one clock that it is given, so that tests can move time. No module here reads the system clock."""

from __future__ import annotations

from typing import Final, Protocol


class Clock(Protocol):
    """Seconds since the epoch, UTC. `time.time` is one. Thread-safe."""

    def __call__(self) -> float: ...


#: Seconds. A time so far ahead of now was written by another clock, or by this clock before it was set back.
#: A wait that began at such a time counts as over.
SET_BACK: Final = 120.0
