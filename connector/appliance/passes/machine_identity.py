"""The machine of an order and no other: who it is, and what earlier attempts left on it."""

from __future__ import annotations

from connector.appliance.passes.give_back import GivenBack
from connector.appliance.passes.order import Order, OrderResource
from connector.errors import Conflict, NotFound
from connector.model import Machine
from connector.vcenter.client import SNAPSHOT, TRACKING, Ticket, VCenter
from connector.vcenter.partial import obscured

PATIENT = 6 * 3600.0  # seconds that the removal of what was left may take


REST = 30.0  # seconds after which a machine of which vCenter shows too little is looked at again


def identified(vcenter: VCenter, order: Order) -> Machine:
    """The machine as it is now. Raises `NotFound` when it is gone, or when its moref names another one by now.

    Which machine it is must be known on both sides: without its configuration the pass is handed back, and looks again.
    """
    machine = vcenter.find(order.moref)
    if what := obscured(machine):
        raise GivenBack(f"vCenter does not show the machine's {what} now", on=order.name, rest=REST)
    if order.instance_uuid and not machine.instance_uuid:
        raise GivenBack("vCenter does not say now which machine this is", on=order.name, rest=REST)
    if not order.instance_uuid:
        raise Conflict(
            "nobody can tell which machine this is: it has no instance UUID",
            on=order.name,
            remedy="see that it has one in vCenter (config.instanceUuid), rescan and create a new job",
        )
    if machine.instance_uuid != order.instance_uuid:
        raise NotFound(
            f"{order.moref} is now another machine ({machine.name})",
            on=order.name,
            remedy="refresh the sources and create a new job",
        )
    return machine


def remove_leftovers(vcenter: VCenter, order: Order, *, keep: str = "", limit: float = PATIENT) -> None:
    """What stands with our token goes, and what the record says that earlier attempts left to consolidate.

    The snapshot with the token `keep` stays. Raises what resists.
    """
    vcenter.clear_leftovers(keep={keep}, machine=order.moref, limit=limit)
    for known in order.objects:
        ours = (ticket := Ticket.of(known.token)) is not None and ticket.owner == vcenter.owner
        if known.kind == SNAPSHOT and not known.removed and known.token != keep and ours:
            vcenter.dismiss(order.moref, known.token, limit)


def tracked_by_us(order: Order) -> tuple[OrderResource, ...]:
    """What the record says of CBT that was off before this job."""
    return tuple(known for known in order.objects if known.kind == TRACKING and not known.removed)
