"""Where intents survive a crash: what is made in vCenter is written down before it is made."""

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
        """It stands, or what it left needs consolidation, although it was to go."""
