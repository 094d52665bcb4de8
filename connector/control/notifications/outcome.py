"""How an attempt to deliver ended, and how long to wait for the next one. Pure."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from typing import Final

from connector import backoff
from connector.control.store.notifications import LONGEST_PAUSE
from connector.errors import ControlFailed

#: Seconds after which a notification that nobody took is given up.
PATIENCE: Final = 86_400.0
#: Attempts after a refusal that no waiting changes, such as 404. They take about ten minutes.
REFUSALS: Final = 8


class RecipientSilent(ControlFailed):
    """A recipient of notifications does not answer, or does not take one now."""


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """`trouble`: why it failed; empty when the recipient has it. `final`: waiting will hardly help.

    `silent`: nothing answered, so the next notification would fail too. `rest`: seconds that the recipient asks for.
    """

    trouble: str = ""
    final: bool = False
    silent: bool = False
    rest: float = 0.0


def pause(outcome: AttemptOutcome, attempts: int) -> float:
    """Seconds until the next attempt."""
    return min(LONGEST_PAUSE, max(outcome.rest, backoff.NOTIFICATION.pause(attempts)))


def is_hopeless(outcome: AttemptOutcome, attempts: int, age: float) -> bool:
    """Whether no further attempt is made. At least one was made, so a clock that jumps gives nothing up."""
    return age >= PATIENCE or (outcome.final and attempts >= REFUSALS)


def retry_after(header: str, now: float) -> float:
    """The seconds of a `Retry-After`: a number, or a date; 0 for anything else."""
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 0.0
