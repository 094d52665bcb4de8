"""The enumerations that several rooms share: how a pass looks at a disk, and what a range of bytes is."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class PassKind(StrEnum):
    """How one pass brings one disk up to date. The words stand in journals, evidence and reports."""

    FULL = "full"  # everything that is allocated is read and sent
    DELTA = "delta"  # what CBT says has changed since the base is read and sent
    COMPARE = "compare"  # everything is read; what the target does not hold is sent
    REPAIR = "repair"  # what the proof found wrong is read and sent again

    @property
    def is_whole(self) -> bool:
        """Whether the pass looks at the whole disk, whatever the base is."""
        return self in (PassKind.FULL, PassKind.COMPARE)


class RangeState(IntEnum):
    """What a range is, for the sender, on the wire and in the journal. The numbers stand in journals."""

    DATA = 0  # read, and sent
    ZERO = 1  # read, and it was zeros
    SAME = 2  # read, and equal to what the target holds
    HOLE = 3  # not read: the source has nothing there, it reads as zeros
