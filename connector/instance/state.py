"""What a journal means: folding its records gives a disk's base, its interrupted attempts, and whether it is
settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from connector.errors import Conflict
from connector.instance.records import (
    Discard,
    DoubtRecord,
    Grown,
    NodeRecord,
    PassBegin,
    PassEnd,
    Ranges,
    Record,
    Root,
    Row,
    Spoiled,
    TargetRecord,
)
from connector.kinds import PassKind, RangeState
from connector.model import Extent
from connector.transfer import extents as ranges
from connector.transfer.tiling import Piece, Reason, tile

WHOLE: Final = frozenset(
    kind for kind in PassKind if kind.is_whole
)  # passes that look at the whole disk, whatever the base is
ONWARD: Final = frozenset(PassKind) - WHOLE  # passes that go on from the base
NO_ROOTS: Final = "its journal is of an older release and has no roots"
LOOSE: Final = 1024  # extents that may wait before they are merged


@dataclass(slots=True)
class DiskAttempt:
    """One attempt at the pass that is not finished, and what of it is durable, by what was named."""

    begin: PassBegin
    named: tuple[list[tuple[int, int]], ...] = field(default_factory=lambda: tuple([] for _ in RangeState))
    _room: int = LOOSE  # extents that may come before they are merged

    def add(self, rows: Sequence[Row]) -> None:
        named = self.named
        for kind, start, length in rows:
            named[kind].append((start, length))
        self._room -= len(rows)
        if self._room < 0:
            self._merge()

    def _merge(self) -> None:
        for extents in self.named:
            extents[:] = ranges.normalise(extents)
        self._room = LOOSE + sum(len(extents) for extents in self.named)

    @property
    def durable(self) -> list[Extent]:
        return ranges.union(*self.named)


Story = tuple[tuple[RangeState, tuple[Extent, ...]], ...]
"""What a finished pass named, newest attempt first: of an extent that is named twice the first entry counts."""


@dataclass(slots=True)
class DiskState:
    """`touched`: some pass wrote here once. `settled`: the target shows exactly the end of its last pass
    (invariant 10). `doubt`: why no delta may go on from the base. `spoiled`: where the target is known to
    differ from what was sent. `story`: how the last finished pass came about; `mended` of it after proofs.
    `target`: the id of the target; `generation`: how many readings it has seen end; `root` and `previous`: of the digest
    table at the end of the last of them and of the one before, while they are known. `unknown`: the table is not what
    a journal of ours says; a pass must name the whole disk before it can be trusted again.
    """

    capacity: int
    base: PassBegin | None = None
    attempts: list[DiskAttempt] = field(default_factory=list)
    touched: bool = False
    settled: bool = False
    doubt: str = ""
    spoiled: list[Extent] = field(default_factory=list)
    story: Story = ()
    mended: list[Extent] = field(default_factory=list)
    target: str = ""
    generation: int = 0
    root: bytes = b""
    previous: bytes = b""
    unknown: bool = False

    @property
    def base_root(self) -> bytes:
        """The root of the base; empty without one, and for the base of an older release."""
        return self.root if self.base is not None else b""

    @property
    def is_mending(self) -> bool:
        """The running attempt repairs what the base's own reading left wrong: it adds to its story, and makes no generation."""
        return self.base is not None and any(a.begin.pass_id == self.base.pass_id for a in self.attempts[-1:])

    def durable(self) -> list[Extent]:
        """What the unfinished attempts name."""
        return ranges.union(*(attempt.durable for attempt in self.attempts))

    @classmethod
    def fold(cls, capacity: int, records: Iterable[Record]) -> DiskState:
        state = cls(capacity)
        for record in records:
            state.apply(record)
        return state

    def apply(self, record: Record) -> None:
        """Take one record into account; records are never refused here (that happens before they are
        written).
        """
        match record:
            case Ranges():
                self.name([(kind, start, length) for (start, length), kind in record.ranges])
            case PassBegin():
                self._begin(record)
            case PassEnd():
                self._end(record)
            case Discard():
                self.attempts = []
            case DoubtRecord():
                self.doubt = record.reason
            case Spoiled():
                self.spoiled, self.settled = ranges.union(self.spoiled, record.areas), False
            case Grown():
                self._forget(record.capacity)
                self.unknown = self.touched
            case TargetRecord():
                self._identify(record)
            case Root():
                self.root, self.unknown = record.root, False
            case NodeRecord():  # they are kept apart, in a flat array
                pass

    def current(self, pass_id: str) -> DiskAttempt:
        """The running attempt. Raises Conflict when `pass_id` is not it."""
        if not self.attempts or self.attempts[-1].begin.pass_id != pass_id:
            raise Conflict(f"pass {pass_id} is not the running pass", remedy="begin the pass first")
        return self.attempts[-1]

    def missing(self, pass_id: str, cover: Sequence[Extent], todo: Sequence[Extent]) -> list[Extent]:
        """What the pass must still name before it can be the base (invariant 2). Raises Conflict.

        A comparing pass must name the whole disk, and so must a full one when it is not known what the disk holds.
        Nothing may be left that is known to be wrong.
        """
        attempt = self.current(pass_id)
        if attempt.begin.kind == PassKind.COMPARE or (self.unknown and attempt.begin.kind in WHOLE):
            cover = ranges.union(cover, ranges.whole(self.capacity))
        together = ranges.union(*(a.durable for a in self.attempts))
        lacking = ranges.subtract(todo, attempt.durable)
        return ranges.union(ranges.subtract(cover, together), lacking, self.spoiled)

    def check_begin(self, begin: PassBegin) -> bool:
        """True when `begin` is new, False when it is the running attempt already. Raises Conflict.

        The same reading may begin again as another kind: vCenter may have lost the changes meanwhile.
        """
        if begin.kind not in WHOLE | ONWARD:
            raise Conflict(
                f"a pass is full, delta, compare or repair, not {begin.kind!r}",
                remedy="run the same release on appliance and instance",
            )
        for attempt in self.attempts:
            if (attempt.begin.pass_id, attempt.begin.kind) == (begin.pass_id, begin.kind):
                if attempt.begin == begin and attempt is self.attempts[-1]:
                    return False
                raise Conflict(f"pass {begin.pass_id} was begun differently", remedy="use a new pass id")
        if begin.kind in ONWARD:
            self._check_base(begin)
        elif self.base is not None and self.base.pass_id == begin.pass_id:
            raise Conflict(f"pass {begin.pass_id} is finished", remedy="use a new pass id")
        if any(a.begin.kind == begin.kind and a.begin.identity != begin.identity for a in self.attempts):
            raise Conflict(
                "interrupted attempts read another source disk", remedy="discard the attempts first"
            )
        return True

    def _check_base(self, begin: PassBegin) -> None:
        if self.base is not None and self.base.pass_id == begin.pass_id:
            if begin.kind == PassKind.REPAIR and _same_instant(self.base, begin):
                return
            raise Conflict(f"pass {begin.pass_id} is finished", remedy="use a new pass id")
        base = self.base.change_id if self.base else ""
        if not base or base != begin.base_change_id:
            raise Conflict(
                f"the base is {base or 'missing'}, not {begin.base_change_id or 'empty'}",
                remedy="run a comparing pass",
            )
        if self.doubt:
            raise Conflict(f"no {begin.kind} goes on from it: {self.doubt}", remedy="run a comparing pass")

    def _begin(self, begin: PassBegin) -> None:
        mending = self.base is not None and self.base.pass_id == begin.pass_id
        if begin.kind in WHOLE:  # it is run because the base is missing or not trusted
            self.base = None
        self.attempts = [a for a in self.attempts if a.begin.kind == begin.kind]
        if not mending and not self.attempts:
            self.story, self.mended = (), []
        self.attempts.append(DiskAttempt(begin))
        self.touched, self.settled = True, False

    def name(self, rows: Sequence[Row]) -> None:
        """What RANGES says, without a record around it."""
        if not self.attempts:
            return
        self.attempts[-1].add(rows)
        if self.spoiled:
            healed = ranges.intersect(self.spoiled, [Extent(start, length) for _, start, length in rows])
            self.spoiled = ranges.subtract(self.spoiled, healed)
            self.mended = ranges.union(self.mended, healed)

    def _identify(self, target: TargetRecord) -> None:
        self.target = target.target_id
        if target.reason:
            self._forget(self.capacity)
            self.generation, self.root, self.previous, self.spoiled = 0, b"", b"", []
            self.touched, self.doubt, self.unknown = True, target.reason, True
        elif self.touched:  # what comes before was written by a release that kept no nodes
            self.unknown = True
            self.doubt = self.doubt or (NO_ROOTS if self.base is not None else "")

    def _forget(self, capacity: int) -> None:
        self.capacity, self.base, self.attempts, self.settled = capacity, None, [], False
        self.story, self.mended = (), []

    def _end(self, end: PassEnd) -> None:
        if not self.attempts:
            return
        self.root, self.unknown = end.root, self.unknown and not end.root
        if not self.is_mending:
            self.generation, self.previous = self.generation + 1, end.previous
            self.base, self.story = self.attempts[-1].begin, _told(self.attempts)
        self.attempts, self.doubt, self.settled = [], "", not self.spoiled


def account(state: DiskState) -> list[Piece]:
    """Why the target holds what it holds at the end of its last finished pass: pieces that tile the disk."""
    onward = state.base is not None and state.base.kind in ONWARD
    words = {
        RangeState.DATA: Reason.CHANGED if onward else Reason.DATA,
        RangeState.ZERO: Reason.ZERO,
        RangeState.HOLE: Reason.UNALLOCATED,
        RangeState.SAME: Reason.EQUAL,
    }
    claims = [(Reason.REPAIRED, state.mended), *((words[kind], extents) for kind, extents in state.story)]
    return tile(state.capacity, claims, Reason.UNCHANGED if onward else Reason.UNALLOCATED)


def _told(attempts: Sequence[DiskAttempt]) -> Story:
    """Within one attempt nothing is named twice with different words, unless it was replayed: bytes win."""
    order = (RangeState.DATA, RangeState.ZERO, RangeState.HOLE, RangeState.SAME)
    return tuple(
        (kind, tuple(ranges.normalise(attempt.named[kind])))
        for attempt in reversed(attempts)
        for kind in order
        if attempt.named[kind]
    )


def _same_instant(one: PassBegin, other: PassBegin) -> bool:
    return (one.snapshot, one.change_id) == (other.snapshot, other.change_id)
