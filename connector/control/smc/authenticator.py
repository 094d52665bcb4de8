"""A request is admitted if its key is known, its signature is right, its nonce is new and its clock is within 15 minutes."""

from __future__ import annotations

import calendar
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Final

from connector.control.domain.access import AccessKey
from connector.control.domain.key_use import refusal
from connector.control.smc.catalogue import Denied
from connector.control.smc.signature_claim import SignatureClaim
from connector.control.state.access_keys import AccessKeys
from connector.control.store.database import PEERS, DatabaseSilent
from connector.errors import ControlFailed
from connector.outages import Outages

_LOG: Final = logging.getLogger(__name__)

#: Seconds that the clocks of a client and of this process may differ.
SKEW: Final = 900.0
VERSION: Final = "2019-06-01"
_FORM: Final = "%Y-%m-%dT%H:%M:%SZ"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9._\-]{1,80}")
_NONCE: Final = re.compile(r"[\x20-\x7e]{1,128}")


class Authenticator:
    """Checks signature claims. `clock` is the system's, even where tests move the clock of jobs. Thread-safe."""

    def __init__(self, keys: AccessKeys, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._recent = Recent()
        self._outages = Outages(_LOG, PEERS)

    def admit(self, claim: SignatureClaim) -> AccessKey:
        """The key that signed this request. Raises `Denied` for a wrong, late or repeated request."""
        entry = self._keys.find(claim.key_id) if _KEY_ID.fullmatch(claim.key_id) else None
        if entry is None:
            raise Denied("InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        key, secret = entry
        claim.verify(secret)
        now = self._clock()
        if (why := refusal(key, now)) is not None:
            raise Denied("InvalidAccessKeyId.Inactive", f"{why.why[0].upper()}{why.why[1:]}.", why.remedy)
        signed = _moment(claim.date)
        if abs(now - signed) > SKEW:
            raise _late(claim.date, signed, now)
        if _NONCE.fullmatch(claim.nonce) is None:
            raise Denied("IncompleteSignature", "The signature nonce must be 1 to 128 ASCII characters.")
        if not self._recent.first(f"{key.id} {claim.nonce}", signed + SKEW, now):
            raise _used()
        if claim.version != VERSION:
            raise Denied("InvalidVersion", f"Specified parameter Version is not valid: use {VERSION}.")
        return key

    def once(self, claim: SignatureClaim, key: AccessKey, *, strict: bool = True) -> None:
        """Raise `Denied` if any replica or earlier process has seen the nonce. It is called before the answer.

        Not `strict`: if the database cannot be written, this process's memory is enough, so that reads go on.
        """
        try:
            new = self._keys.claim(key.id, claim.nonce)
        except ControlFailed as failed:
            if strict:
                raise
            self._outages.missed("a nonce cannot be written down", failed)
            return
        self._outages.heard(DatabaseSilent)
        if not new:
            raise _used()


class Recent:
    """The nonces that this process has seen. Each is kept until its request is too old to be accepted. Thread-safe."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._swept = 0.0
        self._lock = threading.Lock()

    def first(self, nonce: str, until: float, now: float) -> bool:
        """Whether `nonce` is new. It is remembered in any case."""
        with self._lock:
            if now > self._swept + 60:
                self._until = {seen_nonce: end for seen_nonce, end in self._until.items() if end >= now}
                self._swept = now
            if nonce in self._until:
                return False
            self._until[nonce] = until
            return True


def _used() -> Denied:
    return Denied("SignatureNonceUsed", "Specified signature nonce was used already.")


def _late(date: str, signed: float, now: float) -> Denied:
    direction = "behind" if signed < now else "ahead"
    return Denied(
        "InvalidTimeStamp.Expired",
        f"Specified time stamp or date value is expired: the request is signed at {date}, and the control plane's"
        f" clock shows {time.strftime(_FORM, time.gmtime(now))}; the signer is {abs(now - signed):.0f} s {direction},"
        f" and {SKEW:.0f} s are allowed.",
        "set the clock of the machine that signs, or the control plane's",
    )


def _moment(text: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(text, _FORM)))
    except (ValueError, OverflowError):
        raise Denied(
            "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted."
        ) from None
