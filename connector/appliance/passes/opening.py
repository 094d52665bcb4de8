"""A disk is opened on the host where its machine runs now; passing failures are repeated, and a new host is waited for.

Each opening gets a live session from vCenter and starts a worker of its own; the snapshot stays the same.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from connector.appliance.passes.context import PassContext
from connector.appliance.passes.order import Order
from connector.appliance.progress import PassProgress
from connector.appliance.snapshot_care.guard import Guard
from connector.backoff import OPENING
from connector.errors import ConnectorError, Interrupted
from connector.model import MachineDisk
from connector.sources.reader import is_unplaced
from connector.transfer.source import BlockSource
from connector.vcenter.client import Snapshot

log = logging.getLogger(__name__)

HOST: Final = 1800.0  # seconds that a machine may take to find another host
TRIES: Final = 4  # after any other failure that may pass


class Opening:
    """Opens one disk of a snapshot, as often as it is called. One thread at a time."""

    def __init__(
        self,
        context: PassContext,
        order: Order,
        snapshot: Snapshot,
        disk: MachineDisk,
        board: PassProgress,
        guard: Guard,
        stop: threading.Event,
    ) -> None:
        self._context, self._order, self._snapshot, self._disk = context, order, snapshot, disk
        self._board, self._guard, self._stop = board, guard, stop

    def __call__(self) -> BlockSource:
        """Open the disk. Raises a failure that does not pass in time, and Interrupted after a stop."""
        failures, homeless = 0, None
        while True:
            try:
                with self._guard.hearing():
                    return self._once()
            except ConnectorError as failed:
                if is_unplaced(failed):
                    homeless = homeless or time.monotonic()
                    over = time.monotonic() - homeless > HOST
                    self._board.update(self._disk.key, state="waiting for the machine's host")
                else:
                    failures += 1
                    over = failures >= TRIES
                if over or not failed.retryable or isinstance(failed, Interrupted):
                    raise
                log.warning("%s: opened again soon: %s", self._order.name, failed)
            if self._stop.wait(OPENING.pause(failures)):
                raise Interrupted("stopped on request", on=self._order.name)

    def _once(self) -> BlockSource:
        context = self._context
        access = context.vcenter.disk_access(self._order.moref, self._snapshot, self._disk)
        return context.reader.open(access, context.transfer.depth, self._guard.pace)
