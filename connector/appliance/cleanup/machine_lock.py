"""A machine lock lets one pass or one clean-up work on a machine at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from connector.errors import Interrupted

_POLL: Final = 0.5  # seconds between two looks for a stop


class MachineLocks:
    """The machines on which this process works now. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()

    @contextmanager
    def held(
        self, machine: str, stop: threading.Event, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Wait for the machine's lock, and have it inside the block. `waiting` is called when it is not free at once.

        Raises Interrupted after a stop: a clean-up may have the lock for hours, while vCenter merges a snapshot.
        """
        with self._changed:
            if machine in self._held:
                waiting()
            while machine in self._held:
                if stop.is_set():
                    raise Interrupted("stopped on request", on=machine)
                self._changed.wait(_POLL)
            self._held.add(machine)
        try:
            yield
        finally:
            self._release(machine)

    @contextmanager
    def tried(self, machine: str) -> Iterator[bool]:
        """Try to get the machine's lock without waiting; True if we have it inside the block."""
        with self._changed:
            free = machine not in self._held
            if free:
                self._held.add(machine)
        try:
            yield free
        finally:
            if free:
                self._release(machine)

    def _release(self, machine: str) -> None:
        with self._changed:
            self._held.discard(machine)
            self._changed.notify_all()
