"""Which work an order means; one attempt at a machine at a time, and its lock gone afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from connector.appliance.cutover import Shutdown
from connector.appliance.machine_pass import MachinePass
from connector.appliance.order import Order, Wishes
from connector.appliance.progress import PassProgress
from connector.appliance.repair import unlock
from connector.appliance.rollback import Rollback
from connector.appliance.workbench import Workbench
from connector.errors import ConnectorError, ControlFailed

log = logging.getLogger(__name__)


class _Work(Protocol):
    """What carries out one order once. Returns the measured figures."""

    def run(self) -> dict[str, Any]: ...


_WORK: Final[dict[str, Callable[[Workbench, Order, PassProgress, Wishes], _Work]]] = {
    "read": MachinePass,
    "final": MachinePass,
    "shutdown": Shutdown,
    "power-on": Rollback,
}


def carry(bench: Workbench, order: Order, board: PassProgress, wishes: Wishes) -> Mapping[str, Any]:
    """Carry out one order; see `agent.Carry`. Errors name the machine as people do, not by its moref."""
    work = _WORK.get(order.task)
    if work is None:
        raise ControlFailed(
            f"this appliance does not know the task {order.task}",
            on=order.name,
            remedy="update the appliance: the control plane is newer",
        )
    patient = replace(bench, vcenter=bench.vcenter.during(wishes.stop))
    try:
        with bench.claims.held(order.moref):
            bench.ledger.attach(order.moref, order.pass_id)
            try:
                return work(patient, order, board, wishes).run()
            finally:
                _unlock(bench, order)
    except ConnectorError as failed:
        failed.on = order.name if failed.on == order.moref else failed.on
        raise


def _unlock(bench: Workbench, order: Order) -> None:
    """Its disks are closed; if it still may not be moved, a worker that was killed may have left its lock."""
    try:
        if bench.vcenter.locked(order.moref):
            unlock(bench.vcenter, bench.vcenter.find(order.moref), bench.vddk, bench.transports)
    except ConnectorError as failed:
        log.warning("%s: it may be left locked against being moved: %s", order.name, failed)
