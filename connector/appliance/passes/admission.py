"""A machine is admitted to a pass when no finding forbids it and nobody else works on it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from connector.appliance.passes.context import PassContext
from connector.appliance.passes.give_back import GivenBack
from connector.appliance.passes.order import Order
from connector.appliance.progress import PassProgress
from connector.errors import Conflict, Ineligible, Interrupted
from connector.model import Machine, Severity
from connector.vcenter.eligibility import GOVERNED, PASSING

POLL_INTERVAL = 2.0  # seconds between two looks for other work on the machine


def refuse(context: PassContext, order: Order, machine: Machine, *, warm: bool) -> None:
    """Raises Ineligible or BadInput for what prevents the pass, GivenBack for what passes by itself. `warm`: the machine is read
    while it runs. Disks that stay behind do not count.
    """
    context.readers.chosen(order.reader, order.name)
    read = replace(machine, disks=tuple(disk for disk in machine.disks if disk.key not in order.left_out))
    grave = Severity.blocking(running=warm)
    for finding in context.vcenter.check(read, context.target.limits):
        if finding.severity not in grave or finding.check in GOVERNED:
            continue
        message = f"{finding.message} ({finding.check})"
        if finding.check in PASSING:
            raise GivenBack(f"not now: {message}", on=finding.subject, rest=context.governor.rest)
        raise Ineligible(message, on=finding.subject, remedy=finding.remedy)


def wait_for_others(context: PassContext, order: Order, board: PassProgress, stop: threading.Event) -> None:
    """S10: wait for a running backup before anything is done, above all before the machine is shut down."""
    deadline = time.monotonic() + context.backup_wait
    while why := context.vcenter.occupied(order.moref):
        if time.monotonic() > deadline:
            raise Conflict(
                f"waited {context.backup_wait:g} s for somebody else: {why}",
                on=order.name,
                remedy="let it end, or stop it; then start the job again",
            )
        board.enter(f"waiting: {why}")
        if stop.wait(POLL_INTERVAL):
            raise Interrupted("stopped while waiting for a backup", on=order.name)
