"""The way back through a long network: what is put in comes out a time later, in order, and nothing waits meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque

_MOST = 64 << 20  # bytes under way; whoever puts more in waits


class DelayLine:
    """One direction of one connection. A thread of its own sends; `put` and `drain` come from one other thread."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._socket, self._seconds = connection, seconds
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="nfc delay", daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> None:
        """Send it later. Raises OSError once the connection is gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _MOST or self._closed)
            if self._closed:
                raise OSError("the connection is gone")
            self._waiting.append((time.monotonic() + self._seconds, data))
            self._size += len(data)
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until everything is sent, or cannot be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size or self._closed)

    def close(self) -> None:
        """Nothing more is sent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self) -> None:
        """After `close`: wait for the thread."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                due, data = self._waiting[0]
                if self._changed.wait_for(lambda: self._closed, max(0.0, due - time.monotonic())):
                    return
            try:
                self._socket.sendall(data)
            except OSError:
                self.close()
                return
            with self._changed:
                self._waiting.popleft()
                self._size -= len(data)
                self._changed.notify_all()
