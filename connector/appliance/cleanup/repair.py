"""A table of checks finds our leftovers in vCenter. Each start of an appliance repairs them, and so does a person on request.

Nothing of others is touched: a snapshot is ours by its token alone, a lock by our own identity, and CBT by the record that was
made when it was turned on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from connector.appliance.cleanup.machine_lock import MachineLocks
from connector.errors import ConnectorError, NotFound
from connector.model import Machine, PowerState
from connector.sources.reader import Reader
from connector.vcenter.client import SNAPSHOT, TRACKING, Leftover, Tracking, VCenter
from connector.vcenter.naming import Ticket
from connector.vcenter.partial import nameless

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredResource:
    """A tracked resource in vCenter that was not removed.

    `busy`: its job runs, so a pass uses it or will use it. `over`: its job will not read again.
    """

    token: str
    kind: str
    machine: str  # moref
    instance_uuid: str
    name: str
    busy: bool
    over: bool


@dataclass(frozen=True, slots=True)
class InterruptedCutover:
    """A cutover that has shut its machine down, and that nothing carries on. `since`: seconds since the epoch.

    `resume` and `take_back` are commands; `resume` is empty where the job's state does not allow it.
    """

    machine: str  # moref
    instance_uuid: str
    name: str
    since: float
    resume: str
    take_back: str


class ResourceRegister(Protocol):
    """The tracked resources of this vCenter at the control plane. Each call may be repeated."""

    def remembered(self) -> Sequence[RegisteredResource]: ...

    def running_machines(self) -> frozenset[str]:
        """Morefs of the machines of running jobs: a pass works on them or will."""

    def interrupted(self) -> Sequence[InterruptedCutover]:
        """Cutovers that have shut a machine down, and that nothing carries on."""

    def removed(self, token: str) -> None: ...

    def resists(self, token: str, trouble: str) -> None: ...


@dataclass(frozen=True, slots=True)
class LeftoverFinding:
    """One leftover. `mend` repairs it and raises what fails; without it only a person can repair it.

    `mending` says what `mend` would do, or without it what a person can do.
    """

    check: str
    on: str
    what: str
    mending: str = ""
    machine: str = ""  # moref
    token: str = ""  # its key in the register
    mend: Callable[[], None] | None = None
    voluntary: bool = False  # nothing is wrong: it is repaired only when an operator names it


class RepairLedger:
    """The `SnapshotLedger` of a repair: a repair creates nothing, and `mended` tells the register what is gone."""

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
    """What the checks look at. `known` is read after the snapshots, so that a snapshot of a new pass is known too."""

    vcenter: VCenter
    register: ResourceRegister
    reader: Reader | None = None
    locks: MachineLocks = field(default_factory=MachineLocks)
    leftovers: tuple[Leftover, ...] = ()
    machines: Mapping[str, Machine] = field(default_factory=dict)
    known: tuple[RegisteredResource, ...] = ()
    running_machines: frozenset[str] = frozenset()

    def read(self) -> None:
        """Read everything once."""
        self.machines = {machine.moref: machine for machine in self.vcenter.machines()}
        self.leftovers = self.vcenter.leftovers()
        self.known = tuple(self.register.remembered())
        self.running_machines = self.register.running_machines()

    def is_deleted(self, moref: str) -> bool:
        """Whether vCenter says that there is no such machine. A list may leave out what the user may not see."""
        try:
            self.vcenter.find(moref)
        except NotFound:
            return True
        except ConnectorError:
            return False
        return False

    def name(self, moref: str) -> str:
        machine = self.machines.get(moref)
        return machine.name if machine else moref


Search = Callable[[RepairContext], Iterable[LeftoverFinding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table; `finds` says for people what it looks for."""

    id: str
    finds: str
    search: Search


def _orphans(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Snapshots with our token that no pass uses."""
    for leftover in repair_context.leftovers:
        if leftover.machine in repair_context.running_machines:
            continue
        token = leftover.node.description.strip()

        def remove(machine: str = leftover.machine, token: str = token) -> None:
            repair_context.vcenter.dismiss(machine, token)

        message = f"snapshot {leftover.node.name} of ours ({leftover.node.moref}), which no pass uses"
        on = repair_context.name(leftover.machine)
        yield LeftoverFinding(
            "snapshot", on, message, "remove it and consolidate", leftover.machine, token, remove
        )


def _consolidations(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Machines whose disks need consolidation after a removal of ours, and records of machines that are gone."""
    existing = {leftover.node.description.strip() for leftover in repair_context.leftovers}
    for resource in repair_context.known:
        if (
            resource.kind != SNAPSHOT
            or resource.machine in repair_context.running_machines
            or resource.token in existing
        ):
            continue
        machine = repair_context.machines.get(resource.machine)
        if machine is None and not repair_context.is_deleted(resource.machine):
            continue  # this user does not see it now
        if machine is not None and nameless(machine):
            continue  # it is not known now whether it is that machine
        if machine is None or machine.instance_uuid != resource.instance_uuid:
            message = f"{resource.token} is recorded, but its machine is gone"
            yield LeftoverFinding("record", resource.name, message, "forget it", "", resource.token, _nothing)
        elif machine.consolidation_needed:

            def fold(moref: str = resource.machine, token: str = resource.token) -> None:
                repair_context.vcenter.dismiss(moref, token)

            message = f"its disks need consolidation since {resource.token} was removed"
            yield LeftoverFinding(
                "consolidation", machine.name, message, "consolidate", resource.machine, resource.token, fold
            )


def _machines_down(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Machines that are off because a cutover of ours was interrupted: only a person decides how to go on."""
    for cutover in repair_context.register.interrupted():
        machine = repair_context.machines.get(cutover.machine)
        if machine is None:
            continue
        hidden = nameless(
            machine
        )  # then it is not known whether it is that machine, and better said than not
        if not hidden and machine.instance_uuid != cutover.instance_uuid:
            continue
        if machine.power is PowerState.ON:
            continue  # somebody has powered it on again
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(cutover.since))
        resume = f"resume: {cutover.resume}; " if cutover.resume else ""
        yield LeftoverFinding(
            "down",
            cutover.name if hidden else machine.name,
            f"it is down since {since}, by an interrupted cutover"
            + (f" (vCenter does not show its {hidden} now)" if hidden else ""),
            f"{resume}take back: {cutover.take_back}",
            machine.moref,
        )


def _foreign_consolidations(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Disks that need consolidation for another reason than ours: they are reported and not touched."""
    machines = {resource.machine for resource in repair_context.known if resource.kind == SNAPSHOT}
    for machine in repair_context.machines.values():
        if machine.consolidation_needed and machine.moref not in machines:
            message = "its disks need consolidation, and not because of us: consolidate them in vCenter"
            yield LeftoverFinding("consolidation", machine.name, message)


def _is_read_by_others(repair_context: RepairContext, moref: str) -> bool:
    """Whether somebody else works on the machine now: a backup, or another installation of ours that reads a snapshot."""
    owner = repair_context.vcenter.owner
    tickets = [Ticket.of(node.description) for node in repair_context.machines[moref].snapshots]
    if any(ticket is not None and ticket.owner != owner for ticket in tickets):
        return True
    try:
        return bool(repair_context.vcenter.occupied(moref))
    except ConnectorError as failed:
        log.info("%s: it is not known whether somebody works on it: %s", moref, failed)
        return True


def _locks(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """Machines that vCenter may not move although no pass of ours reads them."""
    for moref in repair_context.vcenter.locked():
        if moref in repair_context.running_machines or moref not in repair_context.machines:
            continue
        if _is_read_by_others(repair_context, moref):
            continue
        on = repair_context.name(moref)
        message = "it is locked: vCenter may not move it, as while its disks are read"
        if repair_context.reader is None:
            yield LeftoverFinding(
                "lock", on, f"{message}; with --vddk the part of the lock that is ours can be undone"
            )
            continue

        def release(moref: str = moref, reader: Reader = repair_context.reader) -> None:
            # a snapshot that was removed since the look gave the disks other paths, and a lock belongs to a path
            machine = repair_context.vcenter.find(moref)
            unlock(repair_context.vcenter, machine, reader)
            if repair_context.vcenter.locked(moref):
                raise NotFound("the rest of the lock is not ours", on=machine.name)

        yield LeftoverFinding(
            "lock", on, message, "undo our part of it (EndAccess, Cleanup)", moref, "", release
        )


def _tracking(repair_context: RepairContext) -> Iterator[LeftoverFinding]:
    """CBT that was off before us, on machines whose jobs are over."""
    for resource in repair_context.known:
        machine = repair_context.machines.get(resource.machine)
        if resource.kind != TRACKING or not resource.over or machine is None:
            continue
        if nameless(machine) or machine.instance_uuid != resource.instance_uuid:
            continue

        def restore(moref: str = resource.machine) -> None:
            repair_context.vcenter.restore_tracking(Tracking(moref, False, True))

        message, mending = "CBT was off before it was migrated", "turn it off again"
        yield LeftoverFinding(
            "cbt", machine.name, message, mending, machine.moref, resource.token, restore, True
        )


def _nothing() -> None:
    """Nothing to repair: the resource is gone, and only its record is removed."""


CHECKS: Final = (
    Check("down", "machines that an interrupted cutover of ours has shut down", _machines_down),
    Check("snapshot", "snapshots of ours that no pass uses", _orphans),
    Check("consolidation", "disks that need consolidation after a removal of ours", _consolidations),
    Check("consolidation", "disks that need consolidation for other reasons", _foreign_consolidations),
    Check("lock", "machines that a dead reader left locked, so that vCenter may not move them", _locks),
    Check("cbt", "CBT that was off before us and can be turned off again", _tracking),
)


def examine(repair_context: RepairContext, checks: Sequence[Check] = CHECKS) -> tuple[LeftoverFinding, ...]:
    """All findings, in the order of the table. Changes nothing."""
    repair_context.read()
    return tuple(finding for check in checks for finding in check.search(repair_context))


def mended(repair_context: RepairContext, finding: LeftoverFinding) -> str:
    """Repair a finding; returns why it failed, or "". A machine on which a pass works is not touched."""
    if finding.mend is None:
        return "only a person can decide this"
    with repair_context.locks.tried(finding.machine) as free:
        try:
            if not free or finding.machine in repair_context.register.running_machines():
                return "a pass works on the machine now"
            finding.mend()
            if finding.token:
                repair_context.register.removed(finding.token)
        except ConnectorError as failed:
            if finding.token:
                repair_context.register.resists(finding.token, failed.what)
            return failed.what
    return ""


def mend_all(repair_context: RepairContext) -> None:
    """Repair at the appliance's start everything that is ours and can be repaired; the log says what."""
    for finding in examine(repair_context):
        if finding.mend is None or finding.voluntary:
            continue
        log.warning("%s: %s", finding.on, finding.what)
        if why := mended(repair_context, finding):
            log.warning("%s: not repaired: %s", finding.on, why)


def unlock(vcenter: VCenter, machine: Machine, reader: Reader) -> None:
    """Undo what killed workers of ours left behind, for each disk of the machine."""
    for disk in machine.disks:
        reader.release(vcenter.disk_access(machine.moref, None, disk))
