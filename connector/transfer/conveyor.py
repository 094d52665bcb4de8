"""A queue between threads that is bounded by bytes, and wakes every waiting thread when one side fails."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The conveyor was aborted: every thread that uses it must end."""


class Conveyor(Generic[T]):
    """First in, first out, at most `limit` bytes (one item may always enter).

    Items that are inside when the conveyor is aborted, and items that come later, go to `drop`, so that what they
    borrowed returns to its owner. `starved` and `blocked` are the seconds that `take` and `put` have waited.
    """

    def __init__(self, limit: int, drop: Callable[[T], None]) -> None:
        self._limit, self._drop = limit, drop
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._finished = self._aborted = False
        self._changed = threading.Condition()
        self.starved = 0.0
        self.blocked = 0.0

    def put(self, item: T, weight: int) -> None:
        """Waits for room. Raises Closed (and drops the item) after `abort`."""
        with self._changed:
            if self._bytes and self._bytes + weight > self._limit and not self._aborted:
                began = time.monotonic()
                while self._bytes and self._bytes + weight > self._limit and not self._aborted:
                    self._changed.wait()
                self.blocked += time.monotonic() - began
            if not self._aborted:
                self._items.append((item, weight))
                self._bytes += weight
                self._changed.notify_all()
                return
        self._drop(item)
        raise Closed

    def finish(self) -> None:
        """Nothing more will be put: `take` returns the remaining items, then None."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Drop everything and wake every thread. May be repeated."""
        with self._changed:
            self._aborted = True
            dropped = [item for item, _ in self._items]
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()
        for item in dropped:
            self._drop(item)

    def take(self, timeout: float | None = None) -> T | None:
        """The next item; None when `timeout` seconds passed or the end is reached (see `ended`). Raises
        Closed after `abort`.
        """
        with self._changed:
            if not self._ready():
                began = time.monotonic()
                self._changed.wait_for(self._ready, timeout)
                self.starved += time.monotonic() - began
            if self._aborted:
                raise Closed
            if not self._items:
                return None
            item, weight = self._items.popleft()
            self._bytes -= weight
            self._changed.notify_all()
            return item

    @property
    def ended(self) -> bool:
        """True once all items were taken and none will come."""
        with self._changed:
            return self._finished and not self._items

    def _ready(self) -> bool:
        return bool(self._items) or self._finished or self._aborted

    def __iter__(self) -> Iterator[T]:
        while (item := self.take()) is not None:
            yield item
