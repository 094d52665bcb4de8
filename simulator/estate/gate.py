"""The stun is a gate for guest writes: closing it waits for the writes under way and holds new writes back."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class StunGate:
    """One machine's gate. Closing it twice from one thread is allowed.

    `longest` is the longest time, in seconds, that it was closed so far.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._writers = 0
        self._owner: int | None = None
        self._depth = 0
        self._closed = 0.0
        self.longest = 0.0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside, the machine is not stunned."""
        with self._condition:
            self._condition.wait_for(lambda: self._owner is None)
            self._writers += 1
        try:
            yield
        finally:
            with self._condition:
                self._writers -= 1
                self._condition.notify_all()

    @contextmanager
    def stun(self) -> Iterator[None]:
        """Inside, no guest write is under way and none begins."""
        me = threading.get_ident()
        with self._condition:
            self._condition.wait_for(lambda: self._owner in (None, me))
            if self._depth == 0:
                self._closed = time.monotonic()
            self._owner, self._depth = me, self._depth + 1
            self._condition.wait_for(lambda: self._writers == 0)
        try:
            yield
        finally:
            with self._condition:
                self._depth -= 1
                self._owner = me if self._depth else None
                if not self._depth:
                    self.longest = max(self.longest, time.monotonic() - self._closed)
                self._condition.notify_all()
