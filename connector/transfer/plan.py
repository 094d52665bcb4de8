"""The plan of a pass names what it must still deliver: all that the target lacks, and nothing that it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connector.model import Extent
from connector.transfer import extents as ranges


@dataclass(frozen=True, slots=True)
class InterruptedAttempt:
    """An interrupted attempt at the same pass, as the plan needs it.

    `durable` is what the journal has of it. `changed` is what changed on the source since the attempt's change id (empty
    when the attempt read the same snapshot).
    """

    durable: Sequence[Extent]
    changed: Sequence[Extent] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`read` must be read and sent, `zero` is known to be zeros, `cover` is what the journal must have at the end.

    All three are made of whole cells; `read` and `zero` are disjoint.
    """

    read: list[Extent]
    zero: list[Extent]
    cover: list[Extent]

    @property
    def todo(self) -> list[Extent]:
        """The ranges that this attempt must deliver."""
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

    `wanted` is what is allocated (full pass) or changed (delta) under the snapshot that is read now. If `allocated` is
    given, only these parts of it must be read: the rest of it reads as zeros. Of what lies outside of `wanted` nothing is
    known, so it is read. `dirty` says that the target may hold bytes of an
    earlier pass where this full pass has nothing: such cells are delivered as zeros.
    """
    want = ranges.align(wanted, capacity)
    durable, stale = _weigh(capacity, attempts)
    todo = ranges.union(ranges.subtract(want, durable), stale)
    zero: list[Extent] = []
    if allocated is not None:
        zero = ranges.subtract(ranges.intersect(todo, want), ranges.align(allocated, capacity))
    if dirty:
        zero = ranges.union(zero, ranges.subtract(ranges.whole(capacity), ranges.union(want, todo)))
    return Plan(ranges.subtract(todo, zero), zero, ranges.union(want, todo, zero))


def _weigh(capacity: int, attempts: Sequence[InterruptedAttempt]) -> tuple[list[Extent], list[Extent]]:
    """All that is durable, and the part of it that changed since. A later delivery replaces an earlier one."""
    durable: list[Extent] = []
    stale: list[Extent] = []
    for attempt in reversed(attempts):
        delivered = ranges.subtract(attempt.durable, durable)
        changed = ranges.align(attempt.changed, capacity)
        stale = ranges.union(stale, ranges.intersect(delivered, changed))
        durable = ranges.union(durable, attempt.durable)
    return durable, stale
