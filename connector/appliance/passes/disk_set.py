"""Which disks a run is about: those that are wanted of the snapshot. A target whose source is gone leaves the run only by
consent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector.appliance.passes.order import Order
from connector.clients.endpoint import InstanceEndpoint
from connector.errors import Conflict
from connector.model import MachineDisk


def reconcile(endpoint: InstanceEndpoint, order: Order, disks: Sequence[MachineDisk]) -> list[dict[str, Any]]:
    """Remove the targets of all but these disks, and tell which; images made before keep theirs.

    Raises Conflict for a disk that the machine has no more, when the order does not accept that: an image of this run
    would show another machine. What stays behind by order needs no more consent.
    """
    keys = {str(disk.key) for disk in disks}
    gone = [found for found in endpoint.disks() if found["key"] not in keys]
    left_out = {str(key) for key in order.left_out}
    missing = [disk for disk in gone if disk["key"] not in left_out]
    if missing and not order.accept_removed_disks:
        names = ", ".join(f"{disk['label'] or 'disk'} ({disk['key']})" for disk in missing)
        raise Conflict(
            f"{names} was migrated before and is not in the machine any more",
            on=order.name,
            remedy="put it back, or start the job again and accept removed disks (--accept-removed-disks)",
        )
    for disk in gone:
        endpoint.remove_disk(str(disk["key"]))
    return [{"key": disk["key"], "label": disk["label"], "capacity": disk["capacity"]} for disk in gone]
