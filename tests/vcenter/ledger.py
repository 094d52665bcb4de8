"""A ledger that tells in which order it was told."""

from __future__ import annotations


class Memory:
    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []  # about snapshots
        self.tracking: list[tuple[str, ...]] = []

    def planned(self, machine: str, token: str, kind: str = "snapshot") -> None:
        if kind == "snapshot":
            self.told.append(("planned", machine, token))
        else:
            self.tracking.append(("planned", machine, token))

    def created(self, machine: str, token: str, snapshot: str) -> None:
        self.told.append(("created", machine, token, snapshot))

    def removed(self, machine: str, token: str, kind: str = "snapshot") -> None:
        (self.told if kind == "snapshot" else self.tracking).append(("removed", machine, token))

    def left(self, machine: str, token: str, why: str) -> None:
        self.told.append(("left", machine, token, why))

    @property
    def steps(self) -> list[str]:
        return [entry[0] for entry in self.told]
