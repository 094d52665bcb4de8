"""One formula says how long to wait before the next try; each loop has a named policy.

A loop that a stop must end at once waits on the stop's event, with pauses from here. Other loops use stamina (`retrying`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import stamina


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first and the longest pause, in seconds; each pause is twice the one before.

    `spread`: pauses are shortened at random, by half at most, so that many callers do not return at the same time.
    """

    first: float
    longest: float
    spread: bool = True

    def pause(self, failures: int) -> float:
        """Seconds to wait after this number of failures in a row, 1 or more."""
        pause = min(self.longest, self.first * 2.0 ** min(32, max(0, failures - 1)))
        return pause * random.uniform(0.5, 1.0) if self.spread else pause  # noqa: S311 - guards nothing


#: Calls to a process of ours that restarts.
PEER = Backoff(0.2, 5.0)
#: Reads of a source, and new connections to an instance.
TRANSFER = Backoff(0.5, 30.0)
#: Opening a disk on its host.
OPENING = Backoff(1.0, 5.0, spread=False)
#: Calls to vCenter.
VCENTER = Backoff(2.0, 60.0, spread=False)
#: Logins from one address, after the free attempts.
LOGIN = Backoff(2.0, 60.0, spread=False)
#: Calls to a cloud's API.
CLOUD = Backoff(0.5, 10.0)
#: Steps of a run.
STEP = Backoff(0.1, 10.0)
#: Attempts to deliver one notification.
NOTIFICATION = Backoff(5.0, 900.0)
#: The metadata service of a booting instance.
METADATA_SERVICE = Backoff(0.1, 5.0)


def retrying(
    policy: Backoff,
    on: type[Exception] | Callable[[Exception], bool],
    *,
    attempts: int | None = None,
    timeout: float | None = None,
) -> Iterator[stamina.Attempt]:
    """Attempts as stamina makes them: `for attempt in retrying(...): with attempt: ...`. The last failure is raised."""
    import stamina

    return iter(
        stamina.retry_context(
            on=on, attempts=attempts, timeout=timeout, wait_initial=policy.first, wait_max=policy.longest
        )
    )
