"""A snapshot of ours is gone when it is not in the tree and nothing needs consolidation; until then removal goes on.

Only a snapshot with the moref of our create call, or with a whole token of ours, is removed, and never its children.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import Any

from connector.errors import ConnectorError, Interrupted, NotFound
from connector.model import SnapshotNode
from connector.vcenter import tasks
from connector.vcenter.faults import translated
from connector.vcenter.inventory import snapshot_nodes
from connector.vcenter.ledger import SnapshotLedger
from connector.vcenter.naming import Ticket, owned
from connector.vcenter.partial import MARKER, demand
from connector.vcenter.properties import PropertyRow, read, sweep
from connector.vcenter.session import Session
from connector.vcenter.tasks import WaitLimit
from connector.vcenter.vmomi import moref, vim

log = logging.getLogger(__name__)

WORDS = ("snapshot", "consolidate")  # in the names of tasks that must not overlap with ours
PATIENCE = 6 * 3600.0  # seconds: the consolidation of a large delta takes hours
_TREE = ("snapshot", "runtime.consolidationNeeded", MARKER)
_DISMISS = "it is tried again until it is gone; `connector doctor --repair` tries at once"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A snapshot of this owner on a machine, left by a pass that ended or still in use."""

    machine: str
    node: SnapshotNode


def dismiss(
    session: Session,
    machine: str,
    ticket: Ticket,
    ledger: SnapshotLedger,
    known: str | None = None,
    wait: WaitLimit | None = None,
) -> float | None:
    """Remove the snapshot of this ticket, wait for consolidation, and write it to the ledger; seconds of the removal.

    `known` is its moref; without it, its token is searched for. A failure goes to the ledger too, and is raised.
    """
    vm = session.managed(vim.VirtualMachine, machine)
    seconds: float | None = None
    try:
        seconds = _remove(session, vm, ticket, known, wait or WaitLimit(PATIENCE))
    except ConnectorError as failed:
        if not (isinstance(failed, NotFound) and _is_deleted(session, vm)):
            _record_left(ledger, machine, ticket, failed)
            raise
        log.info("%s is gone, and its snapshot %s with it", machine, ticket.name)
    ledger.removed(machine, ticket.token)
    return seconds


def _record_left(ledger: SnapshotLedger, machine: str, ticket: Ticket, failed: ConnectorError) -> None:
    failed.remedy = failed.remedy or _DISMISS
    log.error("snapshot %s left behind: %s", ticket.name, failed)
    with suppress(ConnectorError):  # a failure of the ledger must not hide this one
        ledger.left(machine, ticket.token, failed.what)


def clear_leftovers(
    session: Session,
    listed: Iterable[Leftover],
    ledger: SnapshotLedger,
    *,
    keep: Collection[str] = (),
    limit: float = PATIENCE,
    stop: Event | None = None,
) -> tuple[Leftover, ...]:
    """Remove the snapshots of `listed`, except the tokens in `keep`; returns those removed.

    A removal that fails does not stop the others; the first error is raised at the end.
    `stop` ends the wait with Interrupted, and begins no other removal; vCenter ends the one that it has begun.
    """
    cleared: list[Leftover] = []
    errors: list[ConnectorError] = []
    for leftover in listed:
        ticket = Ticket.of(leftover.node.description)
        if ticket is None or ticket.token in keep:
            continue
        try:
            wait = WaitLimit(limit, stop or Event())
            dismiss(session, leftover.machine, ticket, ledger, leftover.node.moref, wait)
            cleared.append(leftover)
        except Interrupted:
            raise
        except ConnectorError as failed:
            errors.append(failed)
    if errors:
        raise errors[0]
    return tuple(cleared)


def leftovers(session: Session, owner: str, machine: str | None = None) -> tuple[Leftover, ...]:
    """Every snapshot that carries `owner`'s token, on one machine or on all."""
    if machine is not None:
        rows: tuple[PropertyRow, ...] = (tree(session, session.managed(vim.VirtualMachine, machine)),)
    else:
        rows = sweep(session, {vim.VirtualMachine: ("snapshot", MARKER)})
    for row in rows:
        if not row.refused and not _whole(row):
            log.warning(
                "%s: vCenter shows it without its configuration, leftovers go unseen for now", row.moref
            )
        elif row.refused:
            log.warning("%s: its snapshots may not be read, leftovers would go unseen", row.moref)
    trees = ((row.moref, snapshot_nodes(row.get("snapshot"))) for row in rows)
    return tuple(Leftover(vm, node) for vm, nodes in trees for node in owned(nodes, owner))


def tree(session: Session, vm: Any) -> PropertyRow:
    """A machine's snapshots, and whether it needs consolidation."""
    row = read(session, vm, _TREE, on=moref(vm))
    if not _whole(row):  # otherwise a snapshot that is not shown would look removed
        demand(row, MARKER, moref(vm))
    return row


def find(row: PropertyRow, ticket: Ticket) -> SnapshotNode | None:
    """The snapshot of this ticket in a machine's tree."""
    ours = owned(snapshot_nodes(row.get("snapshot")), ticket.owner)
    return next((node for node in ours if Ticket.of(node.description) == ticket), None)


def _remove(session: Session, vm: Any, ticket: Ticket, known: str | None, wait: WaitLimit) -> float | None:
    took: list[float | None] = [None]

    def once() -> None:
        target = known or _moref_of(session, vm, ticket, wait)
        tasks.settle(session, vm, moref(vm), WORDS, wait)
        if target is not None and _exists(tree(session, vm), target):
            took[0] = _remove_one(session, vm, target, wait)
        _merge(session, vm, target, wait)

    tasks.persist(once, on=moref(vm), wait=wait, what="the snapshot's removal")
    return took[0]


def _exists(row: PropertyRow, target: str) -> bool:
    return any(node.moref == target for node in snapshot_nodes(row.get("snapshot")))


def _moref_of(session: Session, vm: Any, ticket: Ticket, wait: WaitLimit) -> str | None:
    """The moref of this ticket's snapshot, whose create call had no answer. vCenter may need a moment to show its task."""
    for _ in range(2):
        tasks.settle(session, vm, moref(vm), WORDS, wait)
        node = find(tree(session, vm), ticket)
        if node is not None:
            return node.moref
        wait.pause(0.5)
    return None


def _remove_one(session: Session, vm: Any, target: str, wait: WaitLimit) -> float | None:
    """Seconds of the removal; None when somebody else removed it first, or the task failed after its work was done."""
    on = moref(vm)
    doomed = session.managed(vim.vm.Snapshot, target)
    try:
        with translated(on):
            return tasks.run(
                session,
                lambda: doomed.RemoveSnapshot_Task(removeChildren=False, consolidate=True),
                on=on,
                wait=wait,
                what="the snapshot's removal",
            ).seconds
    except ConnectorError:
        if _exists(tree(session, vm), target):
            raise
        return None


def _is_deleted(session: Session, vm: Any) -> bool:
    """Whether the machine itself is gone. A task may miss something too, such as a file, and then the machine stays."""
    try:
        read(session, vm, (MARKER,), on=moref(vm))
    except NotFound:
        return True
    except ConnectorError:
        return False
    return False


def _whole(row: PropertyRow) -> bool:
    """Whether the row shows the machine whole: then no snapshot in it means that there is none."""
    return row.get("snapshot") is not None or bool(row.get(MARKER))


def _merge(session: Session, vm: Any, target: str | None, wait: WaitLimit) -> None:
    """Wait until the snapshot is not in the tree, and consolidate what the removal left open."""
    on = moref(vm)

    def gone(row: PropertyRow) -> bool:
        return target is None or (_whole(row) and not _exists(row, target))

    row = tasks.watch(session, vm, _TREE, gone, on=on, wait=wait, what="the snapshot's removal")
    if row.get("runtime.consolidationNeeded"):
        consolidate(session, vm, wait)


def consolidate(session: Session, vm: Any, wait: WaitLimit) -> None:
    """Consolidate open deltas, and wait until vCenter says that none is left."""
    on = moref(vm)
    try:
        with translated(on):
            tasks.run(session, vm.ConsolidateVMDisks_Task, on=on, wait=wait, what="the consolidation")
    except Interrupted:
        raise
    except ConnectorError as failed:
        failed.remedy = failed.remedy or "consolidate the disks in vCenter"
        raise
    tasks.watch(
        session,
        vm,
        _TREE,
        lambda now: _whole(now) and not now.get("runtime.consolidationNeeded"),
        on=on,
        wait=wait,
        what="the consolidation",
    )
