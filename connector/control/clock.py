"""One clock goes through the whole control plane, so that tests can move it: nobody here looks at the wall."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch, UTC. `time.time` is one. Thread-safe."""

    def __call__(self) -> float: ...
