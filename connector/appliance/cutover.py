"""At cutover the machine is off: said before it is asked, confirmed before the snapshot, by it, and after the copy.

Its last state would be lost if it ran again meanwhile, so a machine that does is refused, never read on.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from connector.appliance.order import Order
from connector.appliance.progress import PassProgress
from connector.errors import Conflict
from connector.model import Machine, PowerState
from connector.vcenter.client import Snapshot

if TYPE_CHECKING:
    from connector.appliance.machine_pass import Workbench


class Cutover:
    """The power side of one order; a pass that is not final passes through."""

    def __init__(self, bench: Workbench, order: Order, board: PassProgress, stop: threading.Event) -> None:
        self._bench, self._order, self._board, self._stop = bench, order, board, stop

    def shut_down(self, machine: Machine) -> float | None:
        """Seconds that the shutdown took; None when the machine was off already.

        Raises Conflict when the guest does not obey within the deadline and the plug may not be pulled.
        """
        if machine.power is PowerState.OFF:
            return None
        order = self._order
        self._board.enter("shutting the machine down")
        self._bench.ledger.going_down(order.moref)
        began = time.monotonic()
        self._bench.vcenter.shut_down(
            order.moref, within=order.shutdown_deadline, force=order.allow_power_off, stop=self._stop
        )
        return time.monotonic() - began

    def confirm(self, snapshot: Snapshot) -> None:
        """Raises Conflict when the machine was on at the snapshot's instant, or is on now."""
        if not self._order.final:
            return
        if not snapshot.off or self._bench.vcenter.power(self._order.moref) is not PowerState.OFF:
            raise Conflict(
                "somebody powered the machine on during its cutover: what it writes now would be lost",
                on=self._order.name,
                remedy="find out who did; then start the job again, which shuts it down again, or roll it back",
            )
