"""How tests wait: for an event, and far longer than any machine needs, so that only what stands still fails a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

#: Seconds. No test measures with it: what must happen within a time is a benchmark, or has a clock of the test's own.
PATIENCE: Final = 240.0

#: A test that looks all the time keeps what it waits for from running: pauses grow to this many seconds.
LONGEST_PAUSE: Final = 0.25

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE, pause: float = 0.03) -> T:
    """The first true answer of `look`. Fails after `seconds`, saying `what` did not happen. `pause`: the first one."""
    deadline, waits = time.monotonic() + seconds, pauses(pause)
    while not (answer := look()):
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(next(waits))
    return answer


def pauses(first: float = 0.03) -> Iterator[float]:
    """Seconds between two looks: short ones first, for what happens at once."""
    pause = first
    while True:
        yield pause
        pause = min(pause * 1.3, max(first, LONGEST_PAUSE))
