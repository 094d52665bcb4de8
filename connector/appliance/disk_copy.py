"""One disk of one pass: decide what is wanted, read it from the snapshot, deliver it, have it proved.

The instance, not our memory, says what the target holds; vCenter says what changed. Where either is in doubt the whole
disk is read again: never "no changes".
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import stamina

from connector.appliance.order import Order
from connector.appliance.progress import PassProgress
from connector.errors import ChangesUnknown, ConnectorError, Interrupted, NotFound
from connector.model import Extent, MachineDisk
from connector.transfer.disk_pass import DiskPass, DiskResult, copy_disk
from connector.transfer.endpoint import InstanceEndpoint
from connector.transfer.flow import Flow
from connector.transfer.policies import Retrying
from connector.transfer.sender import Progress
from connector.transfer.source import Source
from connector.transfer.vddk_source import open_vddk_source
from connector.vcenter.client import Snapshot

if TYPE_CHECKING:
    from connector.appliance.machine_pass import Workbench


@dataclass(frozen=True, slots=True)
class Decision:
    """How to bring the disk up to date. `changes` None means: everything that is allocated. `note` says why not a delta."""

    kind: str  # "full" or "delta"
    base_change_id: str = ""
    changes: tuple[Extent, ...] | None = None
    note: str = ""


class DiskCopy:
    """Copies one disk once."""

    def __init__(
        self,
        bench: Workbench,
        endpoint: InstanceEndpoint,
        order: Order,
        snapshot: Snapshot,
        disk: MachineDisk,
        reading: str,
        board: PassProgress,
        flow: Flow,
        stop: threading.Event,
    ) -> None:
        self._bench, self._endpoint, self._order, self._stop = bench, endpoint, order, stop
        self._snapshot, self._disk, self._reading, self._board = snapshot, disk, reading, board
        self._key, self._flow = str(disk.key), flow
        self._on = f"{order.name} {disk.label}"

    def run(self) -> dict[str, Any]:
        """Returns the figures of this disk. Raises the first error; calling again resumes."""
        state = self._target()
        base = state.get("base") if state else None
        if base and base["pass_id"] == self._reading:
            return self._again()
        self._forget_others(state)
        decision = self._decide(state, base)
        self._board.update(self._disk.key, state=decision.kind)
        result = self._copy(decision)
        done = result.wanted
        self._board.update(self._disk.key, state="proved", wanted=done, done=done, bottleneck="")
        return self._figures(decision, result)

    def _target(self) -> dict[str, Any] | None:
        """What the instance has."""
        self._check_stop()
        try:
            return self._endpoint.disk(self._key)
        except NotFound:
            return None

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Interrupted("stopped on request", on=self._on, remedy="run it again: it resumes")

    def _again(self) -> dict[str, Any]:
        """This reading delivered the disk before the crash: only the proof is repeated."""
        began = time.monotonic()
        proof = self._endpoint.prove(self._key, fresh=self._flow.reread)
        self._board.update(self._disk.key, state="proved")
        took = time.monotonic() - began
        delivered = DiskResult(self._disk.capacity, 0, 0, 0, 0, 0, took, str(proof.get("root", "")))
        return self._figures(Decision("delta", note="delivered before an interruption"), delivered)

    def _forget_others(self, state: dict[str, Any] | None) -> None:
        """Interrupted attempts at a disk that has been replaced since are worth nothing."""
        attempts = state["attempts"] if state else ()
        if any(attempt["identity"] != self._identity() for attempt in attempts):
            self._endpoint.discard_attempts(self._key)

    def _identity(self) -> dict[str, str]:
        return {"uuid": self._disk.uuid or "", "path": self._disk.path}

    def _decide(self, state: dict[str, Any] | None, base: dict[str, Any] | None) -> Decision:
        if state is None or base is None:
            return Decision("full")
        was = replace(
            self._disk,
            capacity=int(state["capacity"]),
            change_id=base["change_id"] or None,
            uuid=base["identity"].get("uuid") or None,
            path=base["identity"].get("path") or self._disk.path,
        )
        try:
            changes = self._bench.vcenter.changed(self._order.moref, self._snapshot, self._disk, was)
        except ChangesUnknown as doubt:
            return Decision("full", note=f"read in full: {doubt.what}")
        return Decision("delta", str(base["change_id"]), changes)

    def _changed_since(self, change_id: str) -> tuple[Extent, ...]:
        try:
            was = replace(self._disk, change_id=change_id)
            return self._bench.vcenter.changed(self._order.moref, self._snapshot, self._disk, was)
        except ChangesUnknown:
            return (Extent(0, self._disk.capacity),)

    def _copy(self, decision: Decision) -> DiskResult:
        bench, disk = self._bench, self._disk
        with closing(Retrying(self._open(), reopen=self._open)) as source:
            changes = decision.changes
            return copy_disk(
                source,
                self._endpoint,
                DiskPass(
                    key=self._key,
                    pass_id=self._reading,
                    capacity=disk.capacity,
                    kind=decision.kind,
                    snapshot=self._snapshot.token,
                    change_id=disk.change_id or "",
                    base_change_id=decision.base_change_id,
                    label=disk.label,
                    identity=self._identity(),
                ),
                None if changes is None else lambda: changes,
                self._changed_since,
                settings=bench.transfer,
                flow=self._flow,
                progress=self._report,
                stop=self._stop,
                prove=True,
            )

    def _open(self) -> Source:
        """A worker of its own, with the cookie of a session that is alive now; what may pass is tried again."""
        bench = self._bench
        for attempt in stamina.retry_context(on=_passing, attempts=4, timeout=None, wait_max=5.0):
            with attempt:
                access = bench.vcenter.vddk_access(self._order.moref, self._snapshot, self._disk)
                return open_vddk_source(access, bench.vddk, bench.transfer.depth, transports=bench.transports)
        raise AssertionError("unreachable: the last attempt raises")

    def _report(self, seen: Progress) -> None:
        self._board.update(
            self._disk.key,
            wanted=seen.wanted,
            done=seen.durable,
            read=seen.read,
            zero=seen.zero,
            wire=seen.wire,
            bottleneck=seen.bottleneck,
        )

    def _figures(self, decision: Decision, result: DiskResult) -> dict[str, Any]:
        return {
            "key": self._disk.key,
            "label": self._disk.label,
            "path": self._disk.path,
            "kind": "final" if self._order.final else decision.kind,
            "note": decision.note,
            "capacity": result.capacity,
            "planned": result.wanted,
            "read": result.read,
            "zero": result.zero,
            "sent": result.sent,
            "wire": result.wire,
            "seconds": result.seconds,
            "digest": result.root,
            "change_id": self._disk.change_id or "",
        }


def _passing(error: Exception) -> bool:
    return isinstance(error, ConnectorError) and error.retryable and not isinstance(error, Interrupted)
