"""The limit of a pass's rate has one word in the public API and one for people.

Which limit it is decides `_Pipeline._weigh` in `connector/transfer/sender.py`, anew for each interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: The words for people. A word of the API that is not here is shown unchanged.
LIMITS: Final[Mapping[str, str]] = {
    "reading": "reading the source",
    "network": "the network",
    "limit": "the bandwidth limit",
    "cpu": "the appliance's processor",
    "writing": "writing the target",
}


def named(word: str) -> str:
    """What limits the rate, for people; empty while it is unknown."""
    return LIMITS.get(word, word)
