"""Sessions as vCenter keeps them: a secret cookie, a public key, an idle time-out, and tickets to clone them.

The cookie is also known to the stand-in VDDK (through the estate): an expired session refuses API and disks.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simulator.vcenter.api import make, vim

COOKIE = "vmware_soap_session"
_IN_COOKIE = re.compile(COOKIE + r'="?([^";,\s]+)')
_TICKET_SECONDS = 60.0


def cookie_in(header: str) -> str | None:
    """The session cookie in a Cookie header, with or without quotes and attributes."""
    match = _IN_COOKIE.search(header)
    return match[1] if match else None


def set_cookie(cookie: str) -> str:
    """The Set-Cookie header as vCenter writes it, quotes included."""
    return f'{COOKIE}="{cookie}"; Path=/; HttpOnly; Secure; SameSite=Lax'


@dataclass(slots=True)
class Session:
    """One login. Only `Sessions` changes it."""

    key: str
    cookie: str = field(repr=False)
    user: str = ""
    address: str = ""
    agent: str = ""
    locale: str = "en"
    opened: datetime = field(default_factory=lambda: datetime.now(UTC))
    used: datetime = field(default_factory=lambda: datetime.now(UTC))
    idle_since: float = field(default_factory=time.monotonic)
    running: int = 0
    calls: int = 0
    live: bool = True

    def describe(self) -> Any:
        """As the API shows it; the cookie is not part of it."""
        return make(
            vim.UserSession,
            key=self.key,
            userName=self.user.upper() if "\\" in self.user else self.user,
            fullName=self.user.partition("@")[0],
            loginTime=self.opened,
            lastActiveTime=self.used,
            locale=self.locale,
            messageLocale=self.locale,
            extensionSession=False,
            ipAddress=self.address,
            userAgent=self.agent,
            callCount=self.calls,
        )


class Sessions:
    """All live sessions. Thread-safe."""

    def __init__(
        self, accounts: Mapping[str, str], idle_seconds: float, opened: Callable[[str], None]
    ) -> None:
        """`accounts`: passwords by user name; `opened(cookie)` is called for each new session."""
        self._accounts = {user.lower(): password for user, password in accounts.items()}
        self.idle_seconds = idle_seconds
        self._opened = opened
        self._lock = threading.Lock()
        self._by_cookie: dict[str, Session] = {}
        self._tickets: dict[str, tuple[str, float]] = {}
        self.ended: list[Callable[[Session], None]] = []

    def login(self, user: str, password: str, address: str, agent: str, locale: str | None) -> Session:
        """A new session. Raises InvalidLogin, in the same words whether the user or the password is wrong."""
        expected = self._accounts.get(user.lower())
        right = hmac.compare_digest((expected or "").encode(), password.encode())
        if expected is None or not right:
            raise vim.fault.InvalidLogin(
                msg="Cannot complete login due to an incorrect user name or password."
            )
        return self._open(user, address, agent, locale)

    def _open(self, user: str, address: str, agent: str, locale: str | None) -> Session:
        session = Session(_uuid(), secrets.token_hex(20), user, address, agent, locale or "en")
        self._opened(session.cookie)
        with self._lock:
            self._by_cookie[session.cookie] = session
        return session

    def find(self, cookie: str | None) -> Session | None:
        """The live session with this cookie; an idle one has ended."""
        if cookie is None:
            return None
        with self._lock:
            session = self._by_cookie.get(cookie)
        if session is not None and self._is_idle(session):
            self.end(session)
            return None
        return session

    def _is_idle(self, session: Session) -> bool:
        idle = time.monotonic() - session.idle_since
        return session.running == 0 and self.idle_seconds > 0 and idle > self.idle_seconds

    def begin_call(self, session: Session) -> None:
        with self._lock:
            session.running += 1
            session.calls += 1
            session.used = datetime.now(UTC)

    def end_call(self, session: Session) -> None:
        with self._lock:
            session.running -= 1
            session.idle_since = time.monotonic()

    def end(self, session: Session) -> None:
        """End a session by logout, expiry or termination, unless it has ended."""
        with self._lock:
            if self._by_cookie.pop(session.cookie, None) is None:
                return
            session.live = False
        for listener in self.ended:
            listener(session)

    def with_key(self, key: str) -> Session | None:
        with self._lock:
            return next((s for s in self._by_cookie.values() if s.key == key), None)

    def all(self) -> list[Session]:
        with self._lock:
            return list(self._by_cookie.values())

    def reap(self) -> None:
        """End the sessions that were idle too long."""
        for session in self.all():
            if self._is_idle(session):
                self.end(session)

    def ticket(self, session: Session) -> str:
        """A ticket that opens one more session of the same user, once, within a minute."""
        ticket = "cst-VCT-" + "--".join((secrets.token_hex(8), secrets.token_hex(8)))
        with self._lock:
            self._tickets[ticket] = (session.user, time.monotonic() + _TICKET_SECONDS)
        return ticket

    def clone(self, ticket: str, address: str, agent: str) -> Session:
        """Open a session from a ticket. Raises InvalidLogin."""
        with self._lock:
            user, until = self._tickets.pop(ticket, ("", 0.0))
        if until < time.monotonic():
            raise vim.fault.InvalidLogin(msg="Cannot complete login due to an invalid or used ticket.")
        return self._open(user, address, agent, None)


def _uuid() -> str:
    digits = secrets.token_hex(16)
    return "52" + "-".join((digits[2:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))
