"""Forwards messages to a syslog server over UDP. The work never waits for it: a bounded queue is between them.

What the queue cannot take is dropped, counted, and said as soon as there is room again.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
from typing import Final
from urllib.parse import urlsplit

from connector.log_formats import SyslogLine

#: Messages that may wait for the server.
WAITING: Final = 1000
PORT: Final = 514
_PAUSE: Final = 5.0  # seconds until a server that could not be reached is tried again


class Forwarding(logging.Handler):
    """The handler. A thread of its own formats and sends; nothing that a message is made of ends it."""

    def __init__(self, address: str, service: str, waiting: int = WAITING) -> None:
        super().__init__()
        parts = urlsplit(address)
        self._place = (parts.hostname or "", parts.port or PORT)
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(waiting)
        self.setFormatter(SyslogLine(service))
        self.dropped = 0  # guarded by the handler's own lock
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="syslog", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                self._records.put_nowait(_told(self.dropped))
                self.dropped = 0
            self._records.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """What waits is sent, for a second at most."""
        self._ends.set()
        try:
            self._records.put(None, timeout=1.0)
        except queue.Full:
            return
        finally:
            super().close()
        self._thread.join(1.0)

    def _loop(self) -> None:
        sender: socket.socket | None = None
        while (record := self._records.get()) is not None:
            try:
                sender = sender or self._opened()
                sender.send(self.format(record).encode())
            except OSError:  # it cannot be reached: this message is lost, as on a network
                sender = None
                self._ends.wait(_PAUSE)
            except Exception:  # noqa: BLE001 - outermost handler of a thread
                self.handleError(record)
        if sender is not None:
            sender.close()

    def _opened(self) -> socket.socket:
        family, kind, protocol, _, place = socket.getaddrinfo(*self._place, type=socket.SOCK_DGRAM)[0]
        sender = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        sender.connect(place)
        return sender


def _told(dropped: int) -> logging.LogRecord:
    text = "%d messages were not sent to the syslog server, because too many waited for it"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (dropped,), None)
