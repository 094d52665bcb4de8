"""What limits the rate of a pass: the words of the public API, and what each is called where people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Words of the API that have another one for people. A word that is not here is shown as it is.
LIMITS: Final[Mapping[str, str]] = {
    "reading": "reading the source",
    "network": "the network",
    "limit": "the bandwidth limit",
    "cpu": "the appliance's processor",
    "writing": "writing the target",
}


def named(word: str) -> str:
    """What limits the rate, for people; empty while nobody knows."""
    return LIMITS.get(word, word)
