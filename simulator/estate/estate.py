"""The datacenter that the simulator serves: one directory, one inventory value, and the operations that
change it.

An operation changes bytes first and the inventory last, in one step that is saved, exported and announced;
a reader that waits for a change and then looks sees a consistent datacenter. Operations are in `power`,
`snapshots`, `hardware`.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from simulator.estate import store
from simulator.estate.errors import NotFound, TaskInProgress
from simulator.estate.export import Export
from simulator.estate.gate import StunGate
from simulator.estate.hardware import Hardware
from simulator.estate.inventory import Inventory, VirtualDisk, VirtualMachine
from simulator.estate.power import Power
from simulator.estate.snapshots import Snapshots
from simulator.estate.storage import Storage
from simulator.estate.tracking import DEFAULT_GRANULARITY
from simulator.faults import Faults


@dataclass(frozen=True)
class Timing:
    """Seconds that things take. Stuns hold the guest's writes; a `guest_shutdown` of None never ends.

    `clock_ahead`: how far this datacenter's clock is ahead of the machine's that simulates it; negative: behind.
    """

    snapshot_stun: float = 0.02
    switch_stun: float = 0.01
    power_on: float = 0.0
    guest_shutdown: float | None = 0.3
    clock_ahead: float = 0.0


@dataclass(frozen=True)
class Policy:
    """Rules of this datacenter. `tracking_with_snapshots`: enabling CBT while snapshots exist is refused (as
    before vSphere 6.5) or accepted and wrong ("silent"). `keep_epochs`: how many snapshots back a change id
    is good for.
    """

    granularity: int = DEFAULT_GRANULARITY
    keep_epochs: int | None = None
    tracking_with_snapshots: Literal["silent", "refuse"] = "silent"
    snapshot_levels: int = 32


class Estate:
    """One datacenter in one directory; opening the directory again after a kill gives the same datacenter.

    Any thread. Only one Estate may have a directory open. Readers use `inventory`, a frozen value; nothing
    in it ever changes, a new one takes its place and `version` grows.
    """

    def __init__(
        self,
        directory: Path,
        timing: Timing | None = None,
        policy: Policy | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.directory = directory
        self.timing = timing or Timing()
        self.policy = policy or Policy()
        self.faults = faults or Faults()
        self._changed = threading.Condition()
        self._busy: set[str] = set()
        self._gates: dict[str, StunGate] = {}
        self.closing = threading.Event()
        with ExitStack() as stack:
            stack.callback(os.close, _locked(directory))
            self._inventory, self._version = _load(directory), 1
            self.storage = Storage(directory / "disks", self.policy.granularity, self.policy.keep_epochs)
            self.export = Export(directory / "export")
            self.power, self.snapshots, self.hardware = Power(self), Snapshots(self), Hardware(self)
            stack.callback(self.storage.close)
            for moref in self._inventory.vms:
                self.snapshots.recover(moref)
            self._stack = stack.pop_all()

    @property
    def inventory(self) -> Inventory:
        return self._inventory

    @property
    def version(self) -> int:
        """Grows with every change of the inventory."""
        return self._version

    def wait_for_change(self, version: int, timeout: float | None = None) -> int:
        """Block until the version is above `version`, the time is up, or the estate closes; the version
        then.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._version > version or self.closing.is_set(), timeout)
            return self._version

    def change(self, step: Callable[[Inventory], Inventory]) -> Inventory:
        """Replace the inventory by `step` of it: saved, exported, announced. `step` must be pure and
        quick.
        """
        with self._changed:
            before = self._inventory
            after = step(before)
            touched = _save(self.directory, before, after)
            self._inventory = after
        for moref in touched:
            self._export(moref)
        with self._changed:
            self._version += 1
            self._changed.notify_all()
        return after

    def change_vm(self, moref: str, **values: Any) -> VirtualMachine:
        """Replace fields of one machine. Raises NotFound."""

        def step(inventory: Inventory) -> Inventory:
            machine = replace(inventory.vm(moref), **values)
            return replace(inventory, vms=inventory.vms | {moref: machine})

        return self.change(step).vms[moref]

    def next_number(self, kind: str) -> int:
        """The next number of a kind ("vm", "snapshot", ...); no number is used twice."""

        def step(inventory: Inventory) -> Inventory:
            number = inventory.counters.get(kind, 0) + 1
            return replace(inventory, counters=inventory.counters | {kind: number})

        with self._changed:
            self._inventory = after = step(self._inventory)
            _save_rest(self.directory, after)
        return after.counters[kind]

    @contextmanager
    def operation(self, moref: str) -> Iterator[VirtualMachine]:
        """Lock a machine for one operation; yields the machine as it is now. Raises TaskInProgress, NotFound."""
        machine = self._inventory.vm(moref)
        with self._changed:
            if moref in self._busy:
                raise TaskInProgress(f"{machine.name}: another task is already in progress", obj=moref)
            self._busy.add(moref)
        try:
            yield self._inventory.vm(moref)
        finally:
            with self._changed:
                self._busy.discard(moref)

    def gate(self, moref: str) -> StunGate:
        """The gate that the machine's guest writes pass."""
        with self._changed:
            return self._gates.setdefault(moref, StunGate())

    @contextmanager
    def stun(self, moref: str, seconds: float) -> Iterator[None]:
        """Hold the guest's writes for the body, and for at least `seconds` when it runs."""
        with self.gate(moref).stun():
            if self._inventory.vm(moref).power_state == "poweredOn":
                self.closing.wait(seconds)
            yield

    def free_space(self, datastore: str) -> int:
        """Bytes left on a datastore now, deltas included. Raises NotFound."""
        inventory = self._inventory
        if datastore not in inventory.datastores:
            raise NotFound(f"no datastore {datastore}", obj=datastore)
        store_ = inventory.datastores[datastore]
        used = sum(
            self.storage.disk(disk.storage).chain.used(thin=disk.thin) for disk in _on(inventory, datastore)
        )
        return max(0, store_.capacity - store_.other - used)

    def close(self) -> None:
        """Stop timers, wake waiters, close files. Nothing is saved: everything already is."""
        self.closing.set()
        with self._changed:
            self._changed.notify_all()
        self._stack.close()

    def _export(self, moref: str) -> None:
        if moref in self._inventory.vms:
            self.export.write_machine(lambda: self._inventory.vm(moref), self.storage.disk)
        else:
            self.export.remove_machine(moref)


def _on(inventory: Inventory, datastore: str) -> list[VirtualDisk]:
    """Each disk with contents on a datastore once, removed ones that snapshots still hold included."""
    by_storage: dict[str, VirtualDisk] = {}
    for vm in inventory.vms.values():
        for disk in (*vm.disks, *(disk for snapshot in vm.snapshots for disk in snapshot.disks)):
            if disk.datastore == datastore and disk.storage:
                by_storage.setdefault(disk.storage, disk)
    return list(by_storage.values())


def _locked(directory: Path) -> int:
    (directory / "vms").mkdir(parents=True, exist_ok=True)
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise RuntimeError(f"{directory}: another simulator has this estate open; stop it first") from None
    return fd


def _load(directory: Path) -> Inventory:
    path = directory / "inventory.json"
    rest = store.build(Inventory, store.load(path)) if path.exists() else Inventory()
    machines = [
        store.build(VirtualMachine, store.load(file)) for file in (directory / "vms").glob("vm-*.json")
    ]
    machines.sort(key=lambda vm: int(vm.moref.rpartition("-")[2]))
    return replace(rest, vms={vm.moref: vm for vm in machines})


def _save(directory: Path, before: Inventory, after: Inventory) -> list[str]:
    """Write the changed parts; returns the morefs of the changed machines."""
    same = all(
        getattr(before, f.name) is getattr(after, f.name) for f in fields(Inventory) if f.name != "vms"
    )
    if not same:
        _save_rest(directory, after)
    touched = [moref for moref, vm in after.vms.items() if before.vms.get(moref) is not vm]
    gone = [moref for moref in before.vms if moref not in after.vms]
    for moref in touched:
        store.save(directory / "vms" / f"{moref}.json", after.vms[moref])
    for moref in gone:
        (directory / "vms" / f"{moref}.json").unlink(missing_ok=True)
    return touched + gone


def _save_rest(directory: Path, inventory: Inventory) -> None:
    store.save(directory / "inventory.json", replace(inventory, vms={}))
