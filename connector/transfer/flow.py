"""How fast a pass may send, how hard it compresses, how it is proved: all of it may change while it runs.

Counted are bytes on the wire, so what zeros and compression save is free. Everybody who sends through one `Throttle`
shares its rate: connections, disks, passes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

BURST: Final = 0.1  # seconds of silence that may be made up for
LOOK: Final = 0.25  # seconds after which a waiting sender asks for the rate again
PIECE: Final = 16 << 10  # bytes that are sent at once, at least


class Bucket:
    """What may be sent, as a debt that time pays back. Pure: the caller brings the clock.

    Without debt anything may be sent, however large; over any longer time the rate is exact.
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
        """So many bytes are sent now."""
        self._room -= count


class FlowClock(Protocol):
    """Time for those who wait; thread-safe."""

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
    """One rate for many senders, served in the order in which they came. Thread-safe.

    `rate()` is bytes a second, 0 for no limit; it is asked for each piece, and again while a sender waits.
    """

    def __init__(self, rate: Callable[[], float], clock: FlowClock | None = None) -> None:
        self._rate, self._clock = rate, clock or RealClock()
        self._bucket = Bucket(self._clock.now())
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def portion(self, count: int) -> int:
        """How much of `count` bytes to ask for at once, so that a slow line is shared and not taken in turns."""
        rate = self._rate()
        return min(count, max(PIECE, int(rate * BURST))) if rate > 0 else count

    def take(self, count: int, given_up: Callable[[], bool] = lambda: False) -> None:
        """Wait until `count` bytes may be sent, or `given_up()`."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                while not given_up() and (left := self._delay(ticket)) > 0:
                    self._clock.wait(self._changed, min(left, LOOK))
                self._bucket.spend(count)
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _delay(self, ticket: object) -> float:
        if self._queue[0] is not ticket:
            return LOOK
        return self._bucket.delay(self._clock.now(), self._rate())


class Flow:
    """What one pass may use of the line: its own rate, and what it shares with other passes. Thread-safe.

    `compression` answers as `TransferSettings.compression`, `rate` in bytes a second, `reread` whether the target shall
    be read again for its proof; each is asked whenever it matters.
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
        """What is wished now."""
        return self._compression()

    @property
    def reread(self) -> bool:
        """Whether a proof that exists already is not enough."""
        return self._reread()

    def take(self, count: int, given_up: Callable[[], bool] = lambda: False) -> int:
        """Wait for every limit; answers how many of `count` bytes may be sent now."""
        piece = min(throttle.portion(count) for throttle in self._throttles)
        for throttle in self._throttles:
            throttle.take(piece, given_up)
        return piece
