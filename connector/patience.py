"""Repeats a call to a peer that restarts, until it is answered, refused, or the time is over."""

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
    """How long retryable failures of `kinds` are outlasted: `seconds` from the first failure; setting `halt` ends it.
    Thread-safe.
    """

    seconds: float
    kinds: tuple[type[ConnectorError], ...] = (ConnectorError,)
    halt: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic

    def outlast(self, call: Callable[[], T]) -> T:
        """The result of `call`, which may be repeated without harm. Raises its last error."""
        end, failures = None, 0
        while True:
            try:
                return call()
            except self.kinds as failed:
                # the time starts with the first failure, so a long call does not use it up
                end = self.clock() + self.seconds if end is None else end
                remaining = end - self.clock()
                if not failed.retryable or isinstance(failed, Interrupted) or remaining <= 0:
                    raise
                failures += 1
                if self.halt.wait(min(remaining, PEER.pause(failures))):
                    raise
