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
from dataclasses import dataclass, replace
from typing import Final

from starlette.responses import Response

from connector.backoff import LOGIN
from connector.control.domain.access import AccessKey, ConsoleSession
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
    told: bool = False  # whether an attempt before its time was told since the last failure

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

    def too_soon(self, address: str) -> bool:
        """Whether this attempt before its time is the first since the last failure."""
        name = _neighbourhood(address)
        with self._lock:
            failures = self._failures.get(name)
            if failures is None or failures.told:
                return False
            self._failures[name] = replace(failures, told=True)
            return True

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
#: IDs as we make them. A person may paste a secret in place of one, and the audit log must not have it.
_OURS: Final = re.compile(r"AK[A-Za-z0-9]{22}|state-directory-[0-9a-f]{12}")
_UNKNOWN: Final = "unknown"
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


_OF_DIRECTORY: Final = KeyRefusal(
    "this access key belongs to the state directory, and the console is for people",
    "make a key for yourself: connector control key create --state DIR",
)
_LIMITED: Final = KeyRefusal(
    "this access key is limited to workgroups, and the console shows everything",
    "use it with the command line or an SDK; log in with a key without limits",
)


def _not_for_people(key: AccessKey) -> KeyRefusal | None:
    """Why nobody logs in with a key that is valid for commands."""
    if key.of_directory:
        return _OF_DIRECTORY
    return None if key.workgroups is None else _LIMITED


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
            raise self._too_soon(key_id, wait, origin)
        entry = self._keys.find(key_id) if _KEY_ID.fullmatch(key_id) else None
        right = hmac.compare_digest(
            (entry[1] if entry else _NOBODY).encode(), secret.encode("utf-8", "replace")
        )
        if entry is None or not right:
            raise self._failed(key_id, _UNPROVED, origin)
        key = entry[0]
        if (why := refusal(key, self._store.now())) is not None:
            raise self._failed(key_id, why, origin)
        self._attempts.succeeded(origin)
        if (why := _not_for_people(key)) is not None:
            raise self._refused(key_id, why, origin)
        with self._store.audit.announced(key.id, origin, "ConsoleLogIn", key.id):
            return self._store.sessions.open(key.id, origin)

    def _too_soon(self, key_id: str, wait: float, origin: str) -> TooSoon:
        """Only the first attempt of each wait is logged: whoever does not wait could fill the database."""
        refused = TooSoon(wait)
        if self._attempts.too_soon(origin):
            self._log_refused(key_id, refused.what, origin)
        return refused

    def _failed(self, key_id: str, why: KeyRefusal, origin: str) -> AuthenticationFailed:
        self._attempts.failed(origin)
        return self._refused(key_id, why, origin)

    def _refused(self, key_id: str, why: KeyRefusal, origin: str) -> AuthenticationFailed:
        self._log_refused(key_id, why.why, origin)
        return AuthenticationFailed(why.why, on="log in", remedy=why.remedy)

    def _log_refused(self, key_id: str, why: str, origin: str) -> None:
        known = _OURS.fullmatch(key_id) or (_KEY_ID.fullmatch(key_id) and self._store.keys.find(key_id))
        shown = key_id if known else _UNKNOWN
        self._store.audit.add(shown, origin, "ConsoleLogInRefused", shown, {"Reason": why})

    def session_user(self, token: str) -> SessionUser | None:
        """The person with this cookie; None if the session has ended or the key is refused."""
        session = self._store.sessions.find(token) if token else None
        key = self._store.keys.find(session.key_id) if session is not None else None
        if session is None or key is None or key.workgroups is not None:
            return None
        return None if refusal(key, self._store.now()) else SessionUser(key, session)

    def leave(self, token: str, origin: str) -> None:
        """End the session. Harmless if it has ended."""
        user = self.session_user(token)
        if user is None:
            self._store.sessions.close(token)
            return
        with self._store.audit.announced(user.key.id, origin, "ConsoleLogOut", user.key.id):
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
