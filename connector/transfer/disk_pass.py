"""Copies one disk in one pass, from the instance's state to a new base; it resumes inside the disk after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connector.backoff import TRANSFER
from connector.errors import Interrupted, TransferFailed
from connector.kinds import PassKind
from connector.model import Extent
from connector.settings import TransferSettings
from connector.transfer import extents as ranges
from connector.transfer import sender
from connector.transfer.flow import Flow
from connector.transfer.plan import InterruptedAttempt, Plan, plan
from connector.transfer.receiver import Hello
from connector.transfer.receiving import MissingRanges, ReceivingInstance
from connector.transfer.sender import SendProgress
from connector.transfer.source import BlockSource
from connector.transfer.target_digests import TargetDigests

FRUITLESS = 6  # connections in a row that delivered nothing, not even zeros, after which the pass fails
FINISHES = 4  # tries to finish a pass; after each but the last, missing ranges are delivered


@dataclass(frozen=True, slots=True)
class DiskPass:
    """The order for one disk. `identity` names the source disk: attempts at another disk are not continued."""

    key: str
    reading_id: str
    capacity: int
    kind: PassKind
    snapshot: str
    change_id: str
    base_change_id: str = ""
    label: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DiskResult:
    """Bytes of one disk's pass. `wanted` was to copy, `same` of it the target held already.

    `root` is the root of the whole disk after the proof.
    """

    capacity: int
    wanted: int
    read: int
    zero: int
    sent: int
    wire: int
    seconds: float
    root: str = ""
    proved: int = 0
    same: int = 0


def copy_disk(
    source: BlockSource,
    endpoint: ReceivingInstance,
    order: DiskPass,
    wanted: Callable[[], Sequence[Extent]] | None = None,
    changed_since: Callable[[str], Sequence[Extent]] | None = None,
    *,
    settings: TransferSettings | None = None,
    flow: Flow | None = None,
    progress: Callable[[SendProgress], None] = lambda _: None,
    stop: threading.Event | None = None,
    prove: bool = False,
) -> DiskResult:
    """Copy `source` to one disk of the instance, and make the result the disk's base.

    `wanted()` gives what is allocated (full, compare) or changed since the base (delta, repair) under the snapshot that
    `source` reads. Without it the source is asked (full and compare only). Ranges that the instance knows to be wrong on
    its target are delivered too. `changed_since(change_id)` is asked about interrupted attempts under other snapshots
    (invariant 9); without it such attempts count as changed everywhere. `flow` bounds rate and compression, by default as
    `settings` say. Raises the first error. What was acknowledged is kept, and calling again resumes.
    """
    settings = settings or TransferSettings()
    flow = flow or Flow(lambda: settings.compression)
    copy = _Delivery(source, endpoint, order, settings, flow, progress, stop)
    result = copy.run(wanted, changed_since)
    if not prove:
        return result
    began, proof = time.monotonic(), endpoint.prove(order.key, fresh=flow.reread, stop=stop)
    return replace(
        result,
        seconds=result.seconds + time.monotonic() - began,
        root=str(proof.get("root", "")),
        proved=sum(int(str(proof.get(reason, 0))) for reason in ("data", "zero", "holes")),
    )


class _Delivery:
    def __init__(
        self,
        source: BlockSource,
        endpoint: ReceivingInstance,
        order: DiskPass,
        settings: TransferSettings,
        flow: Flow,
        progress: Callable[[SendProgress], None],
        stop: threading.Event | None,
    ) -> None:
        self._source, self._endpoint, self._order, self._flow = source, endpoint, order, flow
        self._settings, self._progress, self._stop = settings, progress, stop or threading.Event()
        self._sum = SendProgress()  # of the connections that broke
        self._running = SendProgress()  # of the connection that is open
        self._wanted = self._held = (
            0  # bytes of the plan; bytes of it that were durable when `_running` began
        )

    def run(
        self,
        wanted: Callable[[], Sequence[Extent]] | None,
        changed_since: Callable[[str], Sequence[Extent]] | None,
    ) -> DiskResult:
        began, order = time.monotonic(), self._order
        earlier = self._endpoint.put_disk(order.key, order.capacity, order.label)
        want = list(wanted()) if wanted is not None else self._source.allocated(Extent(0, order.capacity))
        changes = _Changes(order, changed_since)
        begun = self._endpoint.begin_pass(order.key, _begin_body(order))
        want = ranges.union(want, ranges.from_json(begun["spoiled"]))
        self._complete(want, changes, bool(earlier["dirty"]))
        total = self._total()
        return DiskResult(
            order.capacity,
            self._wanted,
            total.read,
            total.zero,
            total.sent,
            total.wire,
            time.monotonic() - began,
            same=total.same,
        )

    def _complete(self, want: list[Extent], changes: _Changes, dirty: bool) -> None:
        """Deliver and finish. The instance may have found wrong ranges meanwhile: they are delivered too."""
        order = self._order
        for more in reversed(range(FINISHES)):
            done = self._deliver(want, changes, dirty)
            try:
                self._endpoint.finish_pass(order.key, order.reading_id, done.cover, changes.fresh(done))
                return
            except MissingRanges as short:
                if not more:
                    raise
                want = ranges.union(want, short.missing)

    def _deliver(self, want: list[Extent], changes: _Changes, dirty: bool) -> Plan:
        """Send until nothing is left to send. After a broken connection the journal is asked again, and sending goes on."""
        fruitless = 0
        while True:
            state = self._endpoint.disk(self._order.key)
            todo = changes.plan(state, want, self._source, dirty)
            self._wanted = ranges.covered(ranges.subtract(todo.cover, todo.zero))
            self._held = self._wanted - ranges.covered(todo.read)
            self._progress(self._total())
            if not todo.todo:
                return todo
            before = self._delivered()
            try:
                self._send(todo)
            except TransferFailed as error:
                moved = self._delivered() > before
                fruitless = 1 if moved else fruitless + 1
                if not error.retryable or fruitless >= FRUITLESS:
                    raise
                self._bank()
                self._wait(fruitless)
            else:
                self._bank()
                return todo

    def _send(self, todo: Plan) -> None:
        order = self._order
        target_digests = None
        if order.kind is PassKind.COMPARE:
            target_digests = TargetDigests(
                lambda extents: self._endpoint.digests(order.key, extents), order.capacity
            )
        hello = Hello(order.key, order.reading_id, order.capacity, self._settings.window)
        sender.send(
            self._source,
            self._endpoint.connect_blocks,
            hello,
            todo.read,
            todo.zero,
            target_digests=target_digests,
            settings=self._settings,
            flow=self._flow,
            progress=self._report,
            stop=self._stop,
        )

    def _report(self, progress: SendProgress) -> None:
        self._running = progress
        self._progress(self._total())

    def _bank(self) -> None:
        self._sum, self._running = self._total(), SendProgress()

    def _total(self) -> SendProgress:
        a, b = self._sum, self._running
        return SendProgress(
            a.read + b.read,
            a.zero + b.zero,
            a.sent + b.sent,
            a.wire + b.wire,
            a.acked + b.acked,
            b.bottleneck,
            b.level,
            self._wanted,
            min(self._wanted, self._held + b.acked),
            a.same + b.same,
            a.holes + b.holes,
        )

    def _delivered(self) -> int:
        total = self._total()
        return total.acked + total.holes

    def _wait(self, fruitless: int) -> None:
        pause = TRANSFER.pause(fruitless)
        if self._stop.wait(pause):
            raise Interrupted(
                "stopped on request", on=f"disk {self._order.key}", remedy="run it again: it resumes"
            )


class _Changes:
    """The changes on the source since each interrupted attempt; asked once for each change id."""

    def __init__(self, order: DiskPass, changed_since: Callable[[str], Sequence[Extent]] | None) -> None:
        self._order, self._changed_since = order, changed_since
        self._known: dict[str, list[Extent]] = {}

    def plan(self, state: Mapping[str, Any], want: list[Extent], source: BlockSource, dirty: bool) -> Plan:
        wrong = ranges.from_json(state["spoiled"])
        attempts = [self._attempt(attempt, wrong) for attempt in state["attempts"]]
        whole = self._order.kind.is_whole
        allocated = None if whole else self._allocated(want, source)
        return plan(self._order.capacity, want, attempts, allocated=allocated, dirty=dirty and whole)

    def fresh(self, delivered: Plan) -> list[Extent]:
        """The ranges that only this attempt can have delivered: older attempts delivered them, and then they changed."""
        stale = [extent for changed in self._known.values() for extent in changed]
        return ranges.intersect(delivered.todo, stale)

    def _attempt(self, attempt: Mapping[str, Any], wrong: list[Extent]) -> InterruptedAttempt:
        """An attempt for the plan. What it delivered and was found wrong later does not count as durable."""
        durable = ranges.subtract(ranges.from_json(attempt["durable"]), wrong)
        if attempt["pass_id"] == self._order.reading_id or (
            attempt["snapshot"] == self._order.snapshot and self._order.snapshot
        ):
            return InterruptedAttempt(durable)
        return InterruptedAttempt(durable, self._changed(str(attempt["change_id"])))

    def _changed(self, change_id: str) -> list[Extent]:
        if change_id not in self._known:
            askable = self._changed_since is not None and change_id
            self._known[change_id] = (
                list(self._changed_since(change_id))
                if askable and self._changed_since
                else ranges.whole(self._order.capacity)
            )
        return self._known[change_id]

    @staticmethod
    def _allocated(want: list[Extent], source: BlockSource) -> list[Extent]:
        """The ranges of a delta that must be read. Wide extents are asked for one by one, narrow ones are read anyway."""
        extents = []
        for extent in ranges.normalise(want):
            extents += source.allocated(extent) if extent.length >= 16 << 20 else [extent]
        return extents


def _begin_body(order: DiskPass) -> dict[str, object]:
    return {
        "pass_id": order.reading_id,
        "kind": order.kind,
        "snapshot": order.snapshot,
        "change_id": order.change_id,
        "base_change_id": order.base_change_id,
        "identity": dict(order.identity),
    }
