"""Switches CBT on and off, and asks what changed between two snapshots. A disk without a change id is read in full.

CBT may be turned on only while the machine has no snapshots. Otherwise vSphere gives wrong answers, without an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Event
from typing import Any

from connector.amounts import plural
from connector.errors import ChangesUnknown, Conflict, ConnectorError, Ineligible, VCenterFault
from connector.model import Extent, MachineDisk
from connector.vcenter import snapshots, tasks
from connector.vcenter.changes import EVERYTHING, ChangedAreas, covered, doubted, unknown, why_no_delta
from connector.vcenter.devices import disks
from connector.vcenter.eligibility import hardware_level, trackable
from connector.vcenter.faults import translated
from connector.vcenter.inventory import snapshot_nodes
from connector.vcenter.ledger import TRACKING, SnapshotLedger
from connector.vcenter.naming import Ticket
from connector.vcenter.partial import demand
from connector.vcenter.properties import PropertyRow, read
from connector.vcenter.session import Session
from connector.vcenter.tasks import WaitLimit
from connector.vcenter.values import text
from connector.vcenter.vmomi import vim

_RECONFIGURE = 600.0  # seconds
_READS = (
    "name",
    "config.version",
    "config.changeTrackingEnabled",
    "config.extraConfig",
    "config.hardware.device",
    "capability.changeTrackingSupported",
    "runtime.powerState",
    "snapshot",
)


@dataclass(frozen=True, slots=True)
class Tracking:
    """How a machine's CBT was, and how it is now. `restore` needs `was_enabled` later."""

    machine: str
    was_enabled: bool
    turned_on: bool
    full_each_time: tuple[int, ...] = ()  # device keys of disks that vSphere does not claim to track


def ensure(
    session: Session, machine: str, ticket: Ticket, ledger: SnapshotLedger, *, stop: Event | None = None
) -> Tracking:
    """Turn CBT on for the machine and each of its trackable disks, unless it is on.

    Before, the ledger records under `ticket.tracking` that it was off, so that it can be turned off again.
    A running machine is stunned once, by a snapshot of our own (recorded like any other). Raises `Ineligible`
    when the machine cannot be tracked as it is.
    """
    vm = session.managed(vim.VirtualMachine, machine)
    before = _read(session, vm, machine)
    was_enabled = bool(before.get("config.changeTrackingEnabled"))
    # a machine that is off is tracked from its next snapshot on; its disks get their keys then
    running = str(before.get("runtime.powerState")) == "poweredOn"
    missing = _unmarked(before) if running else ()
    hindrance = _hindrance(before)
    if was_enabled and (not missing or hindrance):
        return Tracking(machine, True, False, _never(before, missing))
    if hindrance:
        raise hindrance
    if not was_enabled:
        ledger.planned(machine, ticket.tracking, TRACKING)
    _reconfigure(session, vm, True, missing if was_enabled else (), stop)
    if running:
        with snapshots.held(session, machine, _stun(ticket), ledger, stop=stop) as stun:
            pass
        if stun.cost.left:
            raise Conflict(
                f"the snapshot that switched CBT on was not removed: {stun.cost.left}",
                on=machine,
                remedy="remove it with connector doctor --repair, then start again",
            )
    after = _read(session, vm, machine)
    if not after.get("config.changeTrackingEnabled"):
        raise VCenterFault(
            "CBT was turned on, but vCenter still says that it is off",
            on=_name(after),
            remedy="look in vCenter whether the machine can be tracked; remove its snapshots and start again",
        )
    return Tracking(machine, was_enabled, True, _never(after, _unmarked(after) if running else ()))


def restore(session: Session, tracking: Tracking) -> None:
    """Turn CBT off again where it was off; vSphere drops the tracking files at the machine's next stun."""
    if not tracking.was_enabled:
        _reconfigure(session, session.managed(vim.VirtualMachine, tracking.machine), False, (), None)


def _read(session: Session, vm: Any, machine: str) -> PropertyRow:
    """The properties, complete: a machine without its configuration would look as if CBT had been off."""
    row = read(session, vm, _READS, on=machine)
    demand(row, "config.hardware.device", machine)
    demand(row, "runtime.powerState", machine)
    if row.get("capability.changeTrackingSupported") is None:
        demand(row, "capability.changeTrackingSupported", machine)
    return row


def _hindrance(row: PropertyRow) -> ConnectorError | None:
    """Why CBT cannot be turned on now."""
    level = row.get("config.version") or ""
    if not row.get("capability.changeTrackingSupported"):
        return Ineligible("its host does not support CBT for it", on=_name(row), remedy=_COLD)
    if hardware_level(level) < 7:
        return Ineligible(f"hardware version {level or 'unknown'} has no CBT", on=_name(row), remedy=_COLD)
    nodes = snapshot_nodes(row.get("snapshot"))
    if any(Ticket.of(node.description) for node in nodes):
        return Conflict(
            "a snapshot of a connector is on it, CBT cannot be turned on",
            on=_name(row),
            remedy="`connector doctor --repair` removes what was left; a snapshot of another connector is for that one to remove",
        )
    if nodes:
        return Ineligible(
            f"CBT cannot be turned on while it has {plural(len(nodes), 'snapshot')}",
            on=_name(row),
            remedy="delete its snapshots, or migrate it powered off",
        )
    return None


_COLD = "migrate it powered off"


def _name(row: PropertyRow) -> str:
    return str(row.get("name") or row.moref)


def _unmarked(row: PropertyRow) -> tuple[MachineDisk, ...]:
    """The trackable disks whose own ctkEnabled key is not set."""
    on = {
        text(option.key).lower()
        for option in row.get("config.extraConfig") or ()
        if text(option.key).lower().endswith(".ctkenabled")
        and str(option.value).lower() in ("true", "1", "yes")
    }
    listed = disks(row.get("config.hardware.device") or ())
    return tuple(disk for disk in listed if trackable(disk) and _key(disk).lower() not in on)


def _key(disk: MachineDisk) -> str:
    return f"{disk.controller}:{disk.unit}.ctkEnabled"


def _never(row: PropertyRow, unmarked: Iterable[MachineDisk]) -> tuple[int, ...]:
    listed = disks(row.get("config.hardware.device") or ())
    never = {disk.key for disk in listed if not trackable(disk)} | {disk.key for disk in unmarked}
    return tuple(sorted(never))


def _stun(ticket: Ticket) -> Ticket:
    return Ticket(ticket.owner, f"{ticket.pass_id[:60]}-cbt")


def _reconfigure(
    session: Session, vm: Any, enabled: bool, mark: Iterable[MachineDisk], stop: Event | None
) -> None:
    keys = [vim.option.OptionValue(key=_key(disk), value="TRUE") for disk in mark if disk.controller]
    spec = vim.vm.ConfigSpec(changeTrackingEnabled=enabled, extraConfig=keys)
    on, what = str(vm._moId), "the change of CBT"
    wait = WaitLimit(_RECONFIGURE, stop or Event())

    def once() -> None:
        with translated(on):
            tasks.run(session, lambda: vm.ReconfigVM_Task(spec), on=on, wait=wait, what=what)

    tasks.persist(once, on=on, wait=wait, what=what)


def changed(
    session: Session, machine: str, snapshot: str | None, disk: MachineDisk, base: MachineDisk
) -> tuple[Extent, ...]:
    """The areas of `disk` (of `snapshot`, or of a machine that is off) that changed since the snapshot disk `base`.

    Raises `ChangesUnknown` with the reason when the answer could be incomplete; it never answers "nothing" then.
    """
    why = why_no_delta(base, disk)
    if why is not None or base.change_id is None:
        raise unknown(why or "the base has no change id", disk.label)
    return _areas(session, machine, snapshot, disk, base.change_id)


def in_use(session: Session, machine: str, snapshot: str | None, disk: MachineDisk) -> tuple[Extent, ...]:
    """The areas in use; the whole disk when vSphere does not know them."""
    try:
        return _areas(session, machine, snapshot, disk, EVERYTHING)
    except ChangesUnknown:
        return (Extent(0, disk.capacity),)


def _areas(
    session: Session, machine: str, snapshot: str | None, disk: MachineDisk, since: str
) -> tuple[Extent, ...]:
    vm = session.managed(vim.VirtualMachine, machine)
    view = session.managed(vim.vm.Snapshot, snapshot) if snapshot else None
    on = f"{machine} {disk.label}"

    def ask(start: int) -> ChangedAreas:
        try:
            with translated(on):
                answer = vm.QueryChangedDiskAreas(view, disk.key, start, since)
        except ConnectorError as failed:
            raise doubted(failed) from failed
        areas = tuple(Extent(int(area.start), int(area.length)) for area in answer.changedArea or ())
        return ChangedAreas(int(answer.startOffset), int(answer.length), areas)

    return covered(disk.capacity, ask, on)
