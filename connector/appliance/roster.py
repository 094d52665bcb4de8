"""Which disks a run is about: those of the snapshot. A target whose source is gone leaves the run only by consent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector.appliance.order import Order
from connector.errors import Conflict
from connector.model import MachineDisk
from connector.transfer.endpoint import InstanceEndpoint


def reconcile(endpoint: InstanceEndpoint, order: Order, disks: Sequence[MachineDisk]) -> list[dict[str, Any]]:
    """Remove the targets of disks that the machine has no more, and tell which; images made before keep theirs.

    Raises Conflict when the order does not accept that: an image of this run would show another machine.
    """
    keys = {str(disk.key) for disk in disks}
    gone = [found for found in endpoint.disks() if found["key"] not in keys]
    if gone and not order.accept_removed_disks:
        names = ", ".join(f"{disk['label'] or 'disk'} ({disk['key']})" for disk in gone)
        raise Conflict(
            f"{names} was migrated before and is not in the machine any more",
            on=order.name,
            remedy="put it back, or start the job again and accept removed disks (--accept-removed-disks)",
        )
    for disk in gone:
        endpoint.remove_disk(str(disk["key"]))
    return [{"key": disk["key"], "label": disk["label"], "capacity": disk["capacity"]} for disk in gone]
