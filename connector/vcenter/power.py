"""A machine is off when vCenter says so, and not when it was asked to shut down."""

from __future__ import annotations

from threading import Event
from typing import Any

from connector.errors import Conflict, ConnectorError, VCenterFault
from connector.model import PowerState
from connector.vcenter import tasks
from connector.vcenter.faults import translated
from connector.vcenter.properties import PropertyRow, read
from connector.vcenter.session import Session
from connector.vcenter.tasks import WaitLimit
from connector.vcenter.vmomi import vim

_POWER = ("runtime.powerState",)
_TASK = 600.0  # seconds for a power task


def state(session: Session, machine: str) -> PowerState:
    """The power state right now."""
    return _state(read(session, session.managed(vim.VirtualMachine, machine), _POWER, on=machine))


def shut_down(
    session: Session, machine: str, *, within: float, force: bool = False, stop: Event | None = None
) -> PowerState:
    """Ask the guest to shut down and wait `within` seconds; then, only with `force`, power the machine off.

    Returns `OFF` once vCenter confirms it. Raises `Conflict` when the machine is suspended. Without `force` it raises
    `Conflict` also when the guest cannot be asked or does not shut down.
    """
    vm = session.managed(vim.VirtualMachine, machine)
    now = state(session, machine)
    if now is PowerState.SUSPENDED:
        raise Conflict("the machine is suspended", on=machine, remedy="resume it, then shut it down")
    if now is PowerState.ON and not _gracefully(session, vm, WaitLimit(within, stop or Event()), force):
        _task(session, vm, vm.PowerOffVM_Task, "the power-off", PowerState.OFF, stop)
    return _confirmed(session, machine, PowerState.OFF)


def power_on(session: Session, machine: str, *, stop: Event | None = None) -> PowerState:
    """Power the machine on; returns `ON` once vCenter confirms it."""
    vm = session.managed(vim.VirtualMachine, machine)
    if state(session, machine) is not PowerState.ON:
        _task(session, vm, vm.PowerOnVM_Task, "the power-on", PowerState.ON, stop)
    return _confirmed(session, machine, PowerState.ON)


def _gracefully(session: Session, vm: Any, wait: WaitLimit, force: bool) -> bool:
    """Whether the guest shut down. Without `force` the reason why it did not is raised."""
    on = vm._moId
    try:
        tasks.persist(lambda: _ask(vm), on=on, wait=wait, what="the guest's shutdown")
        tasks.watch(
            session,
            vm,
            _POWER,
            lambda row: row.get("runtime.powerState") == PowerState.OFF,
            on=on,
            wait=wait,
            what="the guest's shutdown",
        )
    except ConnectorError as failed:
        if wait.stop.is_set() or (state(session, on) is not PowerState.OFF and not force):
            raise _explained(failed, on, wait) from failed
        return state(session, on) is PowerState.OFF
    return True


def _explained(failed: ConnectorError, on: str, wait: WaitLimit) -> ConnectorError:
    if wait.left > 0 or wait.stop.is_set():
        return failed
    return Conflict(
        f"the guest did not shut down within {wait.limit:g} s",
        on=on,
        remedy="look at its console, or allow a hard power-off",
    )


def _ask(vm: Any) -> None:
    """Ask the guest. A machine that is off already, by a lost answer or by itself, is no error."""
    try:
        with translated(vm._moId):
            vm.ShutdownGuest()
    except Conflict as refused:
        if not isinstance(refused.__cause__, vim.fault.InvalidPowerState):
            raise


def _task(session: Session, vm: Any, start: Any, what: str, wanted: PowerState, stop: Event | None) -> None:
    """Run a power task. When the machine has the wanted state, the task's own failure does not count."""
    on, wait = vm._moId, WaitLimit(_TASK, stop or Event())

    def once() -> None:
        try:
            with translated(on):
                tasks.run(session, start, on=on, wait=wait, what=what)
        except ConnectorError:
            if wait.stop.is_set() or state(session, on) is not wanted:
                raise

    tasks.persist(once, on=on, wait=wait, what=what)


def _confirmed(session: Session, machine: str, wanted: PowerState) -> PowerState:
    now = state(session, machine)
    if now is not wanted:
        raise Conflict(
            f"the machine is {now}, not {wanted}", on=machine, remedy="see in vCenter who else works on it"
        )
    return now


def _state(row: PropertyRow) -> PowerState:
    """The power state of a row. Raises a retryable `VCenterFault` when vCenter does not say: unknown is not off."""
    power = row.get("runtime.powerState")
    if power is None or str(power) not in set(PowerState):
        raise VCenterFault(
            "vCenter does not say whether the machine runs",
            on=row.moref,
            remedy="wait until its host is connected; if it stays, look at the machine in vCenter",
            retryable=True,
        )
    return PowerState(str(power))
