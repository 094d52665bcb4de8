"""What may break, where, when, and what must come of it: one table, read by the tests and printed in docs/fault-matrix.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Part(StrEnum):
    APPLIANCE = "appliance"
    WORKER = "VDDK worker"
    HOST = "ESXi host (NFC)"
    INSTANCE = "instance"
    CONTROL = "control plane"
    VCENTER = "vCenter"
    NETWORK = "network"
    DISK = "disk"


class Fault(StrEnum):
    KILL = "kill -9"
    HANG = "hang"
    CUT = "cut at byte n"
    FULL = "full disk"
    WRONG = "wrong answer"
    SLOW = "slow"
    FLIP = "flipped bit"
    EXPIRED = "expired session"


class Moment(StrEnum):
    PREPARING = "preparing"
    FIRST = "first block"
    MIDDLE = "middle"
    LAST = "last block"
    FINALISING = "finalising"
    REMOVAL = "snapshot removal"


class Outcome(StrEnum):
    """How far it may go; a milder one is welcome."""

    RETRIED = "retried"  # the pass goes on by itself
    RESUMED = (
        "resumed"  # something is started again, or the pass is given out again, and goes on inside the disk
    )
    CLEAN = "failed clean"  # the job is InError with a catalogued cause; started again it ends equal

    def covers(self, seen: Outcome) -> bool:
        order = list(Outcome)
        return order.index(seen) <= order.index(self)


#: Where bytes flow.
COPYING: Final = (Moment.FIRST, Moment.MIDDLE, Moment.LAST)
ALL: Final = tuple(Moment)
#: How the parts react, and at which moments there is something to hit.
_LINES: Final = (
    (Part.APPLIANCE, Fault.KILL, ALL, Outcome.RESUMED),
    (Part.APPLIANCE, Fault.HANG, ALL, Outcome.RESUMED),
    (Part.APPLIANCE, Fault.SLOW, ALL, Outcome.RETRIED),
    (Part.WORKER, Fault.KILL, COPYING, Outcome.RETRIED),
    (Part.WORKER, Fault.HANG, COPYING, Outcome.RETRIED),
    (Part.WORKER, Fault.CUT, (Moment.PREPARING, *COPYING), Outcome.RETRIED),
    (Part.WORKER, Fault.WRONG, (Moment.PREPARING, *COPYING), Outcome.CLEAN),
    (Part.WORKER, Fault.SLOW, (Moment.PREPARING, *COPYING), Outcome.RETRIED),
    (Part.WORKER, Fault.EXPIRED, (Moment.PREPARING,), Outcome.RETRIED),
    (Part.HOST, Fault.KILL, (Moment.PREPARING, *COPYING), Outcome.RETRIED),
    (Part.HOST, Fault.HANG, COPYING, Outcome.RETRIED),
    (Part.HOST, Fault.CUT, (Moment.PREPARING, *COPYING), Outcome.RETRIED),
    (Part.HOST, Fault.FULL, (Moment.PREPARING,), Outcome.RETRIED),
    (Part.HOST, Fault.WRONG, (Moment.PREPARING, *COPYING), Outcome.CLEAN),
    (Part.HOST, Fault.SLOW, (Moment.PREPARING, *COPYING), Outcome.RETRIED),
    (Part.HOST, Fault.EXPIRED, (Moment.PREPARING,), Outcome.RETRIED),
    (Part.INSTANCE, Fault.KILL, ALL, Outcome.RESUMED),
    (Part.INSTANCE, Fault.HANG, ALL, Outcome.RETRIED),
    (Part.INSTANCE, Fault.SLOW, ALL, Outcome.RETRIED),
    (Part.CONTROL, Fault.KILL, ALL, Outcome.RESUMED),
    (Part.CONTROL, Fault.HANG, ALL, Outcome.RESUMED),
    (Part.CONTROL, Fault.SLOW, ALL, Outcome.RETRIED),
    (Part.CONTROL, Fault.FULL, ALL, Outcome.CLEAN),
    (Part.VCENTER, Fault.KILL, ALL, Outcome.CLEAN),
    (Part.VCENTER, Fault.HANG, ALL, Outcome.RETRIED),
    (Part.VCENTER, Fault.CUT, ALL, Outcome.RESUMED),
    (Part.VCENTER, Fault.WRONG, ALL, Outcome.CLEAN),
    (Part.VCENTER, Fault.SLOW, ALL, Outcome.RETRIED),
    (Part.VCENTER, Fault.EXPIRED, ALL, Outcome.RETRIED),
    (Part.NETWORK, Fault.HANG, (*COPYING, Moment.FINALISING), Outcome.RETRIED),
    (Part.NETWORK, Fault.CUT, (Moment.PREPARING, *COPYING, Moment.FINALISING), Outcome.RESUMED),
    (Part.NETWORK, Fault.WRONG, (Moment.PREPARING, *COPYING, Moment.FINALISING), Outcome.CLEAN),
    (Part.NETWORK, Fault.SLOW, (Moment.PREPARING, *COPYING, Moment.FINALISING), Outcome.RETRIED),
    (Part.NETWORK, Fault.FLIP, (Moment.PREPARING, *COPYING, Moment.FINALISING), Outcome.CLEAN),
    (Part.DISK, Fault.CUT, COPYING, Outcome.RESUMED),
    (Part.DISK, Fault.WRONG, COPYING, Outcome.CLEAN),
    (Part.DISK, Fault.FULL, (Moment.PREPARING, *COPYING, Moment.FINALISING, Moment.REMOVAL), Outcome.CLEAN),
    (Part.DISK, Fault.FLIP, (Moment.MIDDLE, Moment.LAST, Moment.FINALISING, Moment.REMOVAL), Outcome.CLEAN),
)

#: Why the other cells are empty.
_NOTHING_THERE: Final = "there is no such thing to hit then"
WHY_NOT: Final = {
    (Part.APPLIANCE, Fault.CUT): "its conversations are cut under vCenter and network",
    (Part.APPLIANCE, Fault.FULL): "a pass writes nothing on the appliance",
    (Part.APPLIANCE, Fault.WRONG): "it asks, it answers nobody",
    (Part.APPLIANCE, Fault.FLIP): "memory is not ours to check",
    (Part.APPLIANCE, Fault.EXPIRED): "see vCenter",
    (Part.WORKER, Fault.FULL): "it writes nothing",
    (
        Part.WORKER,
        Fault.FLIP,
    ): "what VDDK reports as read is the only truth there is; the audit compares it with the target",
    (
        Part.HOST,
        Fault.FLIP,
    ): "TLS finds what is flipped on the way; what the host reads is the only truth there is, and the audit compares it",
    (Part.INSTANCE, Fault.CUT): "see network, and the journal under disk",
    (Part.INSTANCE, Fault.FULL): "see disk",
    (Part.INSTANCE, Fault.WRONG): "see network",
    (Part.INSTANCE, Fault.FLIP): "see disk",
    (Part.INSTANCE, Fault.EXPIRED): "a credential outlives its pass",
    (Part.CONTROL, Fault.CUT): "appliances repeat every call; see kill -9",
    (Part.CONTROL, Fault.WRONG): "its certificate is pinned",
    (Part.CONTROL, Fault.FLIP): "its database checks its own pages",
    (Part.CONTROL, Fault.EXPIRED): "an appliance's credential does not expire",
    (Part.VCENTER, Fault.FULL): "the datastore's governor has tests of its own",
    (Part.VCENTER, Fault.FLIP): "TLS: see network",
    (Part.NETWORK, Fault.KILL): "see cut",
    (Part.NETWORK, Fault.FULL): _NOTHING_THERE,
    (Part.NETWORK, Fault.EXPIRED): _NOTHING_THERE,
    (Part.DISK, Fault.KILL): "see cut",
    (Part.DISK, Fault.HANG): "see instance",
    (Part.DISK, Fault.SLOW): "see instance",
    (Part.DISK, Fault.EXPIRED): _NOTHING_THERE,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing that breaks once."""

    part: Part
    fault: Fault
    moment: Moment
    outcome: Outcome

    @property
    def id(self) -> str:
        return "-".join(str(word).replace(" ", "_") for word in (self.part, self.fault, self.moment))


CELLS: Final = tuple(
    Cell(part, fault, moment, outcome) for part, fault, moments, outcome in _LINES for moment in moments
)


def page() -> str:
    """docs/fault-matrix.md."""
    return "\n".join([_INTRODUCTION.format(cells=len(CELLS)), *_table(), "", _WHY, *_reasons(), ""])


def _table() -> Iterator[str]:
    yield f"| part | fault | {' | '.join(ALL)} |"
    yield f"|---|---|{'---|' * len(ALL)}"
    for part, fault, moments, outcome in _LINES:
        cells = [str(outcome) if moment in moments else "-" for moment in ALL]
        yield f"| {part} | {fault} | {' | '.join(cells)} |"


def _reasons() -> Iterator[str]:
    yield "| part | fault | why not |"
    yield "|---|---|---|"
    for (part, fault), reason in WHY_NOT.items():
        yield f"| {part} | {fault} | {reason} |"


_INTRODUCTION: Final = """# Fault matrix

{cells} cells, each a test (`make faults`): a machine of two disks is migrated, one thing breaks at one moment, once. Afterwards

- the image equals the source byte for byte; or the job is `InError` with a cause from the error catalogue, and equals it after
  the cause is gone and the job was started again;
- the other machines in vCenter, and the snapshots of others, are as before;
- no snapshot of ours is left;
- what was sent twice fits into one window of the pass.

| word | meaning |
|---|---|
| retried | the pass goes on by itself; at most a connection or a reader is opened again |
| resumed | a process is started again, or the pass is given out again; it goes on inside the disk |
| failed clean | the job may end in `InError`; starting it again goes on inside the disk |

In the lines of the ESXi host the job reads over NFC; "full disk" is its memory for NFC, and "expired session" its tickets.
A cell says how far it may go at most. Generated from `tests/faults/matrix.py`; a test compares.
"""
_WHY: Final = "Empty cells of a line: nothing of that kind is there to be hit at that moment. Lines that are not there:\n"
