"""One clock goes through the whole control plane, so that tests can move it: nobody here looks at the wall."""

from __future__ import annotations

from typing import Final, Protocol


class Clock(Protocol):
    """Seconds since the epoch, UTC. `time.time` is one. Thread-safe."""

    def __call__(self) -> float: ...


#: Seconds. What was written so far ahead of now was written by another clock, or by this one before it was set back:
#: no wait that began then is waited for.
SET_BACK: Final = 120.0
