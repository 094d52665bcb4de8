"""Outlasting a peer that is being started again: the same call, until it is answered, refused, or nobody waits any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from connector.backoff import PEER
from connector.errors import ConnectorError, Interrupted

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """`seconds`, from the first one on, that a retryable failure of one of `kinds` is outlasted; setting `halt` ends that.
    Thread-safe.
    """

    seconds: float
    kinds: tuple[type[ConnectorError], ...] = (ConnectorError,)
    halt: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic

    def outlast(self, call: Callable[[], T]) -> T:
        """The answer of `call`, which must be harmless to repeat. Raises its last error."""
        end, failures = None, 0
        while True:
            try:
                return call()
            except self.kinds as failed:
                end = (
                    self.clock() + self.seconds if end is None else end
                )  # a call that took long has not used it up
                left = end - self.clock()
                if not failed.retryable or isinstance(failed, Interrupted) or left <= 0:
                    raise
                failures += 1
                if self.halt.wait(min(left, PEER.pause(failures))):
                    raise
