"""The ledger of one instance's owner records which attempt at which object is under way, and its outcome.

A token is `OWNER/NAME/NUMBER`. The number grows when an earlier attempt is known to be gone, so that a client token is
never used for a second object. The reference is recorded when the object was seen; an entry without one may still appear.
"""

from __future__ import annotations

from dataclasses import dataclass

from connector.cloud.provider import LedgerEntry, ProviderLedger


@dataclass(frozen=True, slots=True)
class ObjectAttempt:
    """One attempt at an object."""

    kind: str
    name: str
    token: str
    reference: str | None


class OwnerLedger:
    """The attempts of one owner. The caller holds the owner's lock, so only one thread uses it."""

    def __init__(self, ledger: ProviderLedger, owner: str) -> None:
        self._ledger = ledger
        self.owner = owner

    def open(self, kind: str, name: str) -> ObjectAttempt:
        """The attempt that is under way or done; a new recorded one if there is none."""
        attempts = sorted((e for e in self._entries() if self._name(e) == name), key=_number)
        if attempts and not attempts[-1].gone:
            return self._attempt(attempts[-1])
        token = f"{self.owner}/{name}/{len(attempts) + 1}"
        self._ledger.intend(self.owner, kind, token)
        return ObjectAttempt(kind, name, token, None)

    def made(self, attempt: ObjectAttempt, reference: str) -> None:
        self._ledger.made(self.owner, attempt.kind, attempt.token, reference)

    def gone(self, attempt: ObjectAttempt) -> None:
        self._ledger.gone(self.owner, attempt.kind, attempt.token)

    def own(self, reference: str) -> None:
        """Record that the instance itself was seen. It may be a new one, after an earlier one was released."""
        self._ledger.made(self.owner, "instance", self.owner, reference)
        for attempt in self.remaining("launch"):
            self.made(attempt, reference)

    def instance(self) -> str | None:
        """The cloud's id of the instance, if it is known; None once it is released."""
        mine = (entry for entry in self._entries() if entry.token == self.owner and not entry.gone)
        return next((entry.reference for entry in mine), None)

    def released(self) -> None:
        """Record that the instance itself is gone."""
        self._ledger.gone(self.owner, "instance", self.owner)

    def remaining(self, kind: str = "") -> list[ObjectAttempt]:
        """All attempts that are not known to be gone, oldest first."""
        return [
            self._attempt(entry)
            for entry in self._entries()
            if not entry.gone and entry.token != self.owner and kind in ("", entry.kind) and self._name(entry)
        ]

    def youngest(self) -> float:
        """When the last attempt was recorded; 0 if all are gone."""
        return max((e.created for e in self._entries() if not e.gone), default=0.0)

    def _entries(self) -> list[LedgerEntry]:
        return [
            entry
            for entry in self._ledger.entries(self.owner)
            if entry.token == self.owner or entry.token.startswith(f"{self.owner}/")
        ]

    def _name(self, entry: LedgerEntry) -> str:
        return entry.token.removeprefix(f"{self.owner}/").rpartition("/")[0]

    def _attempt(self, entry: LedgerEntry) -> ObjectAttempt:
        return ObjectAttempt(entry.kind, self._name(entry), entry.token, entry.reference)


def _number(entry: LedgerEntry) -> int:
    number = entry.token.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0
