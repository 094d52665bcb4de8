"""A disk is opened on the host where its machine runs now; passing failures are repeated, and a new host is waited for.

Each opening gets a live session from vCenter; the snapshot stays the same. Where the job leaves the reader open, another reader
goes on when one cannot.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Final

from connector.appliance.passes.context import PassContext
from connector.appliance.passes.order import Order
from connector.appliance.progress import PassProgress
from connector.appliance.snapshot_care.guard import Guard
from connector.backoff import OPENING
from connector.errors import ConnectorError, Ineligible, Interrupted, NotPermitted, ReaderFailed
from connector.model import MachineDisk
from connector.sources.reader import is_closed, is_overloaded, is_source_changed, is_unplaced, refused_by
from connector.transfer.source import BlockSource
from connector.vcenter.client import Snapshot

log = logging.getLogger(__name__)

HOST: Final = 1800.0  # seconds that a machine may take to find another host
BUSY: Final = 900.0  # seconds that a host may have no room for one more disk: other passes end meanwhile
CLOSED: Final = (
    120.0  # seconds that a host may refuse connections, if no other reader can go on: its agents restart
)
TRIES: Final = 4  # after any other failure that may pass

#: After these, another reader may succeed. TrustFailed is not among them: somebody may stand between us and the host.
_OF_THE_READER: Final = (ReaderFailed, Ineligible, NotPermitted)


@dataclass(frozen=True, slots=True)
class _Wait:
    """Another opening helps, and maybe not soon: for `longest` seconds. `state`: of the disk meanwhile."""

    longest: float
    state: str


def _wait(failed: ConnectorError, *, is_last: bool) -> _Wait | None:
    """Whether this failure is waited for; others count as tries. `is_last`: no other reader can go on."""
    if is_unplaced(failed):
        return _Wait(HOST, "waiting for the machine's host")
    if is_last and is_closed(failed):
        return _Wait(CLOSED, "waiting for the host, which accepts no connection")
    return _Wait(BUSY, f"waiting for {busy}") if (busy := refused_by(failed)) else None


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
        self._readers = context.readers.chosen(order.reader)
        self._used = dict.fromkeys(order.read_by.get(str(disk.key), ()))
        self.notes: list[str] = []  # why a reader was followed by another one, for the report of the pass

    @property
    def read_by(self) -> list[str]:
        """The readers that opened this disk for its pass, in earlier attempts too."""
        return list(self._used)

    def __call__(self) -> BlockSource:
        """Open the disk. Raises a failure that does not pass in time, and Interrupted after a stop."""
        failures, openings, waits_since, waits_for = 0, 0, 0.0, None
        state = self._board.state(self._disk.key)
        while True:
            try:
                with self._guard.hearing():
                    source = self._once()
                self._board.update(self._disk.key, state=state)
                return source
            except ConnectorError as failed:
                openings += 1
                if wait := _wait(failed, is_last=len(self._readers) == 1):
                    if wait != waits_for:  # another wait has a time of its own
                        waits_since, waits_for = time.monotonic(), wait
                    over = time.monotonic() - waits_since > wait.longest
                    self._board.update(self._disk.key, state=wait.state)
                else:
                    failures += 1
                    over = failures >= TRIES
                hopeless = not failed.retryable and not (wait and is_closed(failed))
                if over or hopeless or isinstance(failed, Interrupted):
                    if not self.next_reader(failed):
                        raise
                    failures, openings, waits_for = 0, 0, None
                    continue
                log.warning("%s: opened again soon: %s", self._order.name, failed)
            if self._stop.wait(OPENING.pause(openings)):
                raise Interrupted("stopped on request", on=self._order.name)

    def next_reader(self, failed: ConnectorError) -> bool:
        """Whether the next opening uses another reader because this one failed for good."""
        host_will_serve = is_overloaded(failed) or is_unplaced(failed)
        no_help = host_will_serve or is_source_changed(failed)
        if len(self._readers) == 1 or no_help or not isinstance(failed, _OF_THE_READER):
            return False
        log.warning(
            "%s %s: the reader %s cannot go on, %s is tried: %s",
            self._order.name,
            self._disk.label,
            self._readers[0].name,
            self._readers[1].name,
            failed,
        )
        self.notes.append(
            f"{self._readers[0].name} could not go on ({failed.what}), {self._readers[1].name} did"
        )
        self._readers = self._readers[1:]
        return True

    def _once(self) -> BlockSource:
        context, reader = self._context, self._readers[0]
        access = context.vcenter.disk_access(self._order.moref, self._snapshot, self._disk)
        source = reader.open(access, context.transfer.depth, self._guard.pace)
        if reader.name not in self._used:
            log.info("%s %s: read by %s", self._order.name, self._disk.label, reader.name)
        self._used[reader.name] = None
        self._board.update(self._disk.key, reader=", ".join(self._used))
        return source
