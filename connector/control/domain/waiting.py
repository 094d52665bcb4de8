"""A job's `waiting` says to people why its pass waits; here it becomes one of few words, for metrics. Pure."""

from __future__ import annotations

import re
from typing import Final

#: The word by the beginning of the text, as `store/pass_queue.py`, `store/limits.py` and `domain/cohorts.py` write it.
REASONS: Final = (
    ("resting", r"rests, "),
    ("appliance_offline", r"waits: (the appliance .* is not online|n(o|one of the) appliance.* is online)"),
    ("appliance_busy", r"waits for room at "),
    ("limit", r"waits: \d+ of \d+ .*\(limit \w+\)$"),
    ("turn", r"waits its turn behind "),
    (
        "application",
        r"(waits for .* to (be ready|be off|run again)$|waits: its application|proved, waits for )",
    ),
    ("new", r"$"),
)
OTHER: Final = "other"


def reason(text: str) -> str:
    """The word for this text; `new`: nobody has looked yet."""
    return next((word for word, pattern in REASONS if re.match(pattern, text)), OTHER)
