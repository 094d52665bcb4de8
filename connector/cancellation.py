"""A cancellation is one request to end: a stop, a snapshot that is given back, a failed sibling.

It is a `threading.Event`, so code that waits on events can wait on it. Setting it sets every linked cancellation.
"""

from __future__ import annotations

import threading
import weakref


class Cancellation(threading.Event):
    """It is set by `set` or by any of its `parents`. Thread-safe; waiting threads wake at once."""

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
