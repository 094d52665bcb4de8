"""Reconfiguration of machines: CBT, which acts from the next stun on, and disks that are added, grown and removed."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from simulator.estate.errors import InvalidArgument, InvalidState, NoDiskSpace
from simulator.estate.inventory import VirtualDisk, VirtualMachine

if TYPE_CHECKING:
    from simulator.estate.estate import Estate

_DELTA = re.compile(r"-\d{6}$")
_BUS_NAMES = {"sata": "sata", "nvme": "nvme", "ide": "ide"}
_KEYS = {"ide": (3000, 2), "sata": (16000, 30), "nvme": (32000, 64)}  # first key, units of a controller
_PLAIN = frozenset(
    {"name", "annotation", "cpus", "memory", "template", "guest", "guest_id", "extra", "controllers", "nics"}
    | {"connection_state", "question", "host", "secure_boot", "change_tracking_supported", "version"}
    | {"boot_order", "firmware"}
)


class Hardware:
    """Configuration of all machines. Any thread; one operation on a machine at a time (TaskInProgress)."""

    def __init__(self, estate: "Estate") -> None:
        self._estate = estate

    def set_change_tracking(self, moref: str, wanted: bool) -> None:
        """Configure CBT; it acts from the next stun on (power on, snapshot created, removed or reverted).

        Raises InvalidState while snapshots exist, if the policy says so; else such tracking is silently
        wrong.
        """
        with self._estate.operation(moref) as vm:
            if wanted == vm.change_tracking:
                return
            if wanted and not vm.change_tracking_supported:
                raise InvalidState(f"{vm.name}: change tracking is not supported")
            if wanted and vm.snapshots and self._estate.policy.tracking_with_snapshots == "refuse":
                raise InvalidState(f"{vm.name}: change tracking cannot be enabled while snapshots exist")
            self._estate.change_vm(moref, change_tracking=wanted, tracking_pending=True)

    def settle_tracking(self, moref: str) -> None:
        """Make every disk's tracking as configured. Called inside a stun."""
        vm = self._estate.inventory.vm(moref)
        extra = dict(vm.extra)
        for disk in filter(lambda disk: disk.storage and disk.snapshots_allowed, vm.disks):
            tracking = self._estate.storage.disk(disk.storage).tracking
            if vm.change_tracking and not tracking.active:
                tracking.enable(uuid4(), tainted=bool(vm.snapshots))
            elif tracking.active and not vm.change_tracking:
                tracking.disable()
            extra[f"{slot(vm, disk)}.ctkEnabled"] = str(vm.change_tracking).upper()
        if extra != vm.extra or vm.tracking_pending:
            extra["ctkEnabled"] = str(vm.change_tracking).upper()
            self._estate.change_vm(moref, tracking_pending=False, extra=extra)
        self.refresh(moref)

    def refresh(self, moref: str) -> None:
        """Make paths and change ids in the inventory those of the disks as they are; export the views."""
        vm = self._estate.inventory.vm(moref)
        snapshots = tuple(
            replace(shot, disks=tuple(self._described(disk, shot.moref) for disk in shot.disks))
            for shot in vm.snapshots
        )
        disks = tuple(self._described(disk, None) for disk in vm.disks)
        self._estate.change_vm(moref, disks=disks, snapshots=snapshots)

    def edit(self, moref: str, **values: Any) -> None:
        """Change plain fields: name, annotation, cpus, memory, template, guest, extra, controllers, nics,
        ...
        """
        wrong = sorted(set(values) - _PLAIN)
        if wrong:
            raise InvalidArgument("spec", f"cannot edit {', '.join(wrong)}")
        with self._estate.operation(moref):
            self._estate.change_vm(moref, **values)

    def add_disk(self, moref: str, controller: int, unit: int, capacity: int, **values: Any) -> VirtualDisk:
        """Hot-add a disk: blank, or with `base=` a raw file that is moved in; other fields as in VirtualDisk.

        Raises InvalidArgument, NoDiskSpace. With CBT on it is tracked from the next stun on.
        """
        with self._estate.operation(moref) as vm:
            base: Path | None = values.pop("base", None)
            if not any(entry.key == controller for entry in vm.controllers):
                raise InvalidArgument("controllerKey")
            if any((disk.controller, disk.unit) == (controller, unit) for disk in vm.disks):
                raise InvalidArgument("unitNumber")
            if capacity <= 0 or capacity % 512:
                raise InvalidArgument("capacityInBytes")
            disk = self._new_disk(vm, controller, unit, capacity, base, values)
            pending = vm.change_tracking or vm.tracking_pending
            self._estate.change_vm(moref, disks=(*vm.disks, disk), tracking_pending=pending)
            return disk

    def remove_disk(self, moref: str, key: int, *, destroy: bool = False) -> None:
        """Hot-remove a disk; its bytes stay while a snapshot needs them, and also unless `destroy`."""
        with self._estate.operation(moref) as vm:
            gone = vm.disk(key)
            with self._estate.gate(moref).stun():
                self._estate.change_vm(moref, disks=tuple(disk for disk in vm.disks if disk.key != key))
            needed = any(disk.storage == gone.storage for shot in vm.snapshots for disk in shot.disks)
            if destroy and gone.storage and not needed:
                self._estate.storage.delete(gone.storage)

    def attach_disk(self, moref: str, disk: VirtualDisk) -> None:
        """Put a removed disk back, with its bytes, its name and its key; tracking begins anew at the next stun.

        Raises InvalidArgument when its place or its key is taken.
        """
        with self._estate.operation(moref) as vm:
            places = {(other.controller, other.unit) for other in vm.disks}
            if (disk.controller, disk.unit) in places or any(other.key == disk.key for other in vm.disks):
                raise InvalidArgument("unitNumber")
            self._estate.storage.disk(disk.storage).tracking.disable()
            pending = vm.change_tracking or vm.tracking_pending
            self._estate.change_vm(moref, disks=(*vm.disks, disk), tracking_pending=pending)
            self.refresh(moref)

    def extend_disk(self, moref: str, key: int, capacity: int) -> None:
        """Grow a disk, running or not. Raises InvalidState with snapshots, InvalidArgument when not
        larger.
        """
        with self._estate.operation(moref) as vm:
            if capacity < vm.disk(key).capacity or capacity % 512:
                raise InvalidArgument("capacityInBytes")
            with self._estate.gate(moref).stun():
                self._estate.storage.disk(vm.disk(key).storage).extend(capacity)
                self.refresh(moref)

    def relocate(self, moref: str, datastore: str, *, keep_tracking: bool = False) -> None:
        """Move all disks to another datastore, running or not: new paths, and tracking starts anew, unless
        `keep_tracking` has it go on as later releases do.

        Raises InvalidState with snapshots, NotFound, NoDiskSpace.
        """
        estate = self._estate
        with estate.operation(moref) as vm:
            if vm.snapshots:
                raise InvalidState(f"{vm.name}: has snapshots; remove them before moving its disks")
            contents = {disk.key: estate.storage.disk(disk.storage) for disk in vm.disks if disk.storage}
            need = sum(
                contents[disk.key].chain.used(thin=disk.thin) for disk in vm.disks if disk.key in contents
            )
            if estate.free_space(datastore) < need:
                raise NoDiskSpace(f"{vm.name}: does not fit on the new datastore", datastore=datastore)
            names = {moref: store.name for moref, store in estate.inventory.datastores.items()}
            with estate.stun(moref, estate.timing.switch_stun):
                for content in contents.values():
                    if content.tracking.active and not keep_tracking:
                        content.tracking.enable(uuid4())
                disks = tuple(_moved(disk, datastore, names) for disk in vm.disks)
                estate.change_vm(moref, disks=disks, datastore=datastore)
                self.refresh(moref)

    def _described(self, disk: VirtualDisk, point: str | None) -> VirtualDisk:
        if not disk.storage:
            return disk
        content = self._estate.storage.disk(disk.storage)
        if point is not None and point not in content.chain.points:
            return disk
        directory, _, _ = disk.path.rpartition("/")
        current = content.tracking.current_id() if point is None else disk.change_id
        change_id = None if current is None else str(current)
        path, *parents = (f"{directory}/{name}" for name in content.chain.names(point))
        return replace(
            disk, path=path, change_id=change_id, capacity=content.chain.capacity, parents=tuple(parents)
        )

    def _new_disk(
        self,
        vm: VirtualMachine,
        controller: int,
        unit: int,
        capacity: int,
        base: Path | None,
        values: dict[str, Any],
    ) -> VirtualDisk:
        estate = self._estate
        datastore = values.pop("datastore", vm.datastore)
        thin = values.get("thin", True)
        need = capacity if not thin else base.stat().st_blocks * 512 if base is not None else 0
        if estate.free_space(datastore) < need:
            raise NoDiskSpace(f"{vm.name}: a disk of {capacity} bytes does not fit", datastore=datastore)
        key = values.pop("key", None) or _free_key(vm, controller, unit)
        storage = f"disk-{estate.next_number('disk')}"
        stem = _free_stem(vm)
        estate.storage.create(storage, stem, capacity, base)
        number = len(vm.disks) + 1
        fresh: dict[str, Any] = {"label": f"Hard disk {number}", "uuid": _vmdk_uuid()}
        path = f"[{estate.inventory.datastores[datastore].name}] {vm.directory}/{stem}.vmdk"
        return VirtualDisk(
            key=key,
            controller=controller,
            unit=unit,
            capacity=capacity,
            path=path,
            datastore=datastore,
            storage=storage,
            **(fresh | values),
        )


def slot(vm: VirtualMachine, disk: VirtualDisk) -> str:
    """The name a vmx file gives to a disk's place: "scsi0:1"."""
    controller = next(entry for entry in vm.controllers if entry.key == disk.controller)
    return f"{_BUS_NAMES.get(controller.kind, 'scsi')}{controller.bus}:{disk.unit}"


def _moved(disk: VirtualDisk, datastore: str, names: dict[str, str]) -> VirtualDisk:
    """A name may hold brackets: the path is that of the disk's own datastore."""
    file = disk.path.removeprefix(f"[{names[disk.datastore]}]")
    return replace(disk, datastore=datastore, path=f"[{names[datastore]}]{file}")


def _free_key(vm: VirtualMachine, controller: int, unit: int) -> int:
    """A key as vSphere gives it: 2000 on SCSI, 3000 on IDE, 16000 on SATA, 32000 on NVMe, and 131072 for the units of a
    PVSCSI controller that came later (16 and above).
    """
    known = next(entry for entry in vm.controllers if entry.key == controller)
    used_keys = {disk.key for disk in vm.disks}
    first, units = _KEYS.get(known.kind, (2000, 16))
    if known.kind not in _KEYS and unit >= units:
        first, units = 131072, 64
    return next(key for key in itertools.count(first + units * known.bus + unit) if key not in used_keys)


def _stems(vm: VirtualMachine) -> set[str]:
    """Base names of the machine's disks, removed ones that a snapshot holds included."""
    disks = (*vm.disks, *(disk for shot in vm.snapshots for disk in shot.disks))
    return {_DELTA.sub("", disk.path.rpartition("/")[2].removesuffix(".vmdk")) for disk in disks}


def _free_stem(vm: VirtualMachine) -> str:
    used_stems = _stems(vm)
    stems = [vm.directory, *(f"{vm.directory}_{n}" for n in range(1, len(used_stems) + 1))]
    return next(stem for stem in stems if stem not in used_stems)


def _vmdk_uuid() -> str:
    return f"6000C29{str(uuid4())[7:]}"
