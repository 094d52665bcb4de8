"""An access key is refused while it is disabled, waits for approval after a restore, or has expired. Pure.

The reason is for people who have proved that they know the secret. Nobody else learns it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from connector.control.domain.access import AccessKey

_MAKE: Final = "connector control key create --state DIR"


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """Why a key is refused, and what to do."""

    why: str
    remedy: str


def refusal(key: AccessKey, now: float) -> KeyRefusal | None:
    """Why the key is refused at this time; None if it is accepted."""
    name = f"the access key {key.id}"
    if key.disabled:
        return KeyRefusal(f"{name} is disabled", f"use another key; an administrator makes one: {_MAKE}")
    if not key.approved:
        return KeyRefusal(
            f"{name} was brought back by a restore and is not approved again",
            f"an administrator approves it: connector control approve {key.id} --state DIR",
        )
    if key.until is not None and now >= key.until:
        end = f"{datetime.fromtimestamp(key.until, UTC):%Y-%m-%dT%H:%M:%SZ}"
        return KeyRefusal(
            f"{name} has expired at {end}", f"an administrator makes a new one: {_MAKE} --days N"
        )
    return None
