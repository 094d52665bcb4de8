"""Guessing is slow: after a few wrong secrets from one address each further attempt has to wait, longer every time."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from connector.backoff import LOGIN
from connector.control.domain.entities import AccessKey, ConsoleSession
from connector.control.state.access_keys import AccessKeys
from connector.control.store import Store
from connector.errors import AuthenticationFailed

#: Wrong secrets that cost nothing but themselves.
FREE: Final = 4
#: Seconds after which an address is forgotten.
MEMORY: Final = 900.0
#: Addresses that are remembered; beyond it the one that failed longest ago goes.
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last: float

    @property
    def until(self) -> float:
        if self.count <= FREE:
            return self.last
        return self.last + LOGIN.pause(self.count - FREE)


class LoginThrottle:
    """Failed logins by address, in this process. Thread-safe.

    By address alone: a key that could be locked would let anybody lock its owner out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, _Failures] = {}  # the one that failed longest ago first

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0 when it may now."""
        with self._lock:
            found = self._failures.get(_neighbourhood(address))
        return 0.0 if found is None else max(0.0, found.until - self._clock())

    def failed(self, address: str) -> None:
        """A wrong key or secret came from there."""
        name, now = _neighbourhood(address), self._clock()
        with self._lock:
            known = self._failures.pop(name, None)
            fresh = known is not None and now - known.last < MEMORY
            self._failures[name] = _Failures(known.count + 1 if known is not None and fresh else 1, now)
            while len(self._failures) > MOST:
                self._failures.pop(next(iter(self._failures)))

    def succeeded(self, address: str) -> None:
        """Somebody there has the right secret."""
        with self._lock:
            self._failures.pop(_neighbourhood(address), None)


def _neighbourhood(address: str) -> str:
    """One person may have 2**64 addresses of IP version 6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:80]
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


#: The prefix holds the browser to it: secure, this host alone, every path.
COOKIE: Final = "__Host-console"
#: Before anybody is logged in, this one stands in for the session's.
VISITOR: Final = "__Host-console-visitor"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9._\-]{1,80}")
_NOBODY: Final = secrets.token_urlsafe(32)


class TooSoon(AuthenticationFailed):
    """Too many wrong secrets from there."""

    http_status = 429

    def __init__(self, seconds: float) -> None:
        self.seconds = math.ceil(seconds)
        super().__init__(
            "too many failed attempts from this address",
            on="log in",
            remedy=f"wait {self.seconds} s, then try again",
        )


@dataclass(frozen=True, slots=True)
class SessionUser:
    """Who comes with a cookie."""

    key: AccessKey
    session: ConsoleSession


class SessionAuthenticator:
    """Lets people in and out. Thread-safe."""

    def __init__(self, store: Store, keys: AccessKeys, attempts: LoginThrottle) -> None:
        self._store = store
        self._keys = keys
        self._attempts = attempts

    def enter(self, key_id: str, secret: str, origin: str) -> str:
        """The value of a new session's cookie. Raises `AuthenticationFailed`, or `TooSoon` without having looked."""
        if (wait := self._attempts.wait(origin)) > 0:
            raise TooSoon(wait)
        found = self._keys.find(key_id) if _KEY_ID.fullmatch(key_id) else None
        right = hmac.compare_digest(
            (found[1] if found else _NOBODY).encode(), secret.encode("utf-8", "replace")
        )
        if found is None or not right or not self._good(found[0]):
            self._attempts.failed(origin)
            if found is not None:
                self._store.audit.add(found[0].id, origin, "ConsoleLogInRefused", found[0].id)
            raise AuthenticationFailed(
                "unknown or disabled access key, or wrong secret",
                on="log in",
                remedy="check both; an administrator makes keys with: connector control key create",
            )
        self._attempts.succeeded(origin)
        if found[0].of_directory:
            raise AuthenticationFailed(
                "this access key belongs to the state directory, and the console is for people",
                on="log in",
                remedy="make a key of your own: connector control key create",
            )
        if found[0].workgroups is not None:
            raise AuthenticationFailed(
                "this access key is limited to workgroups, and the console shows everything",
                on="log in",
                remedy="use it with the command line or an SDK",
            )
        token = self._store.sessions.open(found[0].id, origin)
        self._store.audit.add(found[0].id, origin, "ConsoleLogIn", found[0].id)
        return token

    def guest(self, token: str) -> SessionUser | None:
        """Who has this cookie; None when the session has ended or the key is disabled."""
        session = self._store.sessions.find(token) if token else None
        key = self._store.keys.find(session.key_id) if session is not None else None
        if session is None or key is None or not self._good(key) or key.workgroups is not None:
            return None
        return SessionUser(key, session)

    def _good(self, key: AccessKey) -> bool:
        """Neither disabled, nor brought back by a restore, nor expired."""
        return key.usable and (key.until is None or self._store.now() < key.until)

    def leave(self, token: str, origin: str) -> None:
        """The session ends; harmless when it has."""
        if (guest := self.guest(token)) is not None:
            self._store.audit.add(guest.key.id, origin, "ConsoleLogOut", guest.key.id)
        self._store.sessions.close(token)

    def forget(self, token: str) -> None:
        """The session that this browser had before ends with its next login."""
        if token:
            self._store.sessions.close(token)


def proof(cookie: str) -> str:
    """What a form carries to show that it comes from a page of ours: it tells nothing about the cookie."""
    return hashlib.sha256(f"form {cookie}".encode()).hexdigest()


def proven(cookie: str, given: str) -> bool:
    """Whether a form belongs to this cookie."""
    return bool(cookie) and hmac.compare_digest(proof(cookie).encode(), given.encode("utf-8", "replace"))


def fresh() -> str:
    """A value for the visitor's cookie."""
    return secrets.token_urlsafe(32)


def bake(response: Response, name: str, value: str) -> None:
    """Give the browser a cookie that no script reads, no other site sends, and that ends with the browser."""
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="strict")


def eat(response: Response, name: str) -> None:
    """Take a cookie away."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="strict")
