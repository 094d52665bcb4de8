"""A snapshot of ours exists only inside a `with`: it is removed on every way out, and nothing else is removed.

Its token is in the caller's ledger before the create call, so that it can be found after a crash. A removal that fails
raises nothing here: it goes to the ledger, and the cleaner repeats it until it succeeds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import Any

from connector.errors import Conflict, ConnectorError, Ineligible, VCenterFault
from connector.model import MachineDisk, SnapshotNode
from connector.vcenter import removal, tasks
from connector.vcenter.devices import disks
from connector.vcenter.faults import translated
from connector.vcenter.ledger import SnapshotLedger
from connector.vcenter.naming import Ticket
from connector.vcenter.partial import demand
from connector.vcenter.properties import read
from connector.vcenter.session import Session
from connector.vcenter.tasks import WaitLimit
from connector.vcenter.vmomi import moref, vim

log = logging.getLogger(__name__)

HURRY = 30.0  # seconds without vCenter that a removal after a stop waits out
_DEVICES = "config.hardware.device"
_TRIES = 3  # of a creation that may succeed next time, e.g. when the guest could not be quiesced


class Quiesce(StrEnum):
    """Whether the guest is asked to flush first. It is not, unless a user wants it."""

    OFF = "off"
    TRY = "try"  # fall back to a crash-consistent snapshot
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class SnapshotTimeouts:
    """Seconds."""

    create: float = 1800.0
    remove: float = removal.PATIENCE


@dataclass(slots=True)
class SnapshotCost:
    """The seconds of a snapshot's two tasks. Each is an upper bound of the stun that its machine had.

    None means that vCenter did not say. `left` says why the snapshot still exists. Complete after the snapshot's block.
    """

    create: float | None = None
    remove: float | None = None
    left: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of ours, and its disks as its own configuration lists them."""

    machine: str
    moref: str
    token: str
    disks: tuple[MachineDisk, ...]
    quiesced: bool = False
    adopted: bool = False
    off: bool = False  # the machine was powered off at its instant
    cost: SnapshotCost = field(default_factory=SnapshotCost, compare=False)

    @property
    def untracked(self) -> tuple[int, ...]:
        """Device keys of the disks without a change id. This pass and the next read them in full."""
        return tuple(disk.key for disk in self.disks if not disk.change_id)


@dataclass(frozen=True, slots=True)
class _Creation:
    node: SnapshotNode
    quiesced: bool = False
    seconds: float | None = None


@contextmanager
def held(
    session: Session,
    machine: str,
    ticket: Ticket,
    ledger: SnapshotLedger,
    *,
    quiesce: Quiesce = Quiesce.OFF,
    stop: Event | None = None,
    limits: SnapshotTimeouts = SnapshotTimeouts(),
) -> Iterator[Snapshot]:
    """Take, or adopt after a crash, the machine's snapshot of this ticket; it is removed when the block ends.

    A removal that fails is no error of the block: `Snapshot.cost.left`, the ledger and a note on the block's own error
    say it. `stop` ends the wait for the creation, never the removal.
    """
    wait = WaitLimit(limits.create, stop or Event())
    vm = session.managed(vim.VirtualMachine, machine)
    existing = _find(session, vm, ticket, wait)
    ledger.planned(machine, ticket.token)
    target = existing.moref if existing else None
    cost = SnapshotCost()
    try:
        creation = (
            _Creation(existing, existing.quiesced)
            if existing
            else _create(session, vm, ticket, quiesce, wait)
        )
        target, cost.create = creation.node.moref, creation.seconds
        ledger.created(machine, ticket.token, target)
        yield Snapshot(
            machine,
            target,
            ticket.token,
            tasks.persist(
                lambda: snapshot_disks(session, creation.node.moref),
                on=machine,
                wait=WaitLimit(limits.create, wait.stop),
                what="its disks",
            ),
            creation.quiesced,
            adopted=existing is not None,
            off=creation.node.off,
            cost=cost,
        )
    except BaseException as first:
        _remove(session, machine, ticket, ledger, target, cost, limits, wait.stop.is_set())
        if cost.left:
            first.add_note(f"the snapshot {ticket.name} was left behind: {cost.left}")
        raise
    _remove(session, machine, ticket, ledger, target, cost, limits, wait.stop.is_set())


def _remove(
    session: Session,
    machine: str,
    ticket: Ticket,
    ledger: SnapshotLedger,
    target: str | None,
    cost: SnapshotCost,
    limits: SnapshotTimeouts,
    stopped: bool,
) -> None:
    # after a stop the task is waited for, but an outage of vCenter only for a moment: the next start cleans up
    wait = WaitLimit(limits.remove, outage=HURRY if stopped else None)
    try:
        cost.remove = removal.dismiss(session, machine, ticket, ledger, target, wait)
    except ConnectorError as failed:
        cost.left = str(failed)


def _find(session: Session, vm: Any, ticket: Ticket, wait: WaitLimit) -> SnapshotNode | None:
    """The snapshot of this ticket, looked for when no task works on the machine's snapshots any more."""

    def look() -> SnapshotNode | None:
        tasks.settle(session, vm, moref(vm), removal.WORDS, wait)
        return removal.find(removal.tree(session, vm), ticket)

    return tasks.persist(look, on=moref(vm), wait=wait, what="the machine's snapshots")


def _create(session: Session, vm: Any, ticket: Ticket, quiesce: Quiesce, wait: WaitLimit) -> _Creation:
    """A quiescing may hang until its time is over; the snapshot without it has the same time again."""

    def attempt(quietly: bool, within: WaitLimit) -> _Creation:
        return tasks.persist(
            lambda: _create_once(session, vm, ticket, quietly, within),
            on=moref(vm),
            wait=within,
            what="the snapshot's creation",
            tries=_TRIES,
        )

    if quiesce is not Quiesce.OFF:
        try:
            return attempt(True, wait)
        except (VCenterFault, Conflict, Ineligible) as refused:
            hopeless = isinstance(refused, VCenterFault) and not refused.retryable
            if quiesce is Quiesce.REQUIRE or hopeless:
                raise
            log.warning("%s: not quiesced, a crash-consistent snapshot follows: %s", moref(vm), refused)
        wait = WaitLimit(wait.limit, wait.stop)
    return attempt(False, wait)


def _create_once(session: Session, vm: Any, ticket: Ticket, quietly: bool, wait: WaitLimit) -> _Creation:
    """Create it, unless it exists: an answer may get lost, and a task may fail or be forgotten after its work."""
    if (existing := _find(session, vm, ticket, wait)) is not None:
        return _Creation(existing, existing.quiesced)
    try:
        with translated(moref(vm)):
            seconds = tasks.run(
                session,
                lambda: vm.CreateSnapshot_Task(ticket.name, ticket.token, False, quietly),
                on=moref(vm),
                wait=wait,
                what="the snapshot's creation",
            ).seconds
    except ConnectorError as failed:
        if wait.stop.is_set() or wait.left <= 0:
            raise
        log.warning("%s: is the snapshot there all the same? %s", moref(vm), failed)
        if (existing := _find(session, vm, ticket, wait)) is None:
            raise
        return _Creation(existing, existing.quiesced)
    if (existing := _find(session, vm, ticket, wait)) is None:
        raise VCenterFault(
            "somebody removed our snapshot right after its creation",
            on=moref(vm),
            remedy="look for who or what removes snapshots of this machine",
            retryable=True,
        )
    return _Creation(existing, existing.quiesced, seconds)


def snapshot_disks(session: Session, snapshot: str) -> tuple[MachineDisk, ...]:
    """The disks of a snapshot's own configuration: key, path, capacity, change id and uuid at its instant.

    The machine decides which of them is the first: see `Machine.disks`.
    """
    managed = session.managed(vim.vm.Snapshot, snapshot)
    row = read(session, managed, (_DEVICES,), on=snapshot)
    demand(row, _DEVICES, snapshot)
    return disks(row.get(_DEVICES))
