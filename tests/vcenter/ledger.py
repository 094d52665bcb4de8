"""A ledger that tells in which order it was told."""

from __future__ import annotations


class Memory:
    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def planned(self, machine: str, token: str) -> None:
        self.told.append(("planned", machine, token))

    def created(self, machine: str, token: str, snapshot: str) -> None:
        self.told.append(("created", machine, token, snapshot))

    def removed(self, machine: str, token: str) -> None:
        self.told.append(("removed", machine, token))

    def left(self, machine: str, token: str, why: str) -> None:
        self.told.append(("left", machine, token, why))

    @property
    def steps(self) -> list[str]:
        return [entry[0] for entry in self.told]
