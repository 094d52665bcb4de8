"""The authenticator checks access keys and session tokens, signatures, clocks, nonces, and the rights of each key."""

from __future__ import annotations

import calendar
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from simulator.cloud.codes import Refused
from simulator.cloud.signature import Claim

_SKEW: Final = 900.0  # seconds


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One key; with a `token` it is a temporary one. `denied`: patterns of actions it may not call."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    denied: tuple[str, ...] = ()


class Authenticator:
    """Thread-safe."""

    def __init__(self, keys: Iterable[AccessKey], clock: Callable[[], float] = time.time) -> None:
        self._keys = {key.id: key for key in keys}
        self._clock = clock
        self._lock = threading.Lock()
        self._nonces: dict[str, float] = {}

    def admit(self, claim: Claim) -> None:
        """Raises Refused unless a key that may do this signed it, now, for the first time."""
        key = self._keys.get(claim.key)
        if key is None:
            raise Refused("InvalidAccessKeyId.NotFound")
        claim.check(key.secret)
        if claim.token != key.token:
            raise Refused("InvalidSecurityToken.Malformed")
        self._fresh(claim)
        if any(fnmatchcase(claim.action, pattern) for pattern in key.denied):
            raise Refused("Forbidden.RAM")

    def _fresh(self, claim: Claim) -> None:
        try:
            at = calendar.timegm(time.strptime(claim.date, "%Y-%m-%dT%H:%M:%SZ"))
        except ValueError:
            raise Refused("InvalidTimeStamp.Format") from None
        now = self._clock()
        if abs(now - at) > _SKEW:
            raise Refused("InvalidTimeStamp.Expired")
        with self._lock:
            if claim.nonce in self._nonces:
                raise Refused("SignatureNonceUsed")
            self._nonces[claim.nonce] = now
            if len(self._nonces) > 20_000:
                self._nonces = {
                    nonce: used for nonce, used in self._nonces.items() if now - used <= 2 * _SKEW
                }
