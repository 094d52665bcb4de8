"""A fact is a statement that the product relies on, where it comes from, and a check that looks at a real site and only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from connector.errors import ConnectorError, one_line
from connector.model import DiskAccess, Machine, MachineDisk
from connector.vcenter.client import Snapshot, VCenter
from nfc.errors import NfcError
from vddk.errors import VddkError


class Mark(StrEnum):
    """How sure the statement was before."""

    NOTES = "P"  # read in public notes of the protocol
    DOCUMENTED = "D"  # documented by VMware
    GUESS = "?"  # our guess


class Outcome(StrEnum):
    HOLDS = "holds"
    REFUTED = "REFUTED"
    NOT_SEEN = "not seen"  # this site does not show it


@dataclass(frozen=True, slots=True)
class Site:
    """What checks look at: one machine with a snapshot of ours, and one disk of it."""

    vcenter: VCenter
    machine: Machine
    snapshot: Snapshot
    disk: MachineDisk

    def access(self) -> DiskAccess:
        """New ways to the disk: each has a ticket or a cookie of its own."""
        return self.vcenter.disk_access(self.machine.moref, self.snapshot, self.disk)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check saw, in a few words."""

    outcome: Outcome
    words: str


def holds(is_so: bool, words: str) -> Seen:
    return Seen(Outcome.HOLDS if is_so else Outcome.REFUTED, one_line(words))


def not_seen(words: str) -> Seen:
    return Seen(Outcome.NOT_SEEN, one_line(words))


Check = Callable[[Site], Seen]


@dataclass(frozen=True, slots=True)
class Fact:
    """`id` is stable: reports name it."""

    id: str
    mark: Mark
    statement: str
    check: Check

    def look(self, site: Site) -> Seen:
        """What this site shows. A failure of the check itself refutes the statement, with its reason."""
        try:
            return self.check(site)
        except (ConnectorError, NfcError, VddkError, OSError, AssertionError) as failed:
            return Seen(Outcome.REFUTED, one_line(f"{type(failed).__name__}: {failed}"))


def every(*tables: Iterable[Fact]) -> list[Fact]:
    """The facts of all tables, in their order."""
    return [fact for table in tables for fact in table]
