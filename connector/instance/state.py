"""What a journal means: folding its records gives a disk's base, its interrupted attempts, and whether it is
settled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from connector.errors import Conflict
from connector.instance.journal import Discard, Grown, PassBegin, PassEnd, Ranges, Record
from connector.model import Extent
from connector.transfer import extents as ranges


@dataclass(slots=True)
class Attempt:
    """One attempt at the pass that is not finished, and what of it is durable."""

    begin: PassBegin
    found: list[Extent] = field(default_factory=list)

    @property
    def durable(self) -> list[Extent]:
        self.found = ranges.normalise(self.found)
        return self.found


@dataclass(slots=True)
class State:
    """`touched`: some pass wrote here once. `settled`: the target shows exactly the end of its last pass
    (invariant 10).
    """

    capacity: int
    base: PassBegin | None = None
    attempts: list[Attempt] = field(default_factory=list)
    touched: bool = False
    settled: bool = False

    @classmethod
    def fold(cls, capacity: int, records: Iterable[Record]) -> State:
        state = cls(capacity)
        for record in records:
            state.apply(record)
        return state

    def apply(self, record: Record) -> None:
        """Take one record into account; records are never refused here (that happens before they are
        written).
        """
        match record:
            case PassBegin():
                self._begin(record)
            case Ranges():
                if self.attempts:
                    self.attempts[-1].found.extend(extent for extent, _ in record.ranges)
            case PassEnd():
                if self.attempts:
                    self.base, self.attempts, self.settled = self.attempts[-1].begin, [], True
            case Discard():
                self.attempts = []
            case Grown():
                self.capacity, self.base, self.attempts, self.settled = record.capacity, None, [], False

    def current(self, pass_id: str) -> Attempt:
        """The running attempt. Raises Conflict when `pass_id` is not it."""
        if not self.attempts or self.attempts[-1].begin.pass_id != pass_id:
            raise Conflict(f"pass {pass_id} is not the running pass", remedy="begin the pass first")
        return self.attempts[-1]

    def check_begin(self, begin: PassBegin) -> bool:
        """True when `begin` is new, False when it is the running attempt already. Raises Conflict."""
        if begin.kind not in ("full", "delta"):
            raise Conflict(f"a pass is full or delta, not {begin.kind!r}")
        for attempt in self.attempts:
            if attempt.begin.pass_id == begin.pass_id:
                if attempt.begin == begin and attempt is self.attempts[-1]:
                    return False
                raise Conflict(f"pass {begin.pass_id} was begun differently", remedy="use a new pass id")
        if self.base is not None and self.base.pass_id == begin.pass_id:
            raise Conflict(f"pass {begin.pass_id} is finished", remedy="use a new pass id")
        base = self.base.change_id if self.base else ""
        if begin.kind == "delta" and (not base or base != begin.base_change_id):
            raise Conflict(
                f"the base is {base or 'missing'}, not {begin.base_change_id or 'empty'}",
                remedy="run a full pass",
            )
        if any(a.begin.kind == begin.kind and a.begin.identity != begin.identity for a in self.attempts):
            raise Conflict(
                "interrupted attempts read another source disk", remedy="discard the attempts first"
            )
        return True

    def _begin(self, begin: PassBegin) -> None:
        if begin.kind == "full":  # a full pass is run because the base is missing or not trusted
            self.base = None
        self.attempts = [a for a in self.attempts if a.begin.kind == begin.kind]
        self.attempts.append(Attempt(begin))
        self.touched, self.settled = True, False
