"""Tickets of AcquireGenericServiceTicket: each is good for one HTTP method and one URL, until it expires."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

COOKIE = "vmware_cgi_ticket"


@dataclass(frozen=True, slots=True)
class ServiceTicket:
    """`method` is an HTTP method in capitals, empty for every method. `target` is the URL's path and query.

    `host` is the moref of the host that serves it, empty for vCenter.
    """

    id: str = field(repr=False)
    user: str
    method: str
    target: str
    until: float
    uses: int
    host: str = ""


class ServiceTickets:
    """Issued and not yet expired. Thread-safe.

    `seconds`: how long a ticket is good for [?]. `uses`: how often; the API's description calls the credential one-time [?].
    Both may be replaced at any time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.uses = 60.0, 1 << 30
        self.issued = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, ServiceTicket] = {}

    def issue(self, user: str, method: str, url: str, host: str = "") -> ServiceTicket:
        """A new ticket for requests of this user."""
        now = self._clock()
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        ticket = ServiceTicket(
            f"cst-{secrets.token_hex(20)}", user, method, target, now + self.seconds, self.uses, host
        )
        with self._lock:
            self._open = {key: kept for key, kept in self._open.items() if kept.until > now}
            self._open[ticket.id] = ticket
            self.issued += 1
        return ticket

    def redeem(self, ticket_id: str, method: str, target: str, host: str = "") -> str | None:
        """The user, if the ticket is good for this request; the use is counted."""
        with self._lock:
            ticket = self._open.get(ticket_id)
            if ticket is None or ticket.until <= self._clock() or ticket.uses <= 0:
                return None
            if (ticket.target, ticket.host) != (target, host) or ticket.method not in ("", method):
                return None
            self._open[ticket_id] = replace(ticket, uses=ticket.uses - 1)
        return ticket.user
