"""A machine lock lets one pass or one clean-up work on a machine at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MachineLocks:
    """The machines on which this process works now. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()

    @contextmanager
    def held(self, machine: str) -> Iterator[None]:
        """Wait for the machine's lock, and have it inside the block."""
        with self._changed:
            self._changed.wait_for(lambda: machine not in self._held)
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
