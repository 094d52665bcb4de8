"""Methods of VirtualMachine and VirtualMachineSnapshot: each call is checked at once, and a task carries it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.estate.inventory import PowerState, VirtualMachine
from simulator.vcenter import edits, host_calls
from simulator.vcenter.api import make, vim, vmodl
from simulator.vcenter.entities import SnapshotOf
from simulator.vcenter.kinds import Call, Method
from simulator.vcenter.tasks import Running, Work

Operation = Callable[[Call, str], Any]


def _vm(call: Call) -> VirtualMachine:
    subject = call.target.subject
    return subject.vm if isinstance(subject, SnapshotOf) else subject


def _task(operation: Operation) -> Method:
    """A method that runs `operation(call, moref)` as a task on the machine."""

    def method(call: Call) -> Any:
        moref = _vm(call).moref

        def work(running: Running) -> Any:
            running.progress(20)
            return operation(call, moref)

        return start_on_machine(call, work)

    return method


def start_on_machine(call: Call, work: Work) -> Any:
    """Start a task whose entity is the machine, also when the call was on one of its snapshots."""
    entity = call.center.locate(vim.VirtualMachine(_vm(call).moref))
    return call.center.tasks.start(call, work, entity)


def _demand(call: Call, *states: PowerState) -> None:
    """Refuse a wrong power state at the call and not in the task, as vCenter does."""
    vm = _vm(call)
    if vm.power_state not in states:
        raise vim.fault.InvalidPowerState(
            requestedState=states[0].value,
            existingState=vm.power_state.value,
            msg="The attempted operation cannot be performed in the current state"
            f" ({_WORDS[vm.power_state]}).",
        )


_WORDS = {PowerState.ON: "Powered on", PowerState.OFF: "Powered off", PowerState.SUSPENDED: "Suspended"}


def _power(name: str, *states: PowerState) -> Method:
    run = _task(lambda call, moref: getattr(call.center.estate.power, name)(moref))

    def method(call: Call) -> Any:
        _demand(call, *states)
        if _vm(call).template and name == "on":
            raise vim.fault.InvalidState(msg="The operation is not supported on a template.")
        return run(call)

    return method


def _shut_down(call: Call) -> None:
    _demand(call, PowerState.ON)
    call.center.estate.power.shutdown_guest(_vm(call).moref)


def _create_snapshot(call: Call, moref: str) -> Any:
    quiesce = bool(call["quiesce"]) or call["quiesceSpec"] is not None
    if quiesce:
        _check_quiesce(_vm(call))
    created = call.center.estate.snapshots.create(
        moref, call["name"], call["description"] or "", memory=bool(call["memory"]), quiesce=quiesce
    )
    return vim.vm.Snapshot(created)


def _check_quiesce(vm: VirtualMachine) -> None:
    """Fail for a guest that cannot be quiesced: extraConfig `simulator.quiesce=fail` says so."""
    if vm.extra.get("simulator.quiesce") == "fail":
        raise vim.fault.ApplicationQuiesceFault(
            msg="An error occurred while quiescing the virtual machine. See the virtual machine's event log."
        )


def _remove_snapshot(call: Call, moref: str) -> None:
    consolidate = call["consolidate"] is not False
    snapshots = call.center.estate.snapshots
    snapshots.remove(moref, call.target.moref, children=bool(call["removeChildren"]), consolidate=consolidate)


def _remove_all(call: Call, moref: str) -> None:
    call.center.estate.snapshots.remove_all(moref, consolidate=call["consolidate"] is not False)


def _revert(call: Call, moref: str) -> None:
    call.center.estate.snapshots.revert(moref, call.target.moref)


def _revert_to_current(call: Call, moref: str) -> None:
    if _vm(call).current_snapshot is None:
        raise vim.fault.NotFound(msg="The virtual machine has no current snapshot.")
    call.center.estate.snapshots.revert(moref)


def _relocate(call: Call, moref: str) -> None:
    """To another datastore, another host, or both."""
    spec = call["spec"]
    center = call.center
    if spec.datastore is not None:
        if center.estate.export.prepared(moref):
            raise vim.fault.MethodDisabled(msg="The method is disabled by 'connector'.", source="connector")
        center.estate.hardware.relocate(moref, spec.datastore._moId)
    if spec.host is not None:
        host_calls.move(center, moref, spec.host._moId)


def _migrate(call: Call, moref: str) -> None:
    if call["host"] is None:
        raise invalid_argument("host")
    host_calls.move(call.center, moref, call["host"]._moId)


def _consolidate(call: Call, moref: str) -> None:
    call.center.estate.snapshots.consolidate(moref)


def _rename_snapshot(call: Call) -> None:
    subject: SnapshotOf = call.target.subject
    edits.rename_snapshot(
        call.center, subject.vm.moref, subject.snapshot.moref, call["name"], call["description"]
    )


def query_changed_disk_areas(call: Call) -> Any:
    """One window of the changed areas: at most `cbt_page` extents, and empty windows in between when asked
    for.
    """
    center, vm = call.center, _vm(call)
    reference, key, start = call["snapshot"], call["deviceKey"], call["startOffset"]
    snapshot = None if reference is None else reference._moId
    if snapshot is not None and snapshot not in {known.moref for known in vm.snapshots}:
        raise vmodl.fault.ManagedObjectNotFound(
            obj=reference, msg="The object has already been deleted or has not been completely created"
        )
    disks = vm.disks if snapshot is None else vm.snapshot(snapshot).disks
    disk = next((disk for disk in disks if disk.key == key), None)
    if disk is None:
        raise invalid_argument("deviceKey")
    areas = center.estate.snapshots.query_changed(vm.moref, snapshot, key, start, call["changeId"])
    pairs, stop = _window(areas, start, disk.capacity, center.options.cbt_page, center.options.cbt_gaps)
    extents = [
        make(vim.VirtualMachine.DiskChangeInfo.DiskChangeExtent, start=area[0], length=area[1])
        for area in pairs
    ]
    return make(
        vim.VirtualMachine.DiskChangeInfo, startOffset=start, length=stop - start, changedArea=extents
    )


def invalid_argument(name: str) -> Any:
    """The InvalidArgument fault in vCenter's words."""
    return vmodl.fault.InvalidArgument(
        invalidProperty=name, msg=f"A specified parameter was not correct: {name}"
    )


def _window(
    areas: list[Any], start: int, capacity: int, page: int, gaps: bool
) -> tuple[list[tuple[int, int]], int]:
    """The extents of this answer and where it ends. With `gaps` a long quiet stretch gets an empty answer
    of its own.
    """
    pairs = [(area[0], area[1]) for area in areas]
    if gaps and pairs and pairs[0][0] > start:
        return [], pairs[0][0]
    if len(pairs) <= page:
        last = pairs[-1][0] + pairs[-1][1] if pairs else start
        return pairs, (last if gaps and pairs and last < capacity else capacity)
    on_page = pairs[:page]
    return on_page, on_page[-1][0] + on_page[-1][1]


def _reset_guest_information(_call: Call) -> None:
    return None


def _destroy(call: Call, moref: str) -> None:
    edits.destroy_machine(call.center, moref)


def _destroy_checked(call: Call) -> Any:
    _demand(call, PowerState.OFF, PowerState.SUSPENDED)
    return _task(_destroy)(call)


def _answer(call: Call) -> None:
    if _vm(call).question is None:
        raise vim.fault.ConcurrentAccess(msg="There is no pending question.")
    call.center.estate.hardware.edit(_vm(call).moref, question=None)


def _mark_template(call: Call) -> None:
    _demand(call, PowerState.OFF)
    call.center.estate.hardware.edit(_vm(call).moref, template=True)


def _mark_machine(call: Call) -> None:
    call.center.estate.hardware.edit(_vm(call).moref, template=False)


METHODS: dict[str, Method] = {
    "PowerOnVM_Task": _power("on", PowerState.OFF, PowerState.SUSPENDED),
    "PowerOffVM_Task": _power("off", PowerState.ON),
    "SuspendVM_Task": _power("suspend", PowerState.ON),
    "ResetVM_Task": _power("reset", PowerState.ON),
    "ShutdownGuest": _shut_down,
    "CreateSnapshot_Task": _task(_create_snapshot),
    "CreateSnapshotEx_Task": _task(_create_snapshot),
    "RemoveAllSnapshots_Task": _task(_remove_all),
    "RevertToCurrentSnapshot_Task": _task(_revert_to_current),
    "ConsolidateVMDisks_Task": _task(_consolidate),
    "RelocateVM_Task": _task(_relocate),
    "MigrateVM_Task": _task(_migrate),
    "QueryChangedDiskAreas": query_changed_disk_areas,
    "RefreshStorageInfo": _reset_guest_information,
    "Reload": _reset_guest_information,
    "AnswerVM": _answer,
    "MarkAsTemplate": _mark_template,
    "MarkAsVirtualMachine": _mark_machine,
    "Destroy_Task": _destroy_checked,
}

SNAPSHOT_METHODS: dict[str, Method] = {
    "RemoveSnapshot_Task": _task(_remove_snapshot),
    "RevertToSnapshot_Task": _task(_revert),
    "RenameSnapshot": _rename_snapshot,
}
