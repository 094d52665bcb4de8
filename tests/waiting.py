"""How tests wait: for an event, and far longer than any machine needs, so that only what stands still fails a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

#: Seconds. No test measures with it: what must happen within a time is a benchmark, or has a clock of the test's own.
PATIENCE: Final = 240.0

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE, pause: float = 0.03) -> T:
    """The first true answer of `look`. Fails after `seconds`, saying `what` did not happen."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(pause)
    return answer
