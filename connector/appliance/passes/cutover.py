"""At cutover the machine must be off: it is checked before the snapshot, by the snapshot, and after the copy.

If the machine ran again meanwhile, its last writes would be lost. So the pass refuses a machine that runs. Machines of one
application are shut down by orders of their own, and are read when all of them are off.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from connector.appliance.passes.admission import refuse, wait_for_others
from connector.appliance.passes.context import PassContext
from connector.appliance.passes.leftovers import remove_leftovers
from connector.appliance.passes.machine_identity import identified
from connector.appliance.passes.order import Order, PassControl
from connector.appliance.progress import PassProgress
from connector.errors import Conflict
from connector.model import Machine, PowerState
from connector.vcenter.client import Snapshot


class CutoverShutdown:
    """The shutdown of one order's machine; a pass that is not final needs none."""

    def __init__(
        self, context: PassContext, order: Order, board: PassProgress, stop: threading.Event
    ) -> None:
        self._context, self._order, self._board, self._stop = context, order, board, stop

    def shut_down(self, machine: Machine) -> float | None:
        """Seconds that the shutdown took; None when the machine was off already.

        What an earlier attempt left goes first: while it resists, the last delta cannot be read, and the source would be down
        for nothing. Raises Conflict when the guest does not shut down within the deadline and a hard power-off is not allowed.
        """
        if machine.power is PowerState.OFF:
            return None
        order = self._order
        if not order.may_shut_down:
            raise Conflict(
                "it was powered on again after its application was shut down, so there is no common point any more",
                on=order.name,
                remedy="roll the application back, and cut it over again",
            )
        self._clear()
        self._board.enter("shutting the machine down")
        self._context.ledger.going_down(order.moref)
        began = time.monotonic()
        self._context.vcenter.shut_down(
            order.moref, within=order.shutdown_deadline, force=order.allow_power_off, stop=self._stop
        )
        return time.monotonic() - began

    def _clear(self) -> None:
        """A merge takes hours at times. So afterwards it is asked again who works on the machine, and which one it is."""
        self._board.enter("removing what an earlier attempt left")
        remove_leftovers(self._context.vcenter, self._order)
        wait_for_others(self._context, self._order, self._board, self._stop)
        identified(self._context.vcenter, self._order)

    def confirm(self, snapshot: Snapshot) -> None:
        """Raises Conflict when the machine was on at the snapshot's instant, or is on now."""
        if not self._order.final:
            return
        if not snapshot.off or self._context.vcenter.power(self._order.moref) is not PowerState.OFF:
            raise Conflict(
                "somebody powered the machine on during its cutover: what it writes now would be lost",
                on=self._order.name,
                remedy="find out who did; then start the job again, which shuts it down again, or roll it back",
            )


class Shutdown:
    """Carries out one order of the task `shutdown`: a machine of an application is shut down, and not yet read."""

    def __init__(
        self, context: PassContext, order: Order, board: PassProgress, pass_control: PassControl
    ) -> None:
        self._context, self._order, self._board, self._stop = context, order, board, pass_control.stop
        self._cutover = CutoverShutdown(context, order, board, pass_control.stop)

    def run(self) -> dict[str, Any]:
        """Returns `shutdown`, the seconds that it took; None when it was off. Raises what forbids it before."""
        identified(self._context.vcenter, self._order)
        wait_for_others(self._context, self._order, self._board, self._stop)
        machine = identified(self._context.vcenter, self._order)
        refuse(self._context, self._order, machine, warm=False)
        took = self._cutover.shut_down(machine)
        self._board.enter("off, waits for its application")
        return {"shutdown": took}
