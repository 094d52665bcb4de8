"""A generation counter says when which object changed; waiting property collectors sleep on it.

A reader notes `generation` first, reads, and later asks only for objects whose mark is newer: nothing is
missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Changes:
    """Thread-safe. Marks are per moref; `touch` wakes every waiter."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._generation = 0
        self._marks: dict[str, int] = {}

    @property
    def generation(self) -> int:
        return self._generation

    def mark(self, moref: str) -> int:
        """The generation of the last change of this object; 0 when it never changed."""
        return self._marks.get(moref, 0)

    def touch(self, *morefs: str) -> None:
        """Say that these objects changed."""
        with self._condition:
            self._generation += 1
            for moref in morefs:
                self._marks[moref] = self._generation
            self._condition.notify_all()

    def wait(self, since: int, seconds: float | None, stop: Callable[[], bool]) -> bool:
        """Sleep until something changed after `since` or `stop()` holds; False when the time ran out."""
        with self._condition:
            return self._condition.wait_for(lambda: self._generation > since or stop(), seconds)
