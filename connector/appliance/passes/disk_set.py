"""The disk set of a run: the snapshot's disks without those left out. A target without a source disk needs consent to go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector.appliance.passes.order import Order
from connector.clients.endpoint import InstanceEndpoint
from connector.errors import Conflict
from connector.model import MachineDisk


def reconcile(endpoint: InstanceEndpoint, order: Order, disks: Sequence[MachineDisk]) -> list[dict[str, Any]]:
    """Remove the targets of all other disks, and return them; earlier images keep theirs.

    Raises Conflict for a disk that the machine no longer has, unless the order accepts that: an image of this run would
    show another machine. Disks that the order leaves out need no consent.
    """
    keys = {str(disk.key) for disk in disks}
    gone = [disk for disk in endpoint.disks() if disk["key"] not in keys]
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
