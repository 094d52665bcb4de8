"""Power operations, and the guest's side of them: no write reaches a disk after its machine is off."""

import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from simulator.estate.errors import EstateFault, InvalidPowerState, NoDiskSpace, ToolsUnavailable
from simulator.estate.inventory import PowerState, ToolsState, VirtualMachine, now

if TYPE_CHECKING:
    from simulator.estate.disk import Disk
    from simulator.estate.estate import Estate

_SPACE_CHECK = 4 << 20  # bytes a guest may write between two looks at the datastore
OUT_OF_SPACE = "msg.hbacommon.outofspace: There is no more space for a virtual disk of {name}"


class Power:
    """Power and guest writes of all machines. Any thread."""

    def __init__(self, estate: "Estate") -> None:
        self._estate = estate
        self._unchecked: dict[str, int] = {}

    def on(self, moref: str) -> None:
        """Raises InvalidPowerState, TaskInProgress. A pending change of CBT takes effect."""
        with self._estate.operation(moref) as vm:
            _demand(vm, PowerState.OFF, PowerState.SUSPENDED)
            self._estate.closing.wait(self._estate.timing.power_on)
            self._estate.hardware.settle_tracking(moref)
            tools = ToolsState.RUNNING if vm.guest.tools_installed else ToolsState.NOT_RUNNING
            self._become(moref, PowerState.ON, tools)

    def off(self, moref: str) -> None:
        """Pull the plug. Raises InvalidPowerState, TaskInProgress."""
        with self._estate.operation(moref) as vm:
            _demand(vm, PowerState.ON, PowerState.SUSPENDED)
            self._stop(moref, PowerState.OFF)

    def crash(self, moref: str) -> None:
        """The host loses its power: the machine is off, and its tracking files were not closed, so tracking
        begins anew. Raises InvalidPowerState, TaskInProgress.
        """
        with self._estate.operation(moref) as vm:
            _demand(vm, PowerState.ON)
            self._stop(moref, PowerState.OFF)
            for disk in vm.disks:
                tracking = self._estate.storage.disk(disk.storage).tracking if disk.storage else None
                if tracking is not None and tracking.active:
                    tracking.enable(uuid4())
            self._estate.hardware.refresh(moref)

    def suspend(self, moref: str) -> None:
        """Raises InvalidPowerState, TaskInProgress."""
        with self._estate.operation(moref) as vm:
            _demand(vm, PowerState.ON)
            self._stop(moref, PowerState.SUSPENDED)

    def reset(self, moref: str) -> None:
        """Off and on at once; a warm reset is no stun, so a pending change of CBT stays pending."""
        with self._estate.operation(moref) as vm:
            _demand(vm, PowerState.ON)
            self._become(moref, PowerState.ON, vm.guest.tools)

    def shutdown_guest(self, moref: str) -> None:
        """Ask the guest to shut down; returns at once, the machine is off `Timing.guest_shutdown` seconds
        later.

        Raises InvalidPowerState, ToolsUnavailable.
        """
        vm = self._estate.inventory.vm(moref)
        _demand(vm, PowerState.ON)
        if vm.guest.tools is not ToolsState.RUNNING:
            raise ToolsUnavailable(f"{vm.name}: VMware Tools is not running in the guest", obj=moref)
        seconds = self._estate.timing.guest_shutdown
        if seconds is None or self._estate.faults.meet("estate.shutdown", moref).get("ignore"):
            return
        threading.Thread(
            target=self._shut_down, args=(moref, seconds), name=f"shutdown {moref}", daemon=True
        ).start()

    def write(self, moref: str, key: int, offset: int, data: bytes) -> None:
        """A guest writes whole sectors; waits while the machine is stunned.

        Raises InvalidPowerState once the machine is off, NoDiskSpace when the datastore is full (retry
        later).
        """
        self._access(moref, key, len(data))
        with self._estate.gate(moref).writing():
            lost = self._estate.faults.meet("estate.track", moref).get("lose", False)
            self._live(moref, key).write(offset, data, tracked=not lost)

    def discard(self, moref: str, key: int, offset: int, length: int) -> None:
        """A guest trims whole sectors; as `write`."""
        with self._estate.gate(moref).writing():
            self._live(moref, key).discard(offset, length)

    def read(self, moref: str, key: int, offset: int, length: int) -> bytes:
        """A guest reads."""
        disk = self._estate.inventory.vm(moref).disk(key)
        return self._estate.storage.disk(disk.storage).read(offset, length)

    def _live(self, moref: str, key: int) -> "Disk":
        vm = self._estate.inventory.vm(moref)
        _demand(vm, PowerState.ON)
        return self._estate.storage.disk(vm.disk(key).storage)

    def _access(self, moref: str, key: int, length: int) -> None:
        estate = self._estate
        estate.faults.meet("estate.write", moref)
        self._unchecked[moref] = self._unchecked.get(moref, _SPACE_CHECK) + length
        if self._unchecked[moref] < _SPACE_CHECK:
            return
        vm = estate.inventory.vm(moref)
        datastore = vm.disk(key).datastore
        if estate.free_space(datastore) < _SPACE_CHECK:
            if vm.question is None:
                estate.change_vm(moref, question=OUT_OF_SPACE.format(name=vm.name))
            name = estate.inventory.datastores[datastore].name
            raise NoDiskSpace(f"{vm.name}: no space left on {name}", datastore=name, file=vm.disk(key).path)
        self._unchecked[moref] = 0
        if vm.question is not None:
            estate.change_vm(moref, question=None)

    def _shut_down(self, moref: str, seconds: float) -> None:
        """The guest's shutdown: it ends with the power off, whatever else happens."""
        while not self._estate.closing.wait(seconds):
            try:
                self.off(moref)
            except InvalidPowerState:
                return
            except EstateFault:
                seconds = 0.01  # another task holds the machine
                continue
            return

    def _stop(self, moref: str, state: PowerState) -> None:
        with self._estate.gate(moref).stun():
            self._become(moref, state, ToolsState.NOT_RUNNING)

    def _become(self, moref: str, state: PowerState, tools: ToolsState) -> None:
        guest = replace(self._estate.inventory.vm(moref).guest, tools=tools)
        boot = now() if state is PowerState.ON else None
        self._estate.change_vm(moref, power_state=state, guest=guest, boot_time=boot, question=None)


def _demand(vm: VirtualMachine, *states: PowerState) -> None:
    if vm.power_state not in states:
        raise InvalidPowerState(
            f"{vm.name}: the attempted operation cannot be performed in the current state ({vm.power_state})",
            requestedState=states[0].value,
            existingState=vm.power_state.value,
        )
