"""Tickets for one connection each: who issued them knows the machine, the host takes them back once."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ticket:
    """Good for one connection to one host, for all files of a machine, or (`disk`: a device key) for one disk.

    `address`, `port`, `thumbprint` (SHA-1) say where it is to be used.
    """

    session_id: str = field(repr=False)
    vm: str
    host: str
    address: str
    port: int
    thumbprint: str
    disk: int | None = None
    service: str = "vpxa-nfc"
    service_version: str = "1.1"


class Tickets:
    """Issued and not yet used. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Ticket, float]] = {}

    def keep(self, ticket: Ticket, seconds: float) -> None:
        """The ticket may be used for so long."""
        now = self._clock()
        with self._lock:
            self._open = {key: kept for key, kept in self._open.items() if kept[1] > now}
            self._open[ticket.session_id] = (ticket, now + seconds)

    def redeem(self, session_id: str, host: str) -> Ticket | None:
        """The ticket, which is used up now; None for one that is unknown, used, expired or for another host."""
        with self._lock:
            ticket, until = self._open.pop(session_id, (None, 0.0))
        good = ticket is not None and until > self._clock() and ticket.host == host
        return ticket if good else None

    @property
    def outstanding(self) -> int:
        """Tickets that are still good."""
        now = self._clock()
        with self._lock:
            return sum(until > now for _ticket, until in self._open.values())


def new_session_id() -> str:
    """A secret that fits into one line; its form is ours."""
    text = secrets.token_hex(16)
    return "-".join(text[start : start + 8] for start in range(0, 32, 8))
