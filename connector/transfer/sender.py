"""The sending end of a pass returns when every byte is durable at the instance, or raises the first error.

Coders read blocks from the source, digest them, leave zeros out, compress when it pays, and fill one bounded lane. Each
connection has a thread that sends from that lane and a thread that takes acknowledgements. The caller's thread supervises:
it reports progress, adapts the compression, and ends everything on `stop` or at the first error. `sequential` is the
readable specification of all this.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from connector.errors import Interrupted
from connector.kinds import RangeState
from connector.log_context import carried
from connector.model import Extent
from connector.settings import TransferSettings
from connector.transfer import digest
from connector.transfer.codec import Choice, Packer
from connector.transfer.connection import Connection, OutgoingFrame
from connector.transfer.conveyor import Closed, Conveyor
from connector.transfer.flow import Flow
from connector.transfer.receiver import Hello
from connector.transfer.source import Block, BlockSource
from connector.transfer.tls import Channel
from connector.transfer.wire import FrameKind

#: Bytes that are coded and wait for a connection: about 10 ms of a fast link, one turn of the scheduler.
LANE = 12 << 20
BUSY = 0.6  # share of the time from which a side counts as the bottleneck
TICK = 0.25  # seconds between two reports


@dataclass(frozen=True, slots=True)
class SendProgress:
    """Bytes so far. `sent` are plain bytes of data frames, `wire` bytes on the wire including TLS.

    `acked` are bytes of the blocks that were read (data, zeros and what is equal on source and target) and `holes` bytes that
    were not read; the instance has acknowledged both. `same` is the part of `acked` that the target held already. `wanted` and
    `durable` are of the whole plan, over all connections.
    """

    read: int = 0
    zero: int = 0
    sent: int = 0
    wire: int = 0
    acked: int = 0
    bottleneck: str = "reading"  # or "network", "limit", "cpu", "writing"
    level: int = 0  # of zstd; 0 is none
    wanted: int = 0
    durable: int = 0
    same: int = 0
    holes: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """The bytes that one `send` delivered; all of them are durable and in the journal."""

    read: int
    zero: int
    sent: int
    wire: int
    seconds: float
    same: int = 0


DigestLookup = Callable[[Extent], bytes]
"""The digests of the target's cells in a block. Called by several threads; raises ConnectorErrors."""


class _Lease:
    """A block that several frames share; the last one gives it back."""

    def __init__(self, block: Block, count: int) -> None:
        self._block, self._count, self._lock = block, count, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._count -= 1
            last = self._count == 0
        if last:
            self._block.release()


@dataclass(slots=True)
class _Tally:
    """Counters of the coders; guarded by the pipeline's lock."""

    read: int = 0
    zero: int = 0
    sent: int = 0
    reading: float = 0.0  # seconds spent waiting for the source
    working: float = 0.0  # seconds of digesting and compressing, by the clock
    computing: float = 0.0  # and by the processor


@dataclass(slots=True)
class _Interval:
    """The counters at the supervisor's last look; it compares them with the present ones."""

    at: float = 0.0
    reading: float = 0.0
    working: float = 0.0
    computing: float = 0.0
    blocked: float = 0.0
    held: float = 0.0
    wire: int = 0
    bottleneck: str = "reading"


def send(
    source: BlockSource,
    connect: Callable[[], Channel],
    hello: Hello,
    read: Sequence[Extent],
    zero: Sequence[Extent] = (),
    *,
    target_digests: DigestLookup | None = None,
    settings: TransferSettings | None = None,
    flow: Flow | None = None,
    progress: Callable[[SendProgress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Sent:
    """Deliver `read` (from the source) and `zero` (unallocated there) to one disk of an instance.

    With `target_digests`, cells that the target holds already are named and not sent. `flow` bounds rate and compression,
    by default as `settings` say. Returns when everything is durable and journaled. `progress` is called on the
    caller's thread. Raises the first error: ReaderFailed, TransferFailed (retryable: what was acknowledged is
    not lost), PeerRefused, TargetFailed, or Interrupted after `stop`. No thread is left behind in any case.
    """
    began = time.monotonic()
    settings = settings or TransferSettings()
    flow = flow or Flow(lambda: settings.compression)
    pipeline = _Pipeline(source, hello, settings, flow, stop or threading.Event(), target_digests)
    total = pipeline.run(connect, read, zero, progress)
    return Sent(total.read, total.zero, total.sent, total.wire, time.monotonic() - began, total.same)


class _Pipeline:
    def __init__(
        self,
        source: BlockSource,
        hello: Hello,
        settings: TransferSettings,
        flow: Flow,
        stop: threading.Event,
        target_digests: DigestLookup | None,
    ) -> None:
        self._target_digests = target_digests
        self._source, self._hello, self._settings, self._stop = source, hello, settings, stop
        self._flow = flow
        self._lane: Conveyor[OutgoingFrame] = Conveyor(LANE, OutgoingFrame.release)
        self._choice = Choice(flow.compression)
        self._halt = threading.Event()
        self._lock = threading.Condition()
        self._drawing = threading.Lock()  # one coder at a time advances the source
        self._tally = _Tally()
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._connections: list[Connection] = []
        self._running = self._coding = 0
        self._last = _Interval(time.monotonic())

    def run(
        self,
        connect: Callable[[], Channel],
        read: Sequence[Extent],
        zero: Sequence[Extent],
        progress: Callable[[SendProgress], None],
    ) -> SendProgress:
        blocks = self._source.read(read, self._halt)
        try:
            number = self._settings.connections
            for _ in range(number):
                connection = Connection(
                    connect(), self._hello, self._settings.in_flight // number, self._lane, self._flow
                )
                self._connections.append(connection)
                connection.open()
            self._start(blocks, zero)
            self._supervise(progress)
        except BaseException as error:  # noqa: BLE001 - outermost handler of a pass: every thread must end
            self._fail(error)
        finally:
            self._end(blocks)
        if self._failure is not None:
            raise self._failure
        total = self._look()
        progress(total)
        return total

    def _start(self, blocks: Iterator[Block], zero: Sequence[Extent]) -> None:
        coders = min(4, max(1, (os.cpu_count() or 2) // 2))
        self._coding = coders
        self._spawn("code-0", lambda: self._code(blocks, zero))
        for number in range(1, coders):
            self._spawn(f"code-{number}", lambda: self._code(blocks, ()))
        for number, connection in enumerate(self._connections):
            self._spawn(f"send-{number}", connection.send)
            self._spawn(f"acks-{number}", connection.take_acknowledgements)

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Closed:
                pass
            except BaseException as error:  # noqa: BLE001 - worker loop: the first error reaches the caller
                self._fail(error)
            finally:
                with self._lock:
                    self._running -= 1
                    self._lock.notify_all()

        thread = threading.Thread(target=carried(guarded), name=f"{name} {self._hello.disk}", daemon=True)
        with self._lock:
            self._running += 1
        self._threads.append(thread)
        thread.start()

    def _code(self, blocks: Iterator[Block], zero: Iterable[Extent]) -> None:
        """The work of a coder thread: from the source to the lane."""
        packer = Packer(self._choice)
        for extent in zero:
            self._lane.put(OutgoingFrame(FrameKind.HOLE, extent.start, extent.length), 0)
        while (block := self._draw(blocks)) is not None:
            self._code_block(block, packer)
        with self._lock:
            self._coding -= 1
            if self._coding == 0:
                self._lane.finish()

    def _draw(self, blocks: Iterator[Block]) -> Block | None:
        with self._drawing:
            began = time.monotonic()
            block = next(blocks, None)
            took = time.monotonic() - began
        with self._lock:
            self._tally.reading += took
            if block is not None:
                self._tally.read += len(block.data)
        return block

    def _code_block(self, block: Block, packer: Packer) -> None:
        clock, processor = time.perf_counter(), time.thread_time()
        try:
            digests = digest.cells(block.data)
            items = self._items(block, digests, packer)
        except BaseException:
            block.release()
            raise
        zero = sum(item.length for item in items if item.kind == FrameKind.ZERO)
        sent = sum(item.length for item in items if item.kind == FrameKind.DATA)
        with self._lock:
            self._tally.working += time.perf_counter() - clock
            self._tally.computing += time.thread_time() - processor
            self._tally.zero += zero
            self._tally.sent += sent
        closed = False
        for item in items:  # after Closed the remaining items must still give the block back
            try:
                self._lane.put(item, len(item.payload))
            except Closed:
                closed = True
        if closed:
            raise Closed

    def _items(self, block: Block, digests: bytes, packer: Packer) -> list[OutgoingFrame]:
        items = []
        target = self._target_digests(Extent(block.offset, len(block.data))) if self._target_digests else b""
        for start, end, state in digest.runs(len(block.data), digests, target):
            own = digests[digest.count(start) * digest.SIZE : digest.count(end) * digest.SIZE]
            at, length = block.offset + start, end - start
            if state is RangeState.ZERO:
                items.append(OutgoingFrame(FrameKind.ZERO, at, length))
            elif state is RangeState.SAME:
                items.append(OutgoingFrame(FrameKind.SAME, at, length, digests=digest.root(own)))
            else:
                codec, payload = packer.pack(block.data[start:end])
                items.append(OutgoingFrame(FrameKind.DATA, at, length, codec, own, payload))
        lease = _Lease(block, len(items))
        for item in items:
            item.lease = lease
        return items

    def _supervise(self, progress: Callable[[SendProgress], None]) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._running == 0 or self._failure is not None, TICK)
                if self._running == 0 or self._failure is not None:
                    return
            if self._stop.is_set():
                raise Interrupted(
                    "stopped on request", on=f"disk {self._hello.disk}", remedy="run it again: it resumes"
                )
            self._weigh()
            progress(self._look())

    def _weigh(self) -> None:
        """Name the bottleneck of the last interval and adapt the compression to it."""
        last, now = self._last, time.monotonic()
        span = max(now - last.at, 1e-6)
        wire_bytes = sum(c.channel.sent for c in self._connections)
        limited_for = sum(c.held for c in self._connections)
        blocked = limited_for + sum(c.channel.blocked + c.waited for c in self._connections)
        tally = self._counted()
        reading = (tally.reading - last.reading) / span
        waiting = (blocked - last.blocked) / span / len(self._connections)
        hungry = sum(c.hunger for c in self._connections) / len(self._connections)
        link = None
        bottleneck = "cpu"
        if waiting > BUSY:
            limited = limited_for - last.held > (blocked - last.blocked) / 2
            bottleneck = "limit" if limited else "network" if hungry > BUSY else "writing"
            if (
                bottleneck == last.bottleneck != "writing"
            ):  # twice in a row, so it is no accident of the scheduler
                link = (wire_bytes - last.wire) / span / waiting
        elif reading > 0.5:
            bottleneck = "reading"
        working, computing = tally.working - last.working, tally.computing - last.computing
        strain = working / max(computing, 1e-6) if working > 0 else 1.0
        self._choice.use(self._flow.compression)
        self._choice.decide(link, strain)
        self._last = _Interval(
            now, tally.reading, tally.working, tally.computing, blocked, limited_for, wire_bytes, bottleneck
        )

    def _look(self) -> SendProgress:
        tally = self._counted()
        return SendProgress(
            tally.read,
            tally.zero,
            tally.sent,
            sum(c.channel.sent for c in self._connections),
            self._acknowledged(FrameKind.DATA, FrameKind.ZERO, FrameKind.SAME),
            self._last.bottleneck,
            self._choice.level,
            same=self._acknowledged(FrameKind.SAME),
            holes=self._acknowledged(FrameKind.HOLE),
        )

    def _acknowledged(self, *kinds: FrameKind) -> int:
        return sum(connection.durable[kind] for connection in self._connections for kind in kinds)

    def _counted(self) -> _Tally:
        """All counters at one moment."""
        with self._lock:
            return replace(self._tally)

    def _fail(self, error: BaseException) -> None:
        """Keep the first error, and end every thread."""
        with self._lock:
            if self._failure is None:
                self._failure = error
            self._lock.notify_all()
        self._halt.set()
        self._lane.abort()
        for connection in self._connections:
            connection.abort()

    def _end(self, blocks: Iterator[Block]) -> None:
        for thread in self._threads:
            thread.join()
        close = getattr(blocks, "close", None)
        if close is not None:
            close()
        for connection in self._connections:
            connection.channel.close()
