"""A person logs in with an access key and gets a session. After a few wrong secrets, each attempt has to wait longer."""

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
from connector.control.domain.key_use import KeyRefusal, refusal
from connector.control.state.access_keys import AccessKeys
from connector.control.store import Store
from connector.errors import AuthenticationFailed

#: How many wrong secrets cause no wait.
FREE: Final = 4
#: Seconds after which an address is forgotten.
MEMORY: Final = 900.0
#: How many addresses are remembered. If there are more, the one that failed longest ago is forgotten.
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

    Only the address counts: if keys could be locked, anybody could lock a key's owner out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, _Failures] = {}  # the one that failed longest ago first

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0 when it may now."""
        with self._lock:
            failures = self._failures.get(_neighbourhood(address))
        return 0.0 if failures is None else max(0.0, failures.until - self._clock())

    def failed(self, address: str) -> None:
        """Count a wrong key or secret from this address."""
        name, now = _neighbourhood(address), self._clock()
        with self._lock:
            failures = self._failures.pop(name, None)
            fresh = failures is not None and now - failures.last < MEMORY
            self._failures[name] = _Failures(failures.count + 1 if failures is not None and fresh else 1, now)
            while len(self._failures) > MOST:
                self._failures.pop(next(iter(self._failures)))

    def succeeded(self, address: str) -> None:
        """Forget the address's failures: a right secret came from it."""
        with self._lock:
            self._failures.pop(_neighbourhood(address), None)


def _neighbourhood(address: str) -> str:
    """The address, or its network of 2**64 addresses if it is IP version 6: one person may have all of them."""
    try:
        ip_address = ipaddress.ip_address(address)
    except ValueError:
        return address[:80]
    return (
        str(ipaddress.ip_network((ip_address, 64), strict=False))
        if ip_address.version == 6
        else str(ip_address)
    )


#: The prefix makes the browser keep the rules: secure, only this host, every path.
COOKIE: Final = "__Host-console"
#: The cookie before the login, in place of the session's.
VISITOR: Final = "__Host-console-visitor"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9._\-]{1,80}")
_NOBODY: Final = secrets.token_urlsafe(32)
#: For everybody who has not shown the right secret: it does not tell whether the key exists.
_UNPROVED: Final = KeyRefusal(
    "unknown access key, or wrong secret",
    "check both; an administrator makes keys with: connector control key create --state DIR",
)


class TooSoon(AuthenticationFailed):
    """Too many wrong secrets came from this address."""

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
    """The person that a session's cookie belongs to."""

    key: AccessKey
    session: ConsoleSession


class SessionAuthenticator:
    """Logs people in and out, and finds the session of a cookie. Thread-safe."""

    def __init__(self, store: Store, keys: AccessKeys, attempts: LoginThrottle) -> None:
        self._store = store
        self._keys = keys
        self._attempts = attempts

    def enter(self, key_id: str, secret: str, origin: str) -> str:
        """Log in; answer the new session's cookie. Raises `AuthenticationFailed`, or `TooSoon` before it checks the key."""
        if (wait := self._attempts.wait(origin)) > 0:
            raise TooSoon(wait)
        entry = self._keys.find(key_id) if _KEY_ID.fullmatch(key_id) else None
        right = hmac.compare_digest(
            (entry[1] if entry else _NOBODY).encode(), secret.encode("utf-8", "replace")
        )
        if entry is None or not right:
            raise self._refused(entry[0] if entry else None, _UNPROVED, origin)
        if (why := refusal(entry[0], self._store.now())) is not None:
            raise self._refused(entry[0], why, origin)
        self._attempts.succeeded(origin)
        if entry[0].of_directory:
            raise AuthenticationFailed(
                "this access key belongs to the state directory, and the console is for people",
                on="log in",
                remedy="make a key for yourself: connector control key create --state DIR",
            )
        if entry[0].workgroups is not None:
            raise AuthenticationFailed(
                "this access key is limited to workgroups, and the console shows everything",
                on="log in",
                remedy="use it with the command line or an SDK; log in with a key without limits",
            )
        token = self._store.sessions.open(entry[0].id, origin)
        self._store.audit.add(entry[0].id, origin, "ConsoleLogIn", entry[0].id)
        return token

    def _refused(self, key: AccessKey | None, why: KeyRefusal, origin: str) -> AuthenticationFailed:
        self._attempts.failed(origin)
        if key is not None:
            self._store.audit.add(key.id, origin, "ConsoleLogInRefused", key.id)
        return AuthenticationFailed(why.why, on="log in", remedy=why.remedy)

    def session_user(self, token: str) -> SessionUser | None:
        """The person with this cookie; None if the session has ended or the key is refused."""
        session = self._store.sessions.find(token) if token else None
        key = self._store.keys.find(session.key_id) if session is not None else None
        if session is None or key is None or key.workgroups is not None:
            return None
        return None if refusal(key, self._store.now()) else SessionUser(key, session)

    def leave(self, token: str, origin: str) -> None:
        """End the session. Harmless if it has ended."""
        if (user := self.session_user(token)) is not None:
            self._store.audit.add(user.key.id, origin, "ConsoleLogOut", user.key.id)
        self._store.sessions.close(token)

    def forget(self, token: str) -> None:
        """End the former session of this browser, which logs in again."""
        if token:
            self._store.sessions.close(token)


def proof(cookie: str) -> str:
    """The form token, which shows that a form is from a page of ours. It reveals nothing about the cookie."""
    return hashlib.sha256(f"form {cookie}".encode()).hexdigest()


def proven(cookie: str, token: str) -> bool:
    """Whether a form token belongs to this cookie."""
    return bool(cookie) and hmac.compare_digest(proof(cookie).encode(), token.encode("utf-8", "replace"))


def fresh() -> str:
    """A new value for the cookie before the login."""
    return secrets.token_urlsafe(32)


def bake(response: Response, name: str, value: str) -> None:
    """Set a cookie that no script can read, that no other site sends, and that ends with the browser."""
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="strict")


def eat(response: Response, name: str) -> None:
    """Delete a cookie."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="strict")
