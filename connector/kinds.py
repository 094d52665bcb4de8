"""The enumerations that several rooms share: pass kinds and range states."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class PassKind(StrEnum):
    """How one pass brings one disk up to date. Journals, evidence and reports have these words."""

    FULL = "full"  # everything that is allocated is read and sent
    DELTA = "delta"  # what changed since the base, as CBT says, is read and sent
    COMPARE = "compare"  # everything is read; what the target does not hold is sent
    REPAIR = "repair"  # a delta that also sends again what a proof found wrong

    @property
    def is_whole(self) -> bool:
        """Whether the pass is about the whole disk and needs no base."""
        return self in (PassKind.FULL, PassKind.COMPARE)


class RangeState(IntEnum):
    """What was delivered for a range, for the sender, on the wire and in the journal. Journals have these numbers."""

    DATA = 0  # read, and sent
    ZERO = 1  # read, and all zeros
    SAME = 2  # read, and equal to what the target holds
    HOLE = 3  # not read: the source has nothing there, it reads as zeros
