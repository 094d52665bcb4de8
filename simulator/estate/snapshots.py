"""Snapshots of whole machines, and the query of the changes between them.

All disks of a machine are frozen in one stun. A snapshot leaves the tree before its layers are merged, so a
kill in between leaves a machine that needs consolidation, never a snapshot with half its bytes.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from simulator.estate.areas import Area
from simulator.estate.errors import (
    InvalidArgument,
    InvalidPowerState,
    InvalidState,
    NoDiskSpace,
    SnapshotFault,
    ToolsUnavailable,
)
from simulator.estate.inventory import PowerState, Snapshot, ToolsState, VirtualDisk, VirtualMachine, now

if TYPE_CHECKING:
    from simulator.estate.estate import Estate

_LEAST_SPACE = 16 << 20  # a snapshot is refused on a datastore with less than this left


class Snapshots:
    """Snapshots of all machines. Any thread; one operation on a machine at a time (TaskInProgress)."""

    def __init__(self, estate: "Estate") -> None:
        self._estate = estate

    def create(
        self, moref: str, name: str, description: str = "", *, memory: bool = False, quiesce: bool = False
    ) -> str:
        """Freeze every disk that allows it at one instant; the snapshot's moref.

        Raises SnapshotFault, ToolsUnavailable (quiesce), NoDiskSpace, TaskInProgress.
        """
        estate = self._estate
        with estate.operation(moref) as vm:
            _check_snapshot(vm, memory, quiesce, estate.policy.snapshot_levels)
            self._check_space(vm)
            estate.faults.meet("estate.freeze", moref)
            number = estate.next_number("snapshot")
            point = f"snapshot-{number}"
            with estate.stun(moref, estate.timing.snapshot_stun):
                estate.hardware.settle_tracking(moref)
                vm = estate.inventory.vm(moref)
                disks = tuple(self._frozen(disk, point) for disk in vm.disks)
                shot = Snapshot(
                    moref=point,
                    id=number,
                    name=name,
                    description=description,
                    created=now(estate.timing.clock_ahead),
                    parent=vm.current_snapshot,
                    power_state=vm.power_state,
                    disks=disks,
                    memory=memory and vm.power_state is PowerState.ON,
                    quiesced=quiesce,
                    change_tracking=vm.change_tracking,
                )
                estate.change_vm(moref, snapshots=(*vm.snapshots, shot), current_snapshot=point)
                estate.hardware.refresh(moref)
            return point

    def remove(self, moref: str, snapshot: str, *, children: bool = False, consolidate: bool = True) -> None:
        """Remove a snapshot, with its children or alone, and merge its layers unless `consolidate` is False.

        Raises NotFound, TaskInProgress. When folding fails the snapshot is gone and the machine needs
        consolidation.
        """
        with self._estate.operation(moref) as vm:
            gone = [vm.snapshot(snapshot)]
            if children:
                gone += vm.descendants(snapshot)
            self._forget(vm, gone)
            if consolidate:
                self._fold(moref)

    def remove_all(self, moref: str, *, consolidate: bool = True) -> None:
        """Remove every snapshot of a machine. Raises TaskInProgress."""
        with self._estate.operation(moref) as vm:
            self._forget(vm, vm.snapshots)
            if consolidate:
                self._fold(moref)

    def consolidate(self, moref: str) -> None:
        """Fold layers that no snapshot needs any more. Raises TaskInProgress."""
        with self._estate.operation(moref):
            self._fold(moref)

    def revert(self, moref: str, snapshot: str | None = None) -> None:
        """Go back to a snapshot (None: the current one): its disks and contents, and off unless it has
        memory.

        Change ids from before become foreign. Raises NotFound, TaskInProgress.
        """
        with self._estate.operation(moref) as vm:
            target = snapshot or vm.current_snapshot
            if target is None:
                raise InvalidState(f"{vm.name}: has no snapshot to revert to")
            vm.snapshot(target)
            self._estate.faults.meet("estate.revert", moref)
            with self._estate.stun(moref, self._estate.timing.snapshot_stun):
                self._estate.change_vm(moref, reverting=target)
                self._revert(moref, target)

    def query_changed(
        self, moref: str, snapshot: str | None, key: int, start: int, change_id: str
    ) -> list[Area]:
        """Every area of a disk from byte `start` on that changed after `change_id` and up to the snapshot
        (None: now, for a machine that is off). "*" answers what is allocated. Not paged: that is the
        server's to do.

        Raises NotFound, InvalidArgument (deviceKey, startOffset, changeId), FileFault, InvalidPowerState.
        """
        vm = self._estate.inventory.vm(moref)
        change_id = self._estate.faults.meet("estate.query", moref).get("changeId", change_id)
        if snapshot is None and vm.power_state is not PowerState.OFF:
            raise InvalidPowerState(f"{vm.name}: changed areas of a running machine need a snapshot")
        disk = _device(vm.disks if snapshot is None else vm.snapshot(snapshot).disks, key)
        if not 0 <= start < disk.capacity:
            raise InvalidArgument("startOffset")
        content = self._estate.storage.disk(disk.storage)
        areas = content.changed(change_id, snapshot, disk.change_id)
        return [area for area in (_from(area, start) for area in areas) if area.length]

    def recover(self, moref: str) -> None:
        """After a restart: finish an interrupted revert, drop layers of snapshots that never came to be."""
        vm = self._estate.inventory.vm(moref)
        if not _storages(vm):
            return
        known = {shot.moref for shot in vm.snapshots}
        for storage in _storages(vm):
            chain = self._estate.storage.disk(storage).chain
            for stray in chain.points - known:
                chain.forget(stray)
        if vm.reverting is not None:
            self._revert(moref, vm.reverting)
        needed = self._needs_folding(vm)
        if needed != vm.consolidation_needed:
            self._estate.change_vm(moref, consolidation_needed=needed)
        self._estate.hardware.refresh(moref)

    def _frozen(self, disk: VirtualDisk, point: str) -> VirtualDisk:
        if not disk.storage or not disk.snapshots_allowed:
            return replace(disk, change_id=None)
        return replace(disk, change_id=self._estate.storage.disk(disk.storage).freeze(point))

    def _forget(self, vm: VirtualMachine, gone: Iterable[Snapshot]) -> None:
        """Take snapshots out of the tree; what hung below them hangs below their nearest remaining
        ancestor.
        """
        estate, parents = self._estate, {shot.moref: shot.parent for shot in gone}
        remaining = tuple(shot for shot in vm.snapshots if shot.moref not in parents)
        with estate.stun(vm.moref, estate.timing.snapshot_stun):
            estate.hardware.settle_tracking(vm.moref)
            left = tuple(replace(shot, parent=_climb(shot.parent, parents)) for shot in remaining)
            estate.change_vm(vm.moref, snapshots=left, current_snapshot=_climb(vm.current_snapshot, parents))
            for storage in _storages(vm):
                for moref in parents:
                    estate.storage.disk(storage).chain.forget(moref)
        self._release(vm)
        estate.change_vm(vm.moref, consolidation_needed=self._needs_folding(estate.inventory.vm(vm.moref)))

    def _release(self, before: VirtualMachine) -> None:
        """Delete the contents of disks that were removed earlier and that only these snapshots still held."""
        after = self._estate.inventory.vm(before.moref)
        for storage in _storages(before) - _storages(after):
            self._estate.storage.delete(storage)

    def _fold(self, moref: str) -> None:
        estate = self._estate
        estate.faults.meet("estate.consolidate", moref)
        for storage in sorted(_storages(estate.inventory.vm(moref))):
            estate.storage.disk(storage).chain.consolidate(
                lambda: estate.stun(moref, estate.timing.switch_stun),
                lambda: estate.hardware.refresh(moref),
            )
        estate.change_vm(moref, consolidation_needed=False)
        estate.hardware.refresh(moref)

    def _revert(self, moref: str, target: str) -> None:
        estate = self._estate
        vm = estate.inventory.vm(moref)
        shot = vm.snapshot(target)
        for disk in shot.disks:
            content = estate.storage.disk(disk.storage) if disk.storage else None
            if content is not None and target in content.chain.points:
                content.revert(target, uuid4())
        on = shot.memory and shot.power_state is PowerState.ON
        tools = ToolsState.RUNNING if on and vm.guest.tools_installed else ToolsState.NOT_RUNNING
        estate.change_vm(
            moref,
            disks=shot.disks,
            current_snapshot=target,
            reverting=None,
            power_state=PowerState.ON if on else PowerState.OFF,
            guest=replace(vm.guest, tools=tools),
            change_tracking=shot.change_tracking,
        )
        estate.hardware.settle_tracking(moref)
        estate.change_vm(moref, consolidation_needed=self._needs_folding(estate.inventory.vm(moref)))

    def _needs_folding(self, vm: VirtualMachine) -> bool:
        return any(self._estate.storage.disk(name).chain.needs_consolidation for name in _storages(vm))

    def _check_space(self, vm: VirtualMachine) -> None:
        for datastore in {disk.datastore for disk in vm.disks}:
            if self._estate.free_space(datastore) < _LEAST_SPACE:
                name = self._estate.inventory.datastores[datastore].name
                raise NoDiskSpace(
                    f"{vm.name}: no space for a snapshot on {name}", datastore=name, file=vm.name
                )


def _check_snapshot(vm: VirtualMachine, memory: bool, quiesce: bool, levels: int) -> None:
    running = vm.power_state is PowerState.ON
    if quiesce and running and vm.guest.tools is not ToolsState.RUNNING:
        raise ToolsUnavailable(f"{vm.name}: cannot quiesce, VMware Tools is not running")
    shared = {entry.key for entry in vm.controllers if entry.sharing != "noSharing"}
    for disk in vm.disks:
        if running and (disk.controller in shared or disk.sharing != "sharingNone"):
            raise SnapshotFault(f"{vm.name}: {disk.label} is shared with other machines")
        if running and memory and not disk.snapshots_allowed:
            raise SnapshotFault(
                f"{vm.name}: a memory snapshot is not possible with {disk.label} ({disk.mode})"
            )
    depth, at = 0, vm.current_snapshot
    while at is not None:
        depth, at = depth + 1, vm.snapshot(at).parent
    if depth >= levels:
        raise SnapshotFault(f"{vm.name}: more than {levels} levels of snapshots")


def _storages(vm: VirtualMachine) -> set[str]:
    disks = (*vm.disks, *(disk for shot in vm.snapshots for disk in shot.disks))
    return {disk.storage for disk in disks if disk.storage}


def _climb(moref: str | None, parents: dict[str, str | None]) -> str | None:
    while moref in parents:
        moref = parents[moref]
    return moref


def _device(disks: Iterable[VirtualDisk], key: int) -> VirtualDisk:
    match = next((disk for disk in disks if disk.key == key and disk.storage), None)
    if match is None or not match.snapshots_allowed:
        raise InvalidArgument("deviceKey")
    return match


def _from(area: Area, start: int) -> Area:
    low = max(area.start, start)
    return Area(low, max(area.stop - low, 0))
