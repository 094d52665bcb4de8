"""ReconfigVM_Task: a table of the spec's fields, each with the privilege it needs and what it does.

A field that the simulator does not know is refused with NotSupported: silently ignoring it would teach a
client wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.estate.inventory import PowerState, VirtualDisk, VirtualMachine
from simulator.vcenter import edits, machine_config
from simulator.vcenter.api import fields_of, vim, vmodl
from simulator.vcenter.kinds import Call
from simulator.vcenter.machine_calls import invalid_argument, start_on_machine
from simulator.vcenter.tasks import Running

Apply = Callable[[Call, str, Any], None]


@dataclass(frozen=True, slots=True)
class _Field:
    privilege: str
    apply: Apply


def _edit(name: str) -> Apply:
    return lambda call, moref, value: call.center.estate.hardware.edit(moref, **{name: value})


def _rename(call: Call, moref: str, value: str) -> None:
    if not value.strip() or len(value) > 80:
        raise vim.fault.InvalidName(name=value, msg=f"The name '{value}' is not valid.")
    edits.rename(call.center, call.center.locate(vim.VirtualMachine(moref)), value)


def _cpus(call: Call, moref: str, value: int) -> None:
    _demand_off(call.center.estate.inventory.vm(moref), "CPU hot plug")
    call.center.estate.hardware.edit(moref, cpus=value)


def _memory(call: Call, moref: str, value: int) -> None:
    _demand_off(call.center.estate.inventory.vm(moref), "Memory hot plug")
    call.center.estate.hardware.edit(moref, memory=value << 20)


def _demand_off(vm: VirtualMachine, what: str) -> None:
    if vm.power_state == PowerState.ON:
        raise vim.fault.InvalidPowerState(
            requestedState="poweredOff",
            existingState="poweredOn",
            msg=f"{what} is not supported for this virtual machine.",
        )


def _tracking(call: Call, moref: str, value: bool) -> None:
    call.center.estate.hardware.set_change_tracking(moref, bool(value))


def _extra(call: Call, moref: str, values: Any) -> None:
    extra = dict(call.center.estate.inventory.vm(moref).extra)
    for option in values:
        text = "" if option.value is None else str(option.value)
        if text:
            extra[option.key] = text
        else:
            extra.pop(option.key, None)
    call.center.estate.hardware.edit(moref, extra=extra)


def _boot_options(call: Call, moref: str, options: Any) -> None:
    hardware = call.center.estate.hardware
    hardware.edit(moref, boot_order=machine_config.boot_order(options))
    if options.efiSecureBootEnabled is not None:
        hardware.edit(moref, secure_boot=bool(options.efiSecureBootEnabled))


def _devices(call: Call, moref: str, changes: Any) -> None:
    for change in changes:
        device = change.device
        if not isinstance(device, vim.vm.device.VirtualDisk):
            raise vmodl.fault.NotSupported(msg="The simulator changes disks only.")
        operation = str(change.operation or "edit")
        _DISK_CHANGES[operation](call, moref, change)


def _edit_disk(call: Call, moref: str, change: Any) -> None:
    hardware, device = call.center.estate.hardware, change.device
    known = _disk(call, moref, device.key)
    capacity = device.capacityInBytes or (device.capacityInKB << 10)
    if capacity and capacity != known.capacity:
        if capacity < known.capacity:
            raise invalid_argument("deviceChange.device.capacityInBytes")
        hardware.extend_disk(moref, device.key, capacity)


def _add_disk(call: Call, moref: str, change: Any) -> None:
    device = change.device
    capacity = device.capacityInBytes or (device.capacityInKB << 10)
    vm = call.center.estate.inventory.vm(moref)
    used_units = {disk.unit for disk in vm.disks if disk.controller == device.controllerKey} | {7}
    unit = device.unitNumber
    if unit is None or unit < 0:
        unit = next(number for number in range(64) if number not in used_units)
    values: dict[str, Any] = {}
    mode = getattr(device.backing, "diskMode", None)
    if mode:
        values["mode"] = str(mode)
    thin = getattr(device.backing, "thinProvisioned", None)
    if thin is not None:
        values["thin"] = bool(thin)
    call.center.estate.hardware.add_disk(moref, device.controllerKey, unit, capacity, **values)


def _remove_disk(call: Call, moref: str, change: Any) -> None:
    _disk(call, moref, change.device.key)
    destroy = str(change.fileOperation or "") == "destroy"
    call.center.estate.hardware.remove_disk(moref, change.device.key, destroy=destroy)


def _disk(call: Call, moref: str, key: int) -> VirtualDisk:
    vm = call.center.estate.inventory.vm(moref)
    match = next((disk for disk in vm.disks if disk.key == key), None)
    if match is None:
        raise invalid_argument("deviceChange.device.key")
    return match


_DISK_CHANGES: dict[str, Apply] = {"edit": _edit_disk, "add": _add_disk, "remove": _remove_disk}

_FIELDS: dict[str, _Field] = {
    "name": _Field("VirtualMachine.Config.Rename", _rename),
    "annotation": _Field("VirtualMachine.Config.Annotation", _edit("annotation")),
    "guestId": _Field("VirtualMachine.Config.Settings", _edit("guest_id")),
    "numCPUs": _Field("VirtualMachine.Config.CPUCount", _cpus),
    "memoryMB": _Field("VirtualMachine.Config.Memory", _memory),
    "changeTrackingEnabled": _Field("VirtualMachine.Config.ChangeTracking", _tracking),
    "extraConfig": _Field("VirtualMachine.Config.AdvancedConfig", _extra),
    "deviceChange": _Field("VirtualMachine.Config.EditDevice", _devices),
    "bootOptions": _Field("VirtualMachine.Config.Settings", _boot_options),
}
_ACCEPTED = frozenset({"dynamicType", "dynamicProperty", "changeVersion"})


def reconfigure(call: Call) -> Any:
    """Check every field's privilege, then apply them in the table's order as one task."""
    spec = call["spec"]
    wanted: dict[str, Any] = {}
    for name in fields_of(type(spec)):
        value = getattr(spec, name)
        if value is None or (isinstance(value, list) and not value) or name in _ACCEPTED:
            continue
        if name not in _FIELDS:
            raise vmodl.fault.NotSupported(msg=f"The simulator cannot change {name}.")
        wanted[name] = value
    for name in wanted:
        call.center.authority.demand(call.session, call.target, _FIELDS[name].privilege)
    moref = call.target.moref

    def work(running: Running) -> None:
        for position, name in enumerate(field for field in _FIELDS if field in wanted):
            running.progress(10 + 10 * position)
            _FIELDS[name].apply(call, moref, wanted[name])

    return start_on_machine(call, work)
