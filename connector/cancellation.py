"""One request to end, for everything that must hear it: a stop, a snapshot that is given back, a sibling that failed.

It is a `threading.Event`, so whatever waits on events can wait on it; setting it sets everything that is linked to it.
"""

from __future__ import annotations

import threading
import weakref


class Cancellation(threading.Event):
    """Set by itself or by any of its `parents`. Thread-safe; whoever waits is woken at once."""

    def __init__(self, *parents: Cancellation) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._children: weakref.WeakSet[Cancellation] = weakref.WeakSet()
        for parent in parents:
            parent._link(self)

    def set(self) -> None:
        with self._lock:
            super().set()
            children = list(self._children)
        for child in children:
            child.set()

    def _link(self, child: Cancellation) -> None:
        with self._lock:
            self._children.add(child)
            if not self.is_set():
                return
        child.set()
