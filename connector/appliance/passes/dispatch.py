"""Carries out an order by its task, under the machine lock; afterwards vCenter may move the machine again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from connector.appliance.cleanup.repair import unlock
from connector.appliance.passes.context import PassContext
from connector.appliance.passes.cutover import Shutdown
from connector.appliance.passes.machine import MachinePass
from connector.appliance.passes.order import Order, PassControl
from connector.appliance.passes.rollback import Rollback
from connector.appliance.progress import PassProgress
from connector.errors import ConnectorError, ControlFailed

log = logging.getLogger(__name__)


class _Work(Protocol):
    """Carries out one order and returns the measured figures."""

    def run(self) -> dict[str, Any]: ...


_WORK: Final[dict[str, Callable[[PassContext, Order, PassProgress, PassControl], _Work]]] = {
    "read": MachinePass,
    "final": MachinePass,
    "shutdown": Shutdown,
    "power-on": Rollback,
}


def carry(
    context: PassContext, order: Order, board: PassProgress, pass_control: PassControl
) -> Mapping[str, Any]:
    """Carry out one order; see `agent.Carry`. Errors give the machine's name instead of its moref."""
    work = _WORK.get(order.task)
    if work is None:
        raise ControlFailed(
            f"this appliance does not know the task {order.task}",
            on=order.name,
            remedy="update the appliance: the control plane is newer",
        )
    patient = replace(context, vcenter=context.vcenter.during(pass_control.stop))
    try:
        with context.locks.held(
            order.moref, pass_control.stop, lambda: board.enter("waiting for a clean-up of this machine")
        ):
            context.ledger.attach(order.moref, order.pass_id)
            try:
                return work(patient, order, board, pass_control).run()
            finally:
                _unlock(context, order)
    except ConnectorError as failed:
        failed.on = order.name if failed.on == order.moref else failed.on
        raise


def _unlock(context: PassContext, order: Order) -> None:
    """Undo the lock of a killed VDDK worker: the disks are closed, so vCenter must be able to move the machine."""
    reader = context.readers.unlocking
    try:
        if reader is not None and context.vcenter.locked(order.moref):
            unlock(context.vcenter, context.vcenter.find(order.moref), reader)
    except ConnectorError as failed:
        log.warning("%s: it may still be locked, so that vCenter may not move it: %s", order.name, failed)
