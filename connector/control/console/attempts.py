"""Guessing is slow: after a few wrong secrets from one address each further attempt has to wait, longer every time."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Wrong secrets that cost nothing but themselves.
FREE: Final = 4
#: Seconds to wait after the next one; it doubles up to `LONGEST`.
FIRST: Final = 2.0
LONGEST: Final = 60.0
#: Seconds after which an address is forgotten.
MEMORY: Final = 900.0
#: Addresses that are remembered; beyond it the one that failed longest ago goes.
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last: float

    @property
    def until(self) -> float:
        if self.count <= FREE:
            return self.last
        return self.last + min(LONGEST, FIRST * 2.0 ** min(16, self.count - FREE - 1))


class Attempts:
    """Failed logins by address, in this process. Thread-safe.

    By address alone: a key that could be locked would let anybody lock its owner out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, _Failures] = {}  # the one that failed longest ago first

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0 when it may now."""
        with self._lock:
            found = self._failures.get(_neighbourhood(address))
        return 0.0 if found is None else max(0.0, found.until - self._clock())

    def failed(self, address: str) -> None:
        """A wrong key or secret came from there."""
        name, now = _neighbourhood(address), self._clock()
        with self._lock:
            known = self._failures.pop(name, None)
            fresh = known is not None and now - known.last < MEMORY
            self._failures[name] = _Failures(known.count + 1 if known is not None and fresh else 1, now)
            while len(self._failures) > MOST:
                self._failures.pop(next(iter(self._failures)))

    def succeeded(self, address: str) -> None:
        """Somebody there has the right secret."""
        with self._lock:
            self._failures.pop(_neighbourhood(address), None)


def _neighbourhood(address: str) -> str:
    """One person may have 2**64 addresses of IP version 6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:80]
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
