"""A snapshot of ours exists inside a `with` and nowhere else: it is removed on every way out, and only it.

Before the create call its token is in the caller's ledger, so a crash leaves a name to look for.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from threading import Event
from typing import Any, Protocol

from connector.errors import ConnectorError, NotFound, VCenterFault
from connector.model import MachineDisk, SnapshotNode
from connector.vcenter import tasks
from connector.vcenter.devices import disks
from connector.vcenter.faults import translated
from connector.vcenter.inventory import snapshot_nodes
from connector.vcenter.naming import Ticket, owned
from connector.vcenter.properties import Row, read, sweep
from connector.vcenter.session import Session
from connector.vcenter.tasks import Patience
from connector.vcenter.vmomi import moref, vim

log = logging.getLogger(__name__)

_WORDS = ("snapshot", "consolidate")  # in the names of tasks that must not overlap with ours
_TREE = ("snapshot", "runtime.consolidationNeeded")
_ATTEMPTS = 4  # at what may pass by itself, such as a locked file
_DISMISS = "remove it in vCenter, or let the clean-up of the next start do it"


class Quiesce(Enum):
    """Whether the guest is asked to flush first. Off unless a user wants it."""

    OFF = "off"
    TRY = "try"  # fall back to a crash-consistent snapshot
    REQUIRE = "require"


class Ledger(Protocol):
    """Where intents survive a crash. Each call must be durable when it returns, and may be repeated."""

    def planned(self, machine: str, token: str) -> None: ...
    def created(self, machine: str, token: str, snapshot: str) -> None: ...
    def removed(self, machine: str, token: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. Consolidation of a large delta takes hours, so the removal is patient."""

    create: float = 1800.0
    remove: float = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of ours, and its disks as its own configuration lists them."""

    machine: str
    moref: str
    token: str
    disks: tuple[MachineDisk, ...]
    quiesced: bool = False
    adopted: bool = False

    @property
    def untracked(self) -> tuple[int, ...]:
        """Device keys of the disks without a change id: read in full by this pass, and by the next."""
        return tuple(disk.key for disk in self.disks if not disk.change_id)


@contextmanager
def held(
    session: Session,
    machine: str,
    ticket: Ticket,
    ledger: Ledger,
    *,
    quiesce: Quiesce = Quiesce.OFF,
    stop: Event | None = None,
    limits: Limits = Limits(),
) -> Iterator[Snapshot]:
    """Take, or adopt after a crash, the machine's snapshot of this ticket; gone when the block is left.

    A removal that fails is the block's error when the block had none, and a note on that error otherwise.
    `stop` ends the waiting for the creation, never the removal.
    """
    vm = session.managed(vim.VirtualMachine, machine)
    patience = Patience(limits.create, stop or Event())
    tasks.settle(session, vm, machine, _WORDS, patience)
    known = _find(_tree(session, vm), ticket)
    ledger.planned(machine, ticket.token)
    target = known.moref if known else None
    try:
        quiesced = False
        if target is None:
            target, quiesced = _create(session, vm, ticket, quiesce, patience)
        ledger.created(machine, ticket.token, target)
        listed = snapshot_disks(session, target)
        yield Snapshot(machine, target, ticket.token, listed, quiesced, adopted=known is not None)
    except BaseException as first:
        try:
            _dismiss(session, vm, ticket, ledger, target, Patience(limits.remove))
        except ConnectorError as second:
            log.error("snapshot left behind: %s", second)
            first.add_note(f"the snapshot {ticket.name} was left behind: {second}")
        raise
    _dismiss(session, vm, ticket, ledger, target, Patience(limits.remove))


def _create(
    session: Session, vm: Any, ticket: Ticket, quiesce: Quiesce, patience: Patience
) -> tuple[str, bool]:
    def attempt(quietly: bool) -> str:
        with translated(moref(vm)):
            made = tasks.run(
                session,
                lambda: vm.CreateSnapshot_Task(ticket.name, ticket.token, False, quietly),
                on=moref(vm),
                patience=patience,
                what="the snapshot's creation",
            )
        return moref(made)

    if quiesce is not Quiesce.OFF:
        try:
            return attempt(True), True
        except VCenterFault as refused:
            if quiesce is Quiesce.REQUIRE or not refused.retryable:
                raise
            log.warning("%s: not quiesced, a crash-consistent snapshot follows: %s", moref(vm), refused)
    return attempt(False), False


def _dismiss(
    session: Session,
    vm: Any,
    ticket: Ticket,
    ledger: Ledger,
    known: str | None,
    patience: Patience,
) -> None:
    try:
        _remove(session, vm, ticket, known, patience)
    except NotFound:
        log.info("%s is gone, and its snapshot %s with it", moref(vm), ticket.name)
    ledger.removed(moref(vm), ticket.token)


def _remove(session: Session, vm: Any, ticket: Ticket, known: str | None, patience: Patience) -> None:
    """Remove exactly that snapshot, wait until it and the need for consolidation are gone."""
    on = moref(vm)
    target = known or _ours(session, vm, ticket, patience)
    for attempt in range(_ATTEMPTS):
        tasks.settle(session, vm, on, _WORDS, patience)
        row = _tree(session, vm)
        if target is None or all(node.moref != target for node in snapshot_nodes(row.get("snapshot"))):
            break
        try:
            _remove_one(session, target, on, patience)
        except NotFound:
            continue  # somebody else was faster; the tree tells
        except ConnectorError as failed:
            if attempt == _ATTEMPTS - 1 or not failed.retryable:
                failed.remedy = failed.remedy or _DISMISS
                raise
            patience.pause(tasks.BACK_OFF)
    _merge(session, vm, target, patience)


def _ours(session: Session, vm: Any, ticket: Ticket, patience: Patience) -> str | None:
    """The snapshot of a create call whose answer never came. vCenter may need a moment to show its task."""
    for _ in range(2):
        tasks.settle(session, vm, moref(vm), _WORDS, patience)
        found = _find(_tree(session, vm), ticket)
        if found is not None:
            return found.moref
        patience.pause(0.5)
    return None


def _remove_one(session: Session, target: str, on: str, patience: Patience) -> None:
    doomed = session.managed(vim.vm.Snapshot, target)
    with translated(on):
        tasks.run(
            session,
            lambda: doomed.RemoveSnapshot_Task(removeChildren=False, consolidate=True),
            on=on,
            patience=patience,
            what="the snapshot's removal",
        )


def _merge(session: Session, vm: Any, target: str | None, patience: Patience) -> None:
    """Wait until the tree is without the snapshot, and consolidate what the removal left open."""
    on = moref(vm)

    def gone(row: Row) -> bool:
        return all(node.moref != target for node in snapshot_nodes(row.get("snapshot")))

    row = tasks.watch(session, vm, _TREE, gone, on=on, patience=patience, what="the snapshot's removal")
    if not row.get("runtime.consolidationNeeded"):
        return
    _consolidate(session, vm, patience)
    tasks.watch(
        session,
        vm,
        _TREE,
        lambda now: not now.get("runtime.consolidationNeeded"),
        on=on,
        patience=patience,
        what="the consolidation",
    )


def _consolidate(session: Session, vm: Any, patience: Patience) -> None:
    """Fold open deltas; a backup that locks a file usually lets go after a moment."""
    on = moref(vm)
    for attempt in range(_ATTEMPTS):
        try:
            with translated(on):
                tasks.run(
                    session, vm.ConsolidateVMDisks_Task, on=on, patience=patience, what="the consolidation"
                )
            return
        except ConnectorError as failed:
            if attempt == _ATTEMPTS - 1 or not failed.retryable:
                failed.remedy = failed.remedy or "consolidate the disks in vCenter"
                raise
            patience.pause(tasks.BACK_OFF)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A snapshot that an earlier life of this owner left on a machine."""

    machine: str
    node: SnapshotNode


def clear_leftovers(
    session: Session,
    owner: str,
    ledger: Ledger,
    *,
    keep: Collection[str] = (),
    machine: str | None = None,
    limit: float = Limits().remove,
) -> tuple[Leftover, ...]:
    """Remove every snapshot that carries `owner`'s token, except the tokens in `keep`; returns those removed.

    Looks at one machine or at all. One that resists does not stop the others; the first error is raised last.
    """
    cleared: list[Leftover] = []
    errors: list[ConnectorError] = []
    for found in _leftovers(session, owner, machine):
        ticket = Ticket.of(found.node.description)
        if ticket is None or ticket.token in keep:
            continue
        vm = session.managed(vim.VirtualMachine, found.machine)
        try:
            _dismiss(session, vm, ticket, ledger, found.node.moref, Patience(limit))
            cleared.append(found)
        except ConnectorError as failed:
            log.error("snapshot left behind: %s", failed)
            errors.append(failed)
    if errors:
        raise errors[0]
    return tuple(cleared)


def _leftovers(session: Session, owner: str, machine: str | None) -> tuple[Leftover, ...]:
    if machine is not None:
        rows: tuple[Row, ...] = (_tree(session, session.managed(vim.VirtualMachine, machine)),)
    else:
        rows = sweep(session, {vim.VirtualMachine: ("snapshot",)})
    for row in rows:
        if row.refused:
            log.warning("%s: its snapshots may not be read, leftovers would go unseen", row.moref)
    trees = ((row.moref, snapshot_nodes(row.get("snapshot"))) for row in rows)
    return tuple(Leftover(vm, node) for vm, nodes in trees for node in owned(nodes, owner))


def snapshot_disks(session: Session, snapshot: str) -> tuple[MachineDisk, ...]:
    """The disks of a snapshot's own configuration: key, path, capacity, change id and uuid at its instant."""
    managed = session.managed(vim.vm.Snapshot, snapshot)
    row = read(session, managed, ("config.hardware.device",), on=snapshot)
    return disks(row.get("config.hardware.device") or ())


def _tree(session: Session, vm: Any) -> Row:
    return read(session, vm, _TREE, on=moref(vm))


def _find(row: Row, ticket: Ticket) -> SnapshotNode | None:
    ours = owned(snapshot_nodes(row.get("snapshot")), ticket.owner)
    return next((node for node in ours if Ticket.of(node.description) == ticket), None)
