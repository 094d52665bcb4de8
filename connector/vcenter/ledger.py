"""An object of vCenter is written into a ledger before the call that creates it, so that a crash forgets none."""

from __future__ import annotations

from typing import Final, Protocol

SNAPSHOT: Final = "snapshot"
TRACKING: Final = "tracking"  # CBT that was off, and is on because of us


class SnapshotLedger(Protocol):
    """Each call must be durable when it returns, and may be repeated. From any thread."""

    def planned(self, machine: str, token: str, kind: str = SNAPSHOT) -> None: ...

    def created(self, machine: str, token: str, snapshot: str) -> None: ...

    def removed(self, machine: str, token: str, kind: str = SNAPSHOT) -> None: ...

    def left(self, machine: str, token: str, why: str) -> None:
        """The removal failed: the snapshot still exists, or its disks still need consolidation."""
