"""A pass works on a machine only if moref and instance UUID are those of its order."""

from __future__ import annotations

from connector.appliance.passes.give_back import GivenBack
from connector.appliance.passes.order import Order
from connector.errors import Conflict, NotFound
from connector.model import Machine
from connector.vcenter.client import VCenter
from connector.vcenter.partial import obscured

REST = 30.0  # seconds until the next try when vCenter does not show the machine whole


def identified(vcenter: VCenter, order: Order) -> Machine:
    """The machine as it is now. Raises `NotFound` when it is gone, or when its moref now names another machine.

    Both sides must know which machine it is. While vCenter does not show its configuration, the pass is given back.
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
