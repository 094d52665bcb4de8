"""A TLS socket on which every answer is bounded, in bytes and in seconds.

A socket's own time limit starts again with every byte, so a peer that sends one byte a minute is never late. Here
the clock and the count start with our request, and no received byte starts them again.
"""

from __future__ import annotations

import errno
import ssl
import time
from typing import Any, Final

#: Seconds and bytes of an answer. A long poll waits a minute; the largest answers are lists and digests.
LONGEST: Final = 300.0
LARGEST: Final = 256 << 20


class Unending(TimeoutError):
    """The answer did not end in time."""


class TooLarge(OSError):
    """The answer is larger than it may be."""


class BoundedSocket(ssl.SSLSocket):
    """For clients that send one request at a time. Reading raises Unending and TooLarge beyond the bounds."""

    longest = LONGEST
    largest = LARGEST
    _until: float | None = None
    _left = 0

    def send(self, data: Any, flags: int = 0) -> int:
        self._until, self._left = time.monotonic() + self.longest, self.largest
        return super().send(data, flags)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if self._until is None:
            return super().recv_into(buffer, nbytes, flags)
        remaining = self._until - time.monotonic()
        if remaining <= 0:
            raise Unending(errno.ETIMEDOUT, self._endless())
        timeout = self.gettimeout()
        if timeout is not None and timeout <= remaining:
            count = super().recv_into(buffer, nbytes, flags)
        else:
            self.settimeout(remaining)
            try:
                count = super().recv_into(buffer, nbytes, flags)
            except TimeoutError:
                raise Unending(errno.ETIMEDOUT, self._endless()) from None
            finally:
                self.settimeout(timeout)
        self._left -= count
        if self._left < 0:
            raise TooLarge(errno.EFBIG, f"the answer is larger than {self.largest} bytes")
        return count

    def _endless(self) -> str:
        return f"the answer did not end within {self.longest:.0f} s"


def bound(context: ssl.SSLContext, longest: float = LONGEST, largest: int = LARGEST) -> ssl.SSLContext:
    """Bound every connection of this context. Returns the context."""
    kind = type("BoundedSocket", (BoundedSocket,), {"longest": longest, "largest": largest})
    context.sslsocket_class = kind
    return context
