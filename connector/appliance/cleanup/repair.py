"""What of ours was left in vCenter and nobody works with any more: found by a table of checks, mended on request.

Nobody else's is touched: a snapshot is ours by its token alone, a lock by our own identity, CBT by what was remembered
when it was turned on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from connector.appliance.cleanup.machine_lock import MachineLocks
from connector.errors import ConnectorError, NotFound
from connector.model import Machine
from connector.sources.reader import Reader
from connector.vcenter.client import SNAPSHOT, TRACKING, Leftover, Tracking, VCenter
from connector.vcenter.partial import nameless

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredResource:
    """Something in vCenter that the control plane knows of and that was not removed.

    `busy`: its job runs, so a pass works with it or will. `over`: its job will never read again as it stands.
    """

    token: str
    kind: str
    machine: str  # moref
    instance_uuid: str
    name: str
    busy: bool
    over: bool


class ResourceRegister(Protocol):
    """What the control plane remembers of this vCenter. Each call may be repeated."""

    def remembered(self) -> Sequence[RegisteredResource]: ...

    def reading(self) -> frozenset[str]:
        """Morefs of the machines on which a pass works, or will."""

    def removed(self, token: str) -> None: ...

    def resists(self, token: str, trouble: str) -> None: ...


@dataclass(frozen=True, slots=True)
class LeftoverFinding:
    """One thing that is not as it should be. `mend` puts it right; without it only a person can.

    `mending` says what `mend` would do; it raises what resists.
    """

    check: str
    on: str
    what: str
    mending: str = ""
    machine: str = ""  # moref
    token: str = ""  # under which the memory knows it
    mend: Callable[[], None] | None = None
    voluntary: bool = False  # nothing is wrong; done only when asked for by name


class RepairLedger:
    """The `vcenter.Ledger` of a repair: nothing is made, and what is removed is told to the memory by `mended`."""

    def planned(self, machine: str, token: str, kind: str = SNAPSHOT) -> None:
        raise NotFound(f"a repair makes no {kind} {token}", on=machine)

    def created(self, machine: str, token: str, snapshot: str) -> None:
        raise NotFound(f"a repair makes no {token} {snapshot}", on=machine)

    def removed(self, machine: str, token: str, kind: str = SNAPSHOT) -> None:
        log.info("%s: %s %s is gone", machine, kind, token)

    def left(self, machine: str, token: str, why: str) -> None:
        log.warning("%s: %s stays: %s", machine, token, why)


@dataclass(slots=True)
class RepairContext:
    """What the checks look at. `known` is read after the snapshots were listed: what appears later is remembered."""

    vcenter: VCenter
    memory: ResourceRegister
    reader: Reader | None = None
    locks: MachineLocks = field(default_factory=MachineLocks)
    standing: tuple[Leftover, ...] = ()
    machines: Mapping[str, Machine] = field(default_factory=dict)
    known: tuple[RegisteredResource, ...] = ()
    reading: frozenset[str] = frozenset()

    def look(self) -> None:
        """Read everything once."""
        self.machines = {machine.moref: machine for machine in self.vcenter.machines()}
        self.standing = self.vcenter.leftovers()
        self.known = tuple(self.memory.remembered())
        self.reading = self.memory.reading()

    def name(self, moref: str) -> str:
        machine = self.machines.get(moref)
        return machine.name if machine else moref


Look = Callable[[RepairContext], Iterable[LeftoverFinding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table; `finds` says for people what it looks for."""

    id: str
    finds: str
    look: Look


def _orphans(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Snapshots that carry our token and that no pass works with."""
    for found in repair_context.standing:
        if found.machine in repair_context.reading:
            continue
        token = found.node.description.strip()

        def remove(machine: str = found.machine, token: str = token) -> None:
            repair_context.vcenter.dismiss(machine, token)

        what = f"snapshot {found.node.name} of ours ({found.node.moref}), which no pass works with"
        on = repair_context.name(found.machine)
        yield LeftoverFinding("snapshot", on, what, "remove it and consolidate", found.machine, token, remove)


def _consolidations(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Machines whose disks a removal of ours left to consolidate, and records of what is gone."""
    standing = {found.node.description.strip() for found in repair_context.standing}
    for known in repair_context.known:
        if known.kind != SNAPSHOT or known.machine in repair_context.reading or known.token in standing:
            continue
        machine = repair_context.machines.get(known.machine)
        if machine is not None and nameless(machine):
            continue  # whether it is that machine is not known now
        if machine is None or machine.instance_uuid != known.instance_uuid:
            what = f"{known.token} is remembered, but its machine is gone"
            yield LeftoverFinding("record", known.name, what, "forget it", "", known.token, _nothing)
        elif machine.consolidation_needed:

            def fold(moref: str = known.machine, token: str = known.token) -> None:
                repair_context.vcenter.dismiss(moref, token)

            what = f"its disks need consolidation since {known.token} was removed"
            yield LeftoverFinding(
                "consolidation", machine.name, what, "consolidate", known.machine, known.token, fold
            )


def _foreign_consolidations(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Disks that need consolidation through no fault of ours: told, not touched."""
    ours = {known.machine for known in repair_context.known if known.kind == SNAPSHOT}
    for machine in repair_context.machines.values():
        if machine.consolidation_needed and machine.moref not in ours:
            what = "its disks need consolidation, and nothing is known that we left: consolidate in vCenter"
            yield LeftoverFinding("consolidation", machine.name, what)


def _locks(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Machines that may not be moved although none of ours reads them."""
    for moref in repair_context.vcenter.locked():
        if moref in repair_context.reading or moref not in repair_context.machines:
            continue
        on = repair_context.name(moref)
        what = "it is locked against being moved, as while its disks are read"
        if repair_context.reader is None:
            yield LeftoverFinding("lock", on, f"{what}; with --vddk, what of it is ours can be undone")
            continue

        def release(
            machine: Machine = repair_context.machines[moref], reader: Reader = repair_context.reader
        ) -> None:
            unlock(repair_context.vcenter, machine, reader)
            if repair_context.vcenter.locked(machine.moref):
                raise NotFound("what remains of the lock is not ours", on=machine.name)

        yield LeftoverFinding(
            "lock", on, what, "undo what of it is ours (EndAccess, Cleanup)", moref, "", release
        )


def _tracking(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """CBT that was off before us, on machines whose jobs are over."""
    for known in repair_context.known:
        machine = repair_context.machines.get(known.machine)
        if known.kind != TRACKING or not known.over or machine is None:
            continue
        if nameless(machine) or machine.instance_uuid != known.instance_uuid:
            continue

        def restore(moref: str = known.machine) -> None:
            repair_context.vcenter.restore_tracking(Tracking(moref, False, True))

        what, mending = "CBT was off before it was migrated", "turn it off again"
        yield LeftoverFinding("cbt", machine.name, what, mending, machine.moref, known.token, restore, True)


def _nothing() -> None:
    """What is gone needs no mending, only forgetting."""


CHECKS: Final = (
    Check("snapshot", "snapshots of ours that no pass works with", _orphans),
    Check("consolidation", "disks that a removal of ours left to consolidate", _consolidations),
    Check("consolidation", "disks that need consolidation through others", _foreign_consolidations),
    Check("lock", "machines locked against being moved by a reader that died", _locks),
    Check("cbt", "CBT that can be put back as it was found", _tracking),
)


def examine(repair_context: RepairContext, checks: Sequence[Check] = CHECKS) -> tuple[LeftoverFinding, ...]:
    """Everything that is not as it should be, in the order of the table. Changes nothing."""
    repair_context.look()
    return tuple(finding for check in checks for finding in check.look(repair_context))


def mended(repair_context: RepairContext, finding: LeftoverFinding) -> str:
    """Put it right; answers what resisted, or "" when nothing did. A machine that a pass has taken is left alone."""
    if finding.mend is None:
        return "only a person can decide this"
    with repair_context.locks.tried(finding.machine) as free:
        try:
            if not free or finding.machine in repair_context.memory.reading():
                return "a pass works on the machine now"
            finding.mend()
            if finding.token:
                repair_context.memory.removed(finding.token)
        except ConnectorError as failed:
            if finding.token:
                repair_context.memory.resists(finding.token, failed.what)
            return failed.what
    return ""


def mend_all(repair_context: RepairContext) -> None:
    """What an appliance does when it starts: whatever is wrong through us and can be mended; the log tells."""
    for finding in examine(repair_context):
        if finding.mend is None or finding.voluntary:
            continue
        log.warning("%s: %s", finding.on, finding.what)
        if why := mended(repair_context, finding):
            log.warning("%s: stays for now: %s", finding.on, why)


def unlock(vcenter: VCenter, machine: Machine, reader: Reader) -> None:
    """Undo what killed workers of ours left: for each disk under the names that it had when it was read."""
    for disk in machine.disks:
        reader.release(vcenter.disk_access(machine.moref, None, disk))
