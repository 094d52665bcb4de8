"""A rollback gives the source its state back: no snapshot of ours, CBT as before, power on if our cutover shut it down.

The machine's owner waits for the power. So another failure is reported and repaired later, and never delays the power-on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from connector.appliance.passes.context import PassContext
from connector.appliance.passes.leftovers import remove_leftovers, tracked_by_us
from connector.appliance.passes.machine_identity import identified
from connector.appliance.passes.order import Order, PassControl
from connector.appliance.progress import PassProgress
from connector.errors import ConnectorError, Interrupted
from connector.model import Machine, PowerState
from connector.vcenter.client import TRACKING, Tracking

log = logging.getLogger(__name__)

POLL_INTERVAL: Final = 2.0  # seconds between two looks at a guest that may still shut down
SHORT: Final = 60.0  # seconds that snapshots may take to go before the power is switched on


class Rollback:
    """Carries out one order of the task `power-on`; doing it again changes nothing."""

    def __init__(
        self, context: PassContext, order: Order, board: PassProgress, pass_control: PassControl
    ) -> None:
        self._context, self._order, self._board, self._stop = context, order, board, pass_control.stop
        self._troubles: list[str] = []

    def run(self) -> dict[str, Any]:
        """Returns what was done: `powered_on`, `restored_cbt`, `troubles`. Raises when the power cannot be switched on."""
        machine = identified(self._context.vcenter, self._order)
        self._board.enter("removing what an earlier attempt left")
        cleared = self._tried(lambda: remove_leftovers(self._context.vcenter, self._order, limit=SHORT))
        restored = not self._order.keep_cbt and self._tried(self._restore)
        powered = self._power_on(machine)
        if not cleared:
            self._tried(lambda: remove_leftovers(self._context.vcenter, self._order))
        self._board.enter("rolled back")
        return {
            "powered_on": powered is not None,
            "power_on_seconds": powered,
            "restored_cbt": bool(restored and tracked_by_us(self._order)),
            "troubles": self._troubles,
        }

    def _tried(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Interrupted:
            raise
        except ConnectorError as failed:
            log.warning("%s", failed)
            self._troubles.append(str(failed))
            return False
        return True

    def _restore(self) -> None:
        """Turn CBT off where a pass of this job turned it on. The power-on that follows drops its files."""
        for resource in tracked_by_us(self._order):
            self._board.enter("turning CBT off again")
            self._context.vcenter.restore_tracking(Tracking(self._order.moref, False, True))
            self._context.ledger.removed(self._order.moref, resource.token, TRACKING)

    def _power_on(self, machine: Machine) -> float | None:
        if not self._order.power_on or not self._is_off(machine):
            return None
        self._board.enter("powering the machine on")
        began = time.monotonic()
        self._context.vcenter.power_on(self._order.moref, stop=self._stop)
        return time.monotonic() - began

    def _is_off(self, machine: Machine) -> bool:
        """Whether the machine is off. A guest may shut down later than its cutover waited, and must not stay off then.

        Raises Interrupted after a stop: nobody knows then whether the guest will stay on.
        """
        if machine.power is PowerState.OFF:
            return True
        until = time.monotonic() + self._order.settling
        while time.monotonic() < until and not self._stop.wait(POLL_INTERVAL):
            self._board.enter("waiting whether the guest still shuts down")
            if self._context.vcenter.power(self._order.moref) is PowerState.OFF:
                return True
        if self._stop.is_set():
            raise Interrupted(
                "stopped while the guest may still shut down",
                on=self._order.name,
                remedy="roll back again: the machine is powered on when it is off",
            )
        return False
