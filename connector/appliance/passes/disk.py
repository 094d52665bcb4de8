"""One disk of one pass: decide what is wanted, read it from the snapshot, deliver it, have it proved.

The instance, not our memory, says what the target holds; vCenter says what changed. What the proof finds wrong is read
again from the same snapshot, once.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from connector.appliance.passes.context import PassContext
from connector.appliance.passes.opening import Opening
from connector.appliance.passes.order import Order
from connector.appliance.passes.planning import Decision, decide
from connector.appliance.progress import MovedBytes, PassProgress
from connector.appliance.snapshot_care.guard import Guard
from connector.clients.endpoint import InstanceEndpoint
from connector.errors import (
    ChangesMissed,
    ChangesUnknown,
    Conflict,
    Interrupted,
    NotFound,
    ProofFailed,
)
from connector.kinds import PassKind
from connector.model import Extent, MachineDisk
from connector.transfer import extents as ranges
from connector.transfer.audit import Audited, audit
from connector.transfer.disk_pass import DiskPass, DiskResult, copy_disk
from connector.transfer.flow import Flow
from connector.transfer.policies import Retrying
from connector.transfer.sender import SendProgress
from connector.transfer.source import BlockSource
from connector.vcenter.client import Snapshot

PLAIN = (PassKind.FULL, PassKind.DELTA)  # the kinds that a cutover is called after itself
LISTED = 5  # places in a message, at most
_NO_TARGET: Final[Mapping[str, Any]] = {"base": None}
ROT = {"target": "its data", "table": "its digest table", "unclear": "either"}


class DiskCopy:
    """Copies one disk once."""

    def __init__(
        self,
        context: PassContext,
        endpoint: InstanceEndpoint,
        order: Order,
        snapshot: Snapshot,
        disk: MachineDisk,
        reading: str,
        board: PassProgress,
        flow: Flow,
        stop: threading.Event,
        guard: Guard,
    ) -> None:
        self._context, self._endpoint, self._order, self._stop = context, endpoint, order, stop
        self._guard = guard
        self._open = Opening(context, order, snapshot, disk, board, guard, stop)
        self._snapshot, self._disk, self._reading, self._board = snapshot, disk, reading, board
        self._key, self._flow = str(disk.key), flow
        self._on = f"{order.name} {disk.label}"
        self._doubt = ""
        self._replaced = False  # another disk is in its place: its target was removed
        self._notes: list[str] = []
        self._audited: Audited | None = None

    def run(self) -> dict[str, Any]:
        """Returns the figures of this disk. Raises the first error; calling again resumes."""
        began = time.monotonic()
        state = self._fitting(self._target())
        base = state["base"] if state else None
        if base and base["pass_id"] == self._reading:
            self._require_same_instant(base)
            kind = PassKind(base["kind"])
            decision = Decision(kind, base["base_change_id"], note="delivered before an interruption")
            result = DiskResult(self._disk.capacity, 0, 0, 0, 0, 0, 0.0)
            if state and (state["spoiled"] or state["attempts"]):
                self._repair()
        else:
            self._forget_others(state)
            decision = self._decide(state)
            self._board.update(self._disk.key, state=decision.kind)
            result = self._copy(decision, lambda source: self._audit(source, decision, state or {}))
        proof = self._prove()
        self._board.update(
            self._disk.key, state="proved", wanted=result.wanted, done=result.wanted, bottleneck=""
        )
        took = time.monotonic() - began
        return self._figures(decision, replace(result, seconds=took, root=str(proof.get("root", ""))))

    def _require_same_instant(self, base: Mapping[str, Any]) -> None:
        """The id alone does not say that this reading was delivered: it must be of the same snapshot and change id."""
        wanted = (self._snapshot.token, self._disk.change_id or "")
        if (base["snapshot"], base["change_id"]) != wanted:
            raise Conflict(
                f"the target shows reading {self._reading} under another snapshot or change id",
                on=self._on,
                remedy="start the job again: the next pass has another id, and compares",
            )

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

    def _fitting(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """A disk never shrinks: a smaller one is another one, and what the target holds is of no use."""
        if state is None or int(state["capacity"]) <= self._disk.capacity:
            return state
        self._endpoint.remove_disk(self._key)
        self._replaced = True
        self._notes.append(
            f"another disk of {self._disk.capacity} bytes is in its place: its target of {state['capacity']} bytes"
            " was removed, and it was copied in full"
        )
        return None

    def _prove(self) -> dict[str, Any]:
        """The proof; what it finds wrong is read again, and proved again. Raises ProofFailed the second time."""
        self._check_stop()
        try:
            return self._endpoint.prove(self._key, fresh=self._flow.reread, stop=self._stop)
        except ProofFailed:
            self._check_stop()
            self._repair()
        return self._endpoint.prove(self._key, stop=self._stop)

    def _repair(self) -> None:
        """Read again what the target is known to hold wrongly, from the snapshot that it shall show."""
        self._board.update(self._disk.key, state="repair")
        wrong = self._copy(Decision(PassKind.REPAIR, self._disk.change_id or "", ())).wanted
        rot = self._endpoint.disk(self._key)["rot"]
        self._notes.append(_repaired(wrong, rot if isinstance(rot, dict) else {}))

    def _forget_others(self, state: dict[str, Any] | None) -> None:
        """Interrupted attempts at a disk that has been replaced since are worth nothing."""
        attempts = state["attempts"] if state else ()
        if any(attempt["identity"] != self._identity() for attempt in attempts):
            self._endpoint.discard_attempts(self._key)

    def _identity(self) -> dict[str, str]:
        return {"uuid": self._disk.uuid or "", "path": self._disk.path}

    def _decide(self, state: dict[str, Any] | None) -> Decision:
        self._doubt = str(state["doubt"]) if state else ""
        lineage = self._order.lineage
        disagreement = "" if self._replaced else lineage.disagreement(self._key, state or _NO_TARGET)
        return decide(state, self._disk, self._snapshot.token, self._existing, self._changed, disagreement)

    def _existing(self) -> set[str]:
        machine = self._context.vcenter.find(self._order.moref)
        return {node.description.strip() for node in machine.snapshots} - {self._snapshot.token}

    def _changed(self, was: MachineDisk) -> tuple[Extent, ...]:
        return self._context.vcenter.changed(self._order.moref, self._snapshot, self._disk, was)

    def _changed_since(self, change_id: str) -> tuple[Extent, ...]:
        """For an interrupted attempt; tracking that has missed a write before is not asked again."""
        everything = (Extent(0, self._disk.capacity),)
        try:
            return everything if self._doubt else self._changed(replace(self._disk, change_id=change_id))
        except ChangesUnknown:
            return everything

    def _audit(self, source: BlockSource, decision: Decision, state: Mapping[str, Any]) -> None:
        """Before a delta is begun: does CBT tell the truth? Raises ChangesMissed, and then nothing goes on from here."""
        share = self._context.transfer.audit if self._order.audit is None else self._order.audit
        if decision.kind.is_whole or share <= 0:
            return
        capacity = self._disk.capacity
        known = ranges.union(decision.changes or (), ranges.from_json(state["spoiled"]))
        unchanged = ranges.subtract(ranges.whole(capacity), ranges.align(known, capacity))
        self._board.update(self._disk.key, state="audit")
        self._audited = done = audit(
            source,
            lambda cells, look: self._endpoint.digests(self._key, cells, look=look),
            unchanged,
            share,
            secrets.randbits(63),
            self._stop,
        )
        if done.missed:
            failed = _missed(done, self._on)
            self._endpoint.doubt(self._key, failed.what)
            raise failed
        self._board.update(self._disk.key, state=decision.kind)

    def _copy(self, decision: Decision, first: Callable[[BlockSource], None] = lambda _: None) -> DiskResult:
        context, disk = self._context, self._disk
        guard = self._guard
        opening = self._open
        with closing(
            Retrying(
                opening(),
                reopen=opening,
                failed=guard.failed,
                other_source=opening.next_reader,
                halt=self._stop,
            )
        ) as source:
            first(source)
            changes = decision.changes
            return copy_disk(
                source,
                self._endpoint,
                DiskPass(
                    key=self._key,
                    reading_id=self._reading,
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
                settings=context.transfer,
                flow=self._flow,
                progress=self._report,
                stop=self._stop,
            )

    def _report(self, seen: SendProgress) -> None:
        moved = MovedBytes(seen.read, seen.sent, seen.zero, seen.same, seen.wire)
        self._board.moved(self._disk.key, moved)
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
            "uuid": self._disk.uuid or "",
            "kind": "final" if self._order.final and decision.kind in PLAIN else decision.kind,
            "note": "; ".join(note for note in (decision.note, *self._notes, *self._open.notes) if note),
            "capacity": result.capacity,
            "planned": result.wanted,
            "read": result.read,
            "zero": result.zero,
            "sent": result.sent,
            "same": result.same,
            "wire": result.wire,
            "seconds": result.seconds,
            "digest": result.root,
            "change_id": self._disk.change_id or "",
            "base_change_id": decision.base_change_id,
            "readers": self._open.read_by,
            "audit": None if self._audited is None else self._audited.to_json(),
        }


def _missed(done: Audited, on: str) -> ChangesMissed:
    places = [f"[{start}, {start + length})" for start, length in done.missed[:LISTED]]
    more = f" and {len(done.missed) - LISTED} more" if len(done.missed) > LISTED else ""
    return ChangesMissed(
        f"CBT missed a write: the audit of {done.cells} cells that it calls unchanged found differences in"
        f" {', '.join(places)}{more} (seed {done.seed})",
        on=on,
        remedy="start the job again: it compares this disk; have CBT reset, and look for known defects of this ESXi",
    )


def _repaired(wrong: int, rot: Mapping[str, int]) -> str:
    if not wrong:
        return "a repair that was interrupted is finished: the proof had found bytes wrong, and they were read again"
    blame = ", ".join(f"{rot.get(name, 0)} in {words}" for name, words in ROT.items() if rot.get(name))
    return f"repaired: the proof found {wrong} bytes wrong (cells: {blame}), they were read again"
