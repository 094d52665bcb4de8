"""Finds other work on a machine: a backup that runs now, and a lock that a reader left behind.

`disabledMethod` names the calls that are forbidden now. It does not say who forbade them.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final

from connector.errors import ConnectorError
from connector.model import SnapshotNode
from connector.vcenter import tasks
from connector.vcenter.inventory import snapshot_nodes
from connector.vcenter.naming import Ticket, is_backup
from connector.vcenter.properties import PropertyRow, read, sweep
from connector.vcenter.session import Session
from connector.vcenter.vmomi import vim

#: What a reader of disks forbids to others. The calls stay forbidden when the reader dies.
MOVES: Final = frozenset({"RelocateVM_Task", "MigrateVM_Task"})
#: What a backup forbids to others while it works.
SNAPSHOTS: Final = frozenset({"CreateSnapshot_Task", "CreateSnapshotEx_Task", "RemoveSnapshot_Task"})

_WORDS: Final = ("snapshot", "consolidate", "backup", "clone", "relocate", "migrate", "export")
_YOUNG: Final = (
    24 * 3600.0
)  # seconds; an older snapshot of a backup product was left behind, nobody works on it
_READS: Final = ("disabledMethod", "snapshot")


def occupied(session: Session, machine: str, now: float | None = None) -> str:
    """S10, V6: what somebody else is doing on the machine now, in words; empty when nobody is."""
    vm = session.managed(vim.VirtualMachine, machine)
    row = read(session, vm, _READS, on=machine)
    if disabled := SNAPSHOTS & set(row.get("disabledMethod") or ()):
        return f"{', '.join(sorted(disabled))} is switched off for the machine, as backups do while they work"
    nodes = snapshot_nodes(row.get("snapshot"))
    present = session.now() if nodes and now is None else now or 0.0
    for node in nodes:
        if _at_work(node, present):
            return f"a backup holds its snapshot {node.name}"
    for task in tasks.running(session, vm, machine, _WORDS):
        return _in_words(session, task, machine)
    return ""


def locked(session: Session, machine: str) -> bool:
    """Whether vCenter may not move the machine."""
    vm = session.managed(vim.VirtualMachine, machine)
    return _is_locked(read(session, vm, ("disabledMethod",), on=machine))


def all_locked(session: Session) -> tuple[str, ...]:
    """Every machine that vCenter may not move, whoever forbids it."""
    rows = sweep(session, {vim.VirtualMachine: ("disabledMethod",)})
    return tuple(row.moref for row in rows if _is_locked(row))


def _is_locked(row: PropertyRow) -> bool:
    disabled: Collection[str] = row.get("disabledMethod") or ()
    return bool(MOVES & set(disabled))


def _at_work(node: SnapshotNode, now: float) -> bool:
    return Ticket.of(node.description) is None and is_backup(node) and now - node.created < _YOUNG


def _in_words(session: Session, task: Any, machine: str) -> str:
    name, user = "a task", ""
    with suppress(ConnectorError):  # tasks are forgotten after a while
        info = read(session, task, ("info",), machine).get("info")
        name = str(info.descriptionId or name)
        user = str(getattr(info.reason, "userName", "") or "")
    return f"{name}{f' of {user}' if user else ''} is running"
