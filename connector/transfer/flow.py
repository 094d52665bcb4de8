"""Rate, compression and proof of a pass may change while it runs: they are asked for whenever they matter.

The rate counts bytes on the wire: what zeros and compression save is free. All senders of one `Throttle` share its rate:
connections, disks, passes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

BURST: Final = 0.1  # seconds of unused rate that may be used later
POLL_INTERVAL: Final = 0.25  # seconds after which a waiting sender asks for the rate again
PIECE: Final = 16 << 10  # the least number of bytes that are sent at once


class Bucket:
    """A limit on what may be sent, as a debt that time pays back. Pure: the caller passes the time.

    Without debt any number of bytes may be sent; over a longer time the rate is exact.
    """

    def __init__(self, now: float) -> None:
        self._at, self._room = now, 0.0

    def delay(self, now: float, rate: float) -> float:
        """Seconds until something may be sent at `rate` bytes a second; a rate of 0 is no limit."""
        if rate <= 0:
            self._at, self._room = now, 0.0
            return 0.0
        self._room = min(rate * BURST, self._room + max(0.0, now - self._at) * rate)
        self._at = now
        return 0.0 if self._room > -1.0 else -self._room / rate

    def spend(self, count: int) -> None:
        """Count bytes that are sent now."""
        self._room -= count


class FlowClock(Protocol):
    """The clock of waiting senders; thread-safe."""

    def now(self) -> float: ...

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Called with `changed` held; returns after `seconds`, or earlier when it is notified."""
        ...


class RealClock:
    def now(self) -> float:
        return time.monotonic()

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        changed.wait(seconds)


class Throttle:
    """One rate for many senders, served in the order of their requests. Thread-safe.

    `rate()` is bytes a second, 0 for no limit; it is asked for each piece, and again while a sender waits.
    """

    def __init__(self, rate: Callable[[], float], clock: FlowClock | None = None) -> None:
        self._rate, self._clock = rate, clock or RealClock()
        self._bucket = Bucket(self._clock.now())
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def portion(self, count: int) -> int:
        """How many of `count` bytes to request at once, so that all senders use a slow link at the same time."""
        rate = self._rate()
        return min(count, max(PIECE, int(rate * BURST))) if rate > 0 else count

    def take(self, count: int, given_up: Callable[[], bool] = lambda: False) -> None:
        """Wait until `count` bytes may be sent, or `given_up()`."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                while not given_up() and (seconds := self._delay(ticket)) > 0:
                    self._clock.wait(self._changed, min(seconds, POLL_INTERVAL))
                self._bucket.spend(count)
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _delay(self, ticket: object) -> float:
        if self._queue[0] is not ticket:
            return POLL_INTERVAL
        return self._bucket.delay(self._clock.now(), self._rate())


class Flow:
    """The limits of one pass: its own rate, and the rate that it shares with other passes. Thread-safe.

    `compression` returns a value of `TransferSettings.compression`, `rate` bytes a second, `reread` whether the proof must
    read the target again. Each is called whenever it matters.
    """

    def __init__(
        self,
        compression: Callable[[], str] = lambda: "adaptive",
        rate: Callable[[], float] = lambda: 0.0,
        shared: Throttle | None = None,
        reread: Callable[[], bool] = lambda: False,
        clock: FlowClock | None = None,
    ) -> None:
        self._compression, self._reread = compression, reread
        self._throttles = [Throttle(rate, clock), *([shared] if shared else [])]

    @property
    def compression(self) -> str:
        """The compression to use now."""
        return self._compression()

    @property
    def reread(self) -> bool:
        """Whether an earlier proof is not enough."""
        return self._reread()

    def take(self, count: int, given_up: Callable[[], bool] = lambda: False) -> int:
        """Wait for every limit; returns how many of `count` bytes may be sent now."""
        piece = min(throttle.portion(count) for throttle in self._throttles)
        for throttle in self._throttles:
            throttle.take(piece, given_up)
        return piece
