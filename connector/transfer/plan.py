"""What a pass still has to deliver: never less than what the target lacks, and never what it already
holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connector.model import Extent
from connector.transfer import extents as ranges


@dataclass(frozen=True, slots=True)
class InterruptedAttempt:
    """An interrupted attempt at the same pass, as the plan needs it.

    `durable` is what its journal names; `changed` is what changed on the source between the change id under
    which the attempt read and now (empty when the attempt read the same snapshot).
    """

    durable: Sequence[Extent]
    changed: Sequence[Extent] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`read` is to be read and sent, `zero` reads as zeros without looking, `cover` is what the journal must
    name at the end.

    All three are made of whole cells; `read` and `zero` are disjoint.
    """

    read: list[Extent]
    zero: list[Extent]
    cover: list[Extent]

    @property
    def todo(self) -> list[Extent]:
        """What this attempt itself must deliver."""
        return ranges.union(self.read, self.zero)


def plan(
    capacity: int,
    wanted: Iterable[Extent],
    attempts: Sequence[InterruptedAttempt] = (),
    *,
    allocated: Iterable[Extent] | None = None,
    dirty: bool = False,
) -> Plan:
    """Plan a pass (invariant 9). `attempts` are ordered oldest first.

    `wanted` is what is allocated (full pass) or changed (delta) under the snapshot that is read now.
    `allocated`, when given, tells which of it must be read at all: the rest reads as zeros. `dirty` says
    that the target may hold bytes of an earlier pass where this full pass has nothing: such cells are named
    as zeros.
    """
    want = ranges.align(wanted, capacity)
    durable, stale = _weigh(capacity, attempts)
    todo = ranges.union(ranges.subtract(want, durable), stale)
    zero: list[Extent] = []
    if allocated is not None:
        zero = ranges.subtract(todo, ranges.align(allocated, capacity))
    if dirty:
        zero = ranges.union(zero, ranges.subtract(ranges.whole(capacity), ranges.union(want, todo)))
    return Plan(ranges.subtract(todo, zero), zero, ranges.union(want, todo, zero))


def _weigh(capacity: int, attempts: Sequence[InterruptedAttempt]) -> tuple[list[Extent], list[Extent]]:
    """All that is durable, and the part of it that changed since; a later delivery outweighs an earlier
    one.
    """
    durable: list[Extent] = []
    stale: list[Extent] = []
    for attempt in reversed(attempts):
        mine = ranges.subtract(attempt.durable, durable)
        changed = ranges.align(attempt.changed, capacity)
        stale = ranges.union(stale, ranges.intersect(mine, changed))
        durable = ranges.union(durable, attempt.durable)
    return durable, stale
