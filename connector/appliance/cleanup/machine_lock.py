"""One at a time on one machine: a pass, or the clean-up of what passes left, never both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MachineLocks:
    """The machines on which somebody in this process works. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()

    @contextmanager
    def held(self, machine: str) -> Iterator[None]:
        """Waits until nobody else has the machine."""
        with self._changed:
            self._changed.wait_for(lambda: machine not in self._held)
            self._held.add(machine)
        try:
            yield
        finally:
            self._release(machine)

    @contextmanager
    def tried(self, machine: str) -> Iterator[bool]:
        """Whether the machine was free, and is ours inside the block."""
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
