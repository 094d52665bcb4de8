"""Methods of HostSystem: maintenance and connection. The export says from which hosts disks can be read."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from simulator.estate.inventory import Host, Inventory, PowerState
from simulator.vcenter.api import vim
from simulator.vcenter.kinds import Call, Center, Method
from simulator.vcenter.tasks import Running


def export_states(center: Center) -> None:
    """Export for the stand-in VDDK which machines are on hosts that cannot be read from."""
    inventory = center.estate.inventory
    states = {moref: _state(inventory.hosts[vm.host]) for moref, vm in inventory.vms.items()}
    center.estate.export.hosts({moref: state for moref, state in states.items() if state != "ok"})
    for moref, vm in inventory.vms.items():
        if center.placed.get(moref) != vm.host:
            center.placed[moref] = vm.host
            center.estate.export.placement(moref, vm.host)


def _state(host: Host) -> str:
    if host.in_maintenance:
        return "maintenance"
    return "ok" if host.connection_state == "connected" else "refused"


def change(center: Center, moref: str, **values: Any) -> None:
    """Replace fields of a host, and export the consequences for readers."""

    def step(inventory: Inventory) -> Inventory:
        changed = replace(inventory.hosts[moref], **values)
        return replace(inventory, hosts=inventory.hosts | {moref: changed})

    center.estate.change(step)
    export_states(center)


def _enter_maintenance(call: Call) -> Any:
    """Powered-on machines move to another connected host; without one the task fails, as without vMotion.

    A machine whose disks are being read may not move (PrepareForAccess): the task waits for it, until its timeout.
    """
    host: Host = call.target.subject
    if host.in_maintenance:
        raise vim.fault.InvalidState(msg="The host is already in maintenance mode.")
    until = time.monotonic() + call["timeout"] if call["timeout"] else float("inf")

    def work(running: Running) -> None:
        running.progress(30)
        while locked := [
            vm for vm in call.center.index.vms_on_host.get(host.moref, ()) if _held(call.center, vm)
        ]:
            if call.center.closing or time.monotonic() > until:
                raise vim.fault.Timedout(msg=f"{locked[0]} could not be moved in time.")
            time.sleep(0.02)
        _evacuate(call.center, host.moref)
        change(call.center, host.moref, in_maintenance=True)

    return call.center.tasks.start(call, work)


def _held(center: Center, moref: str) -> bool:
    on = center.estate.inventory.vms[moref].power_state == PowerState.ON
    return on and center.estate.export.prepared(moref)


def move(center: Center, moref: str, host: str) -> None:
    """vMotion. Refused while the machine's disks are being read, as vCenter refuses it."""
    if center.estate.export.prepared(moref):
        raise vim.fault.MethodDisabled(msg="The method is disabled by 'connector'.", source="connector")
    target = center.estate.inventory.hosts.get(host)
    if target is None or target.in_maintenance or target.connection_state != "connected":
        raise vim.fault.InvalidState(msg="The host cannot take over a machine now.")
    center.estate.hardware.edit(moref, host=host)
    export_states(center)


def _evacuate(center: Center, moref: str) -> None:
    inventory = center.estate.inventory
    others = [
        host.moref
        for host in inventory.hosts.values()
        if host.moref != moref and host.connection_state == "connected" and not host.in_maintenance
    ]
    for vm in inventory.vms.values():
        if vm.host == moref and vm.power_state == PowerState.ON:
            if not others:
                raise vim.fault.InvalidState(msg=f"No host can take over {vm.name}.")
            center.estate.hardware.edit(vm.moref, host=others[0])


def _exit_maintenance(call: Call) -> Any:
    host: Host = call.target.subject
    if not host.in_maintenance:
        raise vim.fault.InvalidState(msg="The host is not in maintenance mode.")
    return call.center.tasks.start(
        call, lambda _running: change(call.center, host.moref, in_maintenance=False)
    )


def _disconnect(call: Call) -> Any:
    return _connection(call, "disconnected")


def _reconnect(call: Call) -> Any:
    return _connection(call, "connected")


def _connection(call: Call, state: str) -> Any:
    """The host's machines share its connection state."""
    center, host = call.center, call.target.subject
    if host.connection_state == state:
        raise vim.fault.InvalidState(msg=f"The host is {state} already.")

    def work(_running: Running) -> None:
        change(center, host.moref, connection_state=state)
        for moref in center.index.vms_on_host.get(host.moref, ()):
            center.estate.hardware.edit(moref, connection_state=state)

    return center.tasks.start(call, work)


METHODS: dict[str, Method] = {
    "EnterMaintenanceMode_Task": _enter_maintenance,
    "ExitMaintenanceMode_Task": _exit_maintenance,
    "DisconnectHost_Task": _disconnect,
    "ReconnectHost_Task": _reconnect,
}
