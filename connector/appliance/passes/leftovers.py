"""What earlier attempts of a job left in vCenter, by their tokens and by the records in the order."""

from __future__ import annotations

from connector.appliance.passes.order import Order, OrderResource
from connector.vcenter.client import SNAPSHOT, TRACKING, Ticket, VCenter

PATIENT = 6 * 3600.0  # seconds that the removal of leftovers may take


def remove_leftovers(vcenter: VCenter, order: Order, *, keep: str = "", limit: float = PATIENT) -> None:
    """What exists with our token goes, and what the record says that earlier attempts left to consolidate.

    The snapshot with the token `keep` stays. Raises what fails, and Interrupted after the stop of `vcenter`.
    """
    vcenter.clear_leftovers(keep={keep}, machine=order.moref, limit=limit)
    for resource in order.objects:
        is_ours = (ticket := Ticket.of(resource.token)) is not None and ticket.owner == vcenter.owner
        if resource.kind == SNAPSHOT and not resource.removed and resource.token != keep and is_ours:
            vcenter.dismiss(order.moref, resource.token, limit)


def tracked_by_us(order: Order) -> tuple[OrderResource, ...]:
    """The records that CBT was off before this job."""
    return tuple(resource for resource in order.objects if resource.kind == TRACKING and not resource.removed)
