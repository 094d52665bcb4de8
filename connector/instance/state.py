"""The state of a disk follows from its journal's records: its base, its interrupted attempts, and whether it is settled."""

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
from connector.transfer.reasons import Piece, Reason, tile

#: Kinds of passes that need no base, because they are about the whole disk.
WHOLE: Final = frozenset(kind for kind in PassKind if kind.is_whole)
ONWARD: Final = frozenset(PassKind) - WHOLE  # kinds that continue from the base
NO_ROOTS: Final = "its journal is of an older release and has no roots"
LOOSE: Final = 1024  # extents that may be added before they are merged


@dataclass(slots=True)
class DiskAttempt:
    """One attempt at an unfinished reading, and its durable extents by range state."""

    begin: PassBegin
    named: tuple[list[tuple[int, int]], ...] = field(default_factory=lambda: tuple([] for _ in RangeState))
    _room: int = LOOSE  # extents that may still be added before they are merged

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
"""The extents of a finished reading by range state, newest attempt first. Of overlapping extents the first counts."""


@dataclass(slots=True)
class DiskState:
    """`touched`: a pass has written to the target. `settled`: the target shows exactly the end of its last reading
    (invariant 10). `doubt`: why no delta may continue from the base. `spoiled`: where the target is known to be wrong.
    `story`: what the last finished reading delivered; `mended`: what was repaired after proofs.

    `target`: the id of the target. `generation`: how many readings have ended on it. `root` and `previous`: the roots of
    the digest table at the end of the last reading and of the one before, if known. `unknown`: the journal has no nodes
    for the table; a pass must deliver the whole disk before the table can be trusted again.
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
        """The root of the base; empty without a base, and for a base of an older release."""
        return self.root if self.base is not None else b""

    @property
    def is_mending(self) -> bool:
        """Whether the running attempt repairs the base's own reading: it adds to its story, and makes no new generation."""
        return self.base is not None and any(
            a.begin.reading_id == self.base.reading_id for a in self.attempts[-1:]
        )

    def durable(self) -> list[Extent]:
        """The durable extents of the unfinished attempts."""
        return ranges.union(*(attempt.durable for attempt in self.attempts))

    @classmethod
    def fold(cls, capacity: int, records: Iterable[Record]) -> DiskState:
        state = cls(capacity)
        for record in records:
            state.apply(record)
        return state

    def apply(self, record: Record) -> None:
        """Apply one record. It is never refused here, because it was checked before it was written."""
        match record:
            case Ranges():
                self.name([(kind, start, length) for (start, length), kind in record.ranges])
            case PassBegin():
                self._begin(record)
            case PassEnd():
                self._end(record)
            case Discard():
                self._discard()
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
            case NodeRecord():  # nodes are in a `NodeArray`
                pass

    def current(self, reading_id: str) -> DiskAttempt:
        """The running attempt. Raises Conflict when it is of another reading."""
        if not self.attempts or self.attempts[-1].begin.reading_id != reading_id:
            raise Conflict(f"pass {reading_id} is not the running pass", remedy="begin the pass first")
        return self.attempts[-1]

    def missing(self, reading_id: str, cover: Sequence[Extent], todo: Sequence[Extent]) -> list[Extent]:
        """The ranges that are missing before the reading can be the base (invariant 2). Raises Conflict.

        A comparing pass must deliver the whole disk, and so must a full pass when the disk's content is unknown. Ranges
        that are known to be wrong are missing too.
        """
        attempt = self.current(reading_id)
        if attempt.begin.kind == PassKind.COMPARE or (self.unknown and attempt.begin.kind in WHOLE):
            cover = ranges.union(cover, ranges.whole(self.capacity))
        together = ranges.union(*(a.durable for a in self.attempts))
        own = ranges.subtract(todo, attempt.durable)
        return ranges.union(ranges.subtract(cover, together), own, self.spoiled)

    def check_begin(self, begin: PassBegin) -> bool:
        """True when `begin` is new, False when it is already the running attempt. Raises Conflict.

        The same reading may begin again as another pass kind: vCenter may have lost the changes meanwhile.
        """
        if begin.kind not in WHOLE | ONWARD:
            raise Conflict(
                f"a pass is full, delta, compare or repair, not {begin.kind!r}",
                remedy="run the same release on appliance and instance",
            )
        for attempt in self.attempts:
            if (attempt.begin.reading_id, attempt.begin.kind) == (begin.reading_id, begin.kind):
                if attempt.begin == begin and attempt is self.attempts[-1]:
                    return False
                raise Conflict(f"pass {begin.reading_id} was begun differently", remedy="use a new pass id")
        if begin.kind in ONWARD:
            self._check_base(begin)
        elif self.base is not None and self.base.reading_id == begin.reading_id:
            raise Conflict(f"pass {begin.reading_id} is finished", remedy="use a new pass id")
        if any(a.begin.kind == begin.kind and a.begin.identity != begin.identity for a in self.attempts):
            raise Conflict(
                "interrupted attempts read another source disk", remedy="discard the attempts first"
            )
        return True

    def _check_base(self, begin: PassBegin) -> None:
        if self.base is not None and self.base.reading_id == begin.reading_id:
            if begin.kind == PassKind.REPAIR and _same_instant(self.base, begin):
                return
            raise Conflict(f"pass {begin.reading_id} is finished", remedy="use a new pass id")
        base = self.base.change_id if self.base else ""
        if not base or base != begin.base_change_id:
            raise Conflict(
                f"the base is {base or 'missing'}, not {begin.base_change_id or 'empty'}",
                remedy="run a comparing pass",
            )
        if self.doubt:
            raise Conflict(
                f"no {begin.kind} may continue from the base: {self.doubt}", remedy="run a comparing pass"
            )

    def _begin(self, begin: PassBegin) -> None:
        mending = self.base is not None and self.base.reading_id == begin.reading_id
        if begin.kind in WHOLE:  # the base is missing or not trusted
            self.base = None
        self.attempts = [a for a in self.attempts if a.begin.kind == begin.kind]
        if not mending and not self.attempts:
            self.story, self.mended = (), []
        self.attempts.append(DiskAttempt(begin))
        self.touched, self.settled = True, False

    def name(self, rows: Sequence[Row]) -> None:
        """Apply the entries of a RANGES record."""
        if not self.attempts:
            return
        self.attempts[-1].add(rows)
        if self.spoiled:
            healed = ranges.intersect(self.spoiled, [Extent(start, length) for _, start, length in rows])
            self.spoiled = ranges.subtract(self.spoiled, healed)
            self.mended = ranges.union(self.mended, healed)

    def _discard(self) -> None:
        """Forget the attempts. What they repaired is wrong again: no delta from the base delivers these ranges."""
        for attempt in self.attempts:
            repaired = ranges.intersect(self.mended, attempt.durable)
            if self.base is not None and attempt.begin.reading_id == self.base.reading_id:
                repaired = attempt.durable
            self.spoiled = ranges.union(self.spoiled, repaired)
        self.mended = ranges.subtract(self.mended, self.spoiled)
        self.attempts = []

    def _identify(self, target: TargetRecord) -> None:
        self.target = target.target_id
        if target.reason:
            self._forget(self.capacity)
            self.generation, self.root, self.previous, self.spoiled = 0, b"", b"", []
            self.touched, self.doubt, self.unknown = True, target.reason, True
        elif self.touched:  # an older release, which kept no nodes, wrote the records before
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
            self.base, self.story = self.attempts[-1].begin, _story(self.attempts)
        self.attempts, self.doubt, self.settled = [], "", not self.spoiled


def account(state: DiskState) -> list[Piece]:
    """Every byte with its reason at the end of the last finished reading: pieces that tile the disk."""
    onward = state.base is not None and state.base.kind in ONWARD
    reasons = {
        RangeState.DATA: Reason.CHANGED if onward else Reason.DATA,
        RangeState.ZERO: Reason.ZERO,
        RangeState.HOLE: Reason.UNALLOCATED,
        RangeState.SAME: Reason.EQUAL,
    }
    claims = [(Reason.REPAIRED, state.mended), *((reasons[kind], extents) for kind, extents in state.story)]
    return tile(state.capacity, claims, Reason.UNCHANGED if onward else Reason.UNALLOCATED)


def _story(attempts: Sequence[DiskAttempt]) -> Story:
    """The story of these attempts. An attempt has a range in two states only when it was sent twice: then `data` counts."""
    order = (RangeState.DATA, RangeState.ZERO, RangeState.HOLE, RangeState.SAME)
    return tuple(
        (kind, tuple(ranges.normalise(attempt.named[kind])))
        for attempt in reversed(attempts)
        for kind in order
        if attempt.named[kind]
    )


def _same_instant(first: PassBegin, second: PassBegin) -> bool:
    return (first.snapshot, first.change_id) == (second.snapshot, second.change_id)
