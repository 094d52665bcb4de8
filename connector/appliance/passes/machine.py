"""One machine's pass: shut down if it is the cutover, snapshot, copy every disk, prove, give the snapshot back.

A crash leaves a snapshot and a half-delivered pass. The next attempt adopts that snapshot when it still can be read for
the same purpose, else removes it first; in both cases it resumes inside the disks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from connector.appliance.passes.admission import refuse, wait_for_others
from connector.appliance.passes.context import PassContext
from connector.appliance.passes.cutover import CutoverShutdown
from connector.appliance.passes.disk import DiskCopy
from connector.appliance.passes.disk_set import reconcile
from connector.appliance.passes.evidence import Reading, attest
from connector.appliance.passes.give_back import GivenBack
from connector.appliance.passes.leftovers import remove_leftovers
from connector.appliance.passes.machine_identity import identified
from connector.appliance.passes.order import Order, PassControl
from connector.appliance.progress import DiskProgress, PassProgress
from connector.appliance.snapshot_care.governor import obstacle
from connector.appliance.snapshot_care.guard import Guard
from connector.cancellation import Cancellation
from connector.clients.endpoint import InstanceEndpoint
from connector.errors import (
    ConnectorError,
    ControlFailed,
    Ineligible,
    Interrupted,
    NotFound,
    ReaderFailed,
    SessionExpired,
    TransferFailed,
    Unreachable,
    VCenterFault,
)
from connector.log_context import carried, log_context
from connector.model import Finding, Machine, PowerState, Severity
from connector.patience import Patience
from connector.sources.reader import is_source_changed
from connector.transfer.flow import Flow
from connector.vcenter.client import Quiesce, Snapshot, Ticket, disk_set_changes
from connector.vcenter.disk_order import as_in
from connector.vcenter.partial import remembered

log = logging.getLogger(__name__)

INSTANCE_PATIENCE = 90.0  # seconds that an instance may need to come up again
STUN = "cbt-"  # marks the ticket of the snapshot that only serves to switch CBT on


class MachinePass:
    """Carries out one order once."""

    def __init__(
        self, context: PassContext, order: Order, board: PassProgress, pass_control: PassControl
    ) -> None:
        self._context, self._order, self._board, self._stop = context, order, board, pass_control.stop
        self._vcenter = context.vcenter
        if order.instance is None or order.credential is None:
            raise ControlFailed(
                "the order names no instance to copy to",
                on=order.name,
                remedy="use an appliance and a control plane of the same version",
            )
        self._cutover = CutoverShutdown(context, order, board, pass_control.stop)
        patience = Patience(INSTANCE_PATIENCE, (TransferFailed,), pass_control.stop)
        self._endpoint = InstanceEndpoint(order.instance, order.credential, patience)
        self._flow = Flow(
            lambda: pass_control.replication.compression or context.transfer.compression,
            lambda: pass_control.replication.rate,
            context.link,
            lambda: pass_control.replication.checksum,
        )
        self._dropped: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Returns the measured figures. Raises the first error, after the snapshot is gone."""
        order = self._order
        identified(self._vcenter, order)
        wait_for_others(self._context, order, self._board, self._stop)
        began = time.time()
        machine = identified(self._vcenter, order)
        refuse(self._context, order, machine, warm=machine.power is PowerState.ON and not order.final)
        shutdown = self._cutover.shut_down(machine) if order.final else None
        reading = self._reading(machine)
        self._board.enter("removing what an earlier attempt left")
        remove_leftovers(self._vcenter, order, keep=self._ticket(reading).token)
        if machine.power is PowerState.ON and not order.final:
            self._may_begin(reading)
            self._board.enter("switching CBT on")
            self._vcenter.ensure_tracking(order.moref, STUN + order.pass_id, stop=self._stop)
        self._board.enter("taking the snapshot")
        quiesce = Quiesce.OFF if order.final else order.quiesce
        with self._vcenter.snapshot(order.moref, reading, quiesce=quiesce, stop=self._stop) as snapshot:
            machine = remembered(machine, self._vcenter.find(order.moref))
            snapshot = replace(snapshot, disks=tuple(as_in(snapshot.disks, machine.disks)))
            self._cutover.confirm(snapshot)
            with self._guard(machine, snapshot) as guard:
                disks = self._copied(snapshot, reading, guard)
            self._cutover.confirm(snapshot)
            self._board.enter("removing the snapshot")
        self._board.snapshot = None
        self._board.enter("signing the evidence")
        done = Reading(order, machine, snapshot, reading, began, time.time(), disks, self._dropped)
        evidence = self._attest(done)
        self._board.enter("copied and proved")
        return {
            "disks": disks,
            "dropped": self._dropped,
            "shutdown": shutdown,
            "reading": reading,
            "adopted": snapshot.adopted,
            "snapshot_taken": next((n.created for n in machine.snapshots if n.moref == snapshot.moref), None),
            "evidence": evidence,
            "toll": asdict(snapshot.cost),
            "governor": guard.history,
            "quiesced": snapshot.quiesced,
            "disk_set": [asdict(disk) for disk in snapshot.disks],
            "findings": [asdict(finding) for finding in self._findings(snapshot, quiesce)],
        }

    def _attest(self, done: Reading) -> dict[str, Any] | None:
        writer = self._context.evidence_writer
        return (
            None if writer is None else attest(writer, self._vcenter.about, done, self._endpoint, self._stop)
        )

    def _findings(self, snapshot: Snapshot, quiesce: Quiesce) -> Iterator[Finding]:
        """What a person should know about this pass although it went well."""
        if self._order.disk_set:
            yield from disk_set_changes(self._order.name, self._order.disk_set, snapshot.disks)
        if quiesce is Quiesce.TRY and not snapshot.quiesced:
            text = "the guest could not be quiesced: this snapshot is crash-consistent"
            yield Finding("V24", Severity.WARN, self._order.name, text, "look at VMware Tools in the guest")

    def _may_begin(self, reading: str) -> None:
        """D13, D14: a machine that runs fills its datastores while its snapshot is open. One that is off needs no check."""
        if reading != self._order.pass_id:
            return
        thresholds = self._context.governor
        try:
            why = obstacle(thresholds, self._vcenter.pressure(self._order.moref, None))
        except VCenterFault as unknown:
            if not unknown.retryable or isinstance(unknown, Unreachable | SessionExpired):
                raise
            why = unknown.what
        if why:
            raise GivenBack(f"no snapshot now: {why}", on=self._order.name, rest=thresholds.rest)

    def _guard(self, machine: Machine, snapshot: Snapshot) -> Guard:
        return Guard(
            lambda: self._vcenter.pressure(self._order.moref, snapshot),
            self._context.governor,
            self._board,
            running=not self._order.final and machine.power is PowerState.ON,
            disks=sum(disk.capacity for disk in snapshot.disks),
            age=self._age(machine, snapshot),
        )

    def _age(self, machine: Machine, snapshot: Snapshot) -> float:
        """Seconds since an adopted snapshot was taken; the clock of vCenter has stamped it, and is asked what time it is."""
        created = next((n.created for n in machine.snapshots if n.moref == snapshot.moref), None)
        return self._vcenter.now() - created if created else 0.0

    def _reading(self, machine: Machine) -> str:
        """The id of the reading to continue: the newest of this pass whose snapshot still exists, else a new one.

        The record alone is no proof: somebody may have removed the snapshot, or its removal was never heard of. Nor is
        an existing snapshot: one of an earlier run, which resisted its removal, shows an earlier instant. A cutover never
        continues: the snapshot may have been taken while the machine still ran.
        """
        if self._order.final:
            return self._order.pass_id
        existing = {node.description.strip() for node in machine.snapshots}
        for known in reversed(self._order.objects):
            ticket = Ticket.of(known.token) if known.token in existing else None
            if ticket and ticket.owner == self._vcenter.owner and ticket.pass_id in self._order.attempts:
                return ticket.pass_id
        return self._order.pass_id

    def _ticket(self, reading: str) -> Ticket:
        return Ticket(self._vcenter.owner, reading)

    def _copied(self, snapshot: Snapshot, reading: str, guard: Guard) -> list[dict[str, Any]]:
        try:
            return self._copy_all(snapshot, reading, guard)
        except ReaderFailed as failed:
            has_changed = is_source_changed(failed)
            if has_changed:  # before vCenter is asked anything: its answer must not keep these attempts
                self._distrust(snapshot, reading, failed.what)
            identified(self._vcenter, self._order)  # a machine that is gone explains it better
            if has_changed:
                # at a cutover the source is down, and a rest would only be downtime
                rest = 0.0 if self._order.final else self._context.governor.rest
                raise GivenBack(failed.what, on=failed.on, rest=rest) from failed
            raise

    def _distrust(self, snapshot: Snapshot, reading: str, why: str) -> None:
        """Nothing counts that was read of the machine's unfinished disks: the next attempt compares them."""
        for disk in snapshot.disks:
            key = str(disk.key)
            with suppress(NotFound):  # it has no target yet
                base: Any = self._endpoint.disk(key)["base"]
                if (
                    base and base["pass_id"] != reading
                ):  # first: a kill between the two calls leaves no trusted base
                    self._endpoint.doubt(key, why)
                self._endpoint.discard_attempts(key)

    @staticmethod
    def _copy_one(copy: DiskCopy, key: int) -> dict[str, Any]:
        with log_context(disk=str(key)):
            return copy.run()

    def _copy_all(self, snapshot: Snapshot, reading: str, guard: Guard) -> list[dict[str, Any]]:
        """All disks side by side. The first real error stops the others, and it is the one that is raised.

        SourceChanged of any disk goes before all others, because the caller must act on it.
        """
        wanted = [disk for disk in snapshot.disks if disk.key not in self._order.left_out]
        if not wanted:
            raise Ineligible(
                "the machine has no disks",
                on=self._order.name,
                remedy="add a disk, or take the machine out of the job",
            )
        self._dropped = reconcile(self._endpoint, self._order, wanted)
        for disk in wanted:
            self._board.add(DiskProgress(disk.key, disk.label, disk.capacity))
        failures: list[ConnectorError] = []
        results: dict[int, dict[str, Any]] = {}
        halt = Cancellation(self._stop, guard.given_back)
        endpoint = self._endpoint.until(halt)
        with ThreadPoolExecutor(len(wanted), thread_name_prefix="disk") as pool:
            running = {
                pool.submit(
                    carried(self._copy_one),
                    DiskCopy(
                        self._context,
                        endpoint,
                        self._order,
                        snapshot,
                        disk,
                        reading,
                        self._board,
                        self._flow,
                        halt,
                        guard,
                    ),
                    disk.key,
                ): disk
                for disk in wanted
            }
            for done in as_completed(running):
                if done.exception() is not None:
                    halt.set()
                try:
                    results[running[done].key] = done.result()
                except ConnectorError as failed:
                    failures.append(failed)
        _raise_changed(failures)
        if failures and guard.given_back.is_set() and not self._stop.is_set():
            why = guard.verdict.reason
            raise GivenBack(f"the snapshot was given back: {why}", on=self._order.name, rest=guard.rest)
        _raise_first(failures)
        return [results[disk.key] for disk in wanted]


def _raise_changed(failures: Sequence[ConnectorError]) -> None:
    for failed in failures:
        if is_source_changed(failed):
            raise failed


def _raise_first(failures: Sequence[ConnectorError]) -> None:
    real = [failed for failed in failures if not isinstance(failed, Interrupted)]
    for failed in (*real, *failures):
        raise failed
