"""The receiving end acknowledges a frame only when its bytes are verified, written, durable and journaled (invariant 1).

One thread receives and decrypts, the other verifies and writes. At most `QUEUE` bytes wait between them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from connector.errors import ConnectorError, TargetFailed, TransferFailed, WireViolation
from connector.kinds import RangeState
from connector.log_context import carried
from connector.model import Extent
from connector.transfer import digest, wire
from connector.transfer.codec import Unpacker
from connector.transfer.conveyor import Closed, Conveyor
from connector.transfer.extents import BLOCK, CELL
from connector.transfer.tls import Channel
from connector.transfer.wire import Frame, FrameKind

QUEUE = 16 << 20  # bytes between the two threads of a connection
WINDOW = (1 << 20, 64 << 20)  # bytes between two acknowledgements, at least and at most
WINDOW_SECONDS = 1.0
WINDOW_RANGES = 4096
FAREWELL = 5.0  # seconds in which a refused peer can still read why
GREETING = 30.0  # seconds within which a peer must send HELLO
BLOCKS = frozenset({FrameKind.DATA, FrameKind.ZERO, FrameKind.SAME, FrameKind.HOLE})
IDLE = 900.0  # seconds without a block after which a connection is ended; an appliance that still waits connects again


class Sink(Protocol):
    """The place that a connection writes to; for one thread. `commit` returns once the ranges are durable and journaled."""

    @property
    def capacity(self) -> int: ...

    def write(self, offset: int, data: memoryview, digests: bytes) -> None: ...

    def zero(self, offset: int, length: int) -> None: ...

    def confirm(self, offset: int, length: int, root: bytes) -> None:
        """Raises TransferFailed unless the range holds cells whose digests have this root."""

    def commit(self, ranges: list[tuple[Extent, RangeState]]) -> None:
        """Make these ranges durable; they are in the order of writing."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Hello:
    """The request of an appliance that connects."""

    disk: str
    reading_id: str
    capacity: int
    window: int

    @classmethod
    def parse(cls, frame: Frame) -> Hello:
        body = frame.text
        disk, reading_id = body.get("disk"), body.get("pass")
        capacity, window = body.get("capacity"), body.get("window")
        if not (
            isinstance(disk, str)
            and isinstance(reading_id, str)
            and type(capacity) is int
            and type(window) is int
        ):
            raise WireViolation("HELLO lacks disk, pass, capacity or window")
        return cls(disk, reading_id, capacity, min(max(window, WINDOW[0]), WINDOW[1]))

    def frame(self) -> Frame:
        body: dict[str, object] = {"disk": self.disk, "pass": self.reading_id}
        return wire.text(FrameKind.HELLO, body | {"capacity": self.capacity, "window": self.window})


class _Lender:
    """A fixed number of buffers for frames, made on demand. When all are lent, receiving waits."""

    def __init__(self, count: int) -> None:
        self._free: list[bytearray] = []
        self._left = count  # buffers that are not made yet
        self._changed = threading.Condition()

    def lend(self, size: int) -> memoryview:
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._left)
            if not self._free:
                self._left -= 1
                self._free.append(bytearray(BLOCK + digest.count(BLOCK) * digest.SIZE))
            return memoryview(self._free.pop())[:size]

    def back(self, frame: Frame) -> None:
        if frame.owner is not None:
            buffer = frame.owner.obj
            frame.owner, frame.payload = None, b""
            if not isinstance(buffer, bytearray):
                raise AssertionError("the frame's memory was not lent here")
            with self._changed:
                self._free.append(buffer)
                self._changed.notify()


class Receiver:
    """Serves one authenticated connection until END, failure or `channel.abort()`."""

    def __init__(
        self,
        channel: Channel,
        open_sink: Callable[[Hello], Sink],
        *,
        greeting: float = GREETING,
        idle: float = IDLE,
    ) -> None:
        """`greeting` and `idle` are seconds: until the first frame, and between two blocks."""
        self._channel, self._open_sink = channel, open_sink
        self._patience, self._idle, self._last_block = greeting, idle, time.monotonic()
        self._greeted = False
        self._lender = _Lender(QUEUE // BLOCK + 3)
        self._decoder = wire.Decoder(wire.FROM_APPLIANCE, self._room)
        self._lane: Conveyor[Frame] = Conveyor(QUEUE, self._lender.back)
        self._failure: ConnectorError | None = None
        self._reported = False

    def run(self) -> None:
        """Returns after a complete stream. A failure is sent to the peer and then raised."""
        try:
            hello = Hello.parse(self._expect(FrameKind.HELLO))
            self._greeted, self._patience, self._last_block = True, self._idle, time.monotonic()
            sink = self._open_sink(hello)
        except ConnectorError as error:
            self._report(FrameKind.REFUSE, error)
            self._farewell()
            raise
        try:
            self._channel.send(
                _parts(
                    wire.text(
                        FrameKind.READY,
                        {"window": hello.window, "cell": CELL, "block": BLOCK, "version": wire.VERSION},
                    )
                )
            )
            self._stream(_Writer(sink, hello.window, self._acknowledge))
        finally:
            sink.close()

    def refuse(self, error: ConnectorError) -> None:
        """Refuse a peer before it sends anything."""
        self._report(FrameKind.REFUSE, error)
        self._farewell(1.0)

    def _room(self, size: int) -> memoryview:
        """Memory for a frame. The first frame of a peer gets none of the shared buffers."""
        return self._lender.lend(size) if self._greeted else memoryview(bytearray(size))

    def _stream(self, writer: _Writer) -> None:
        thread = threading.Thread(target=carried(self._write), args=(writer,), name="writer")
        thread.start()
        try:
            self._receive()
            self._lane.finish()
        except Closed:
            pass
        except ConnectorError as error:
            self._failure = self._failure or error
            if isinstance(error, WireViolation):
                self._lane.abort()
        finally:
            self._lane.finish()
            thread.join()
        if self._failure is not None:
            if not self._reported:
                self._report(FrameKind.ERROR, self._failure)
            self._farewell()
            raise self._failure

    def _receive(self) -> None:
        """Frames from the network to the lane, until END."""
        while True:
            frame = self._next()
            self._lane.put(frame, len(frame.payload))
            if frame.kind == FrameKind.END:
                return

    def _next(self) -> Frame:
        while True:
            count = self._channel.receive_into(self._decoder.buffer())
            if not count:
                raise TransferFailed("the appliance left before the end of the pass", on=self._channel.peer)
            frame = self._decoder.advance(count)
            now = time.monotonic()
            if frame is not None and frame.kind in BLOCKS:
                self._last_block = now
            if now - self._last_block > self._patience:
                raise TransferFailed(
                    f"no block came for {self._patience:.0f} s",
                    on=self._channel.peer,
                    remedy="connect again",
                )
            if frame is not None:
                return frame

    def _expect(self, kind: FrameKind) -> Frame:
        frame = self._next()
        if frame.kind != kind:
            raise WireViolation(f"{frame.kind.name} frame came before {kind.name}", on=self._channel.peer)
        return frame

    def _write(self, writer: _Writer) -> None:
        """The second thread: frames from the lane to the sink."""
        try:
            while True:
                frame = self._lane.take(writer.patience)
                if frame is not None:
                    try:
                        writer.apply(frame)
                    finally:
                        self._lender.back(frame)
                elif self._lane.ended:
                    break
                writer.commit_when_due()
            writer.commit()
        except Closed:
            pass
        except ConnectorError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - worker loop: the peer must get a defect too
            self._fail(TargetFailed(f"the instance failed ({type(error).__name__}: {error})"))
        finally:
            self._lane.abort()

    def _fail(self, error: ConnectorError) -> None:
        """Send the error at once: the other thread may wait for an appliance that waits for an acknowledgement."""
        if self._failure is None:
            self._failure, self._reported = error, True
            self._report(FrameKind.ERROR, error)

    def _acknowledge(self, sequence: int, durable: int) -> None:
        ack = Frame(FrameKind.ACK, sequence=sequence, offset=int(self._channel.starved * 1e6), length=durable)
        self._channel.send(_parts(ack))

    def _report(self, kind: FrameKind, error: ConnectorError) -> None:
        with contextlib.suppress(ConnectorError):
            self._channel.send(_parts(wire.text(kind, error.to_json())))

    def _farewell(self, seconds: float = FAREWELL) -> None:
        """Read for a moment more: closing with unread bytes would destroy the last message on its way."""
        self._channel.goodbye()
        room, deadline = memoryview(bytearray(BLOCK)), time.monotonic() + seconds
        try:
            while time.monotonic() < deadline and self._channel.receive_into(room):
                pass
        except ConnectorError:
            pass


class _Writer:
    """Applies frames and commits windows."""

    def __init__(self, sink: Sink, window: int, acknowledge: Callable[[int, int], None]) -> None:
        self._sink, self._window, self._acknowledge = sink, window, acknowledge
        self._unpacker = Unpacker()
        self._ranges: list[tuple[Extent, RangeState]] = []
        self._bytes = self._durable = self._sequence = 0
        self._since: float | None = None  # when the oldest frame that is not yet acknowledged came
        self._flush_asked = False

    @property
    def patience(self) -> float | None:
        """Seconds until the window must be committed."""
        return None if self._since is None else max(0.0, self._since + WINDOW_SECONDS - time.monotonic())

    def apply(self, frame: Frame) -> None:
        if frame.offset + frame.length > self._sink.capacity:
            raise WireViolation(f"{frame.length} bytes at {frame.offset} lie outside of the disk")
        if frame.kind == FrameKind.DATA:
            self._data(frame)
        elif frame.kind in (FrameKind.ZERO, FrameKind.HOLE):
            self._whole_cells(frame)
            self._sink.zero(frame.offset, frame.length)
            self._note(frame, RangeState.ZERO if frame.kind == FrameKind.ZERO else RangeState.HOLE)
        elif frame.kind == FrameKind.SAME:
            self._whole_cells(frame)
            self._sink.confirm(frame.offset, frame.length, frame.digests)
            self._note(frame, RangeState.SAME)
        elif frame.kind == FrameKind.HELLO:
            raise WireViolation("HELLO came twice")
        else:
            self._flush_asked = True
        self._sequence = frame.sequence
        if self._since is None:
            self._since = time.monotonic()

    def commit_when_due(self) -> None:
        full = self._bytes >= self._window or len(self._ranges) >= WINDOW_RANGES
        if full or self._flush_asked or self.patience == 0.0:
            self.commit()

    def commit(self) -> None:
        """Make durable what was applied, then acknowledge it."""
        if self._since is None:
            return
        if self._ranges:
            self._sink.commit(self._ranges)
        self._durable += self._bytes
        self._acknowledge(self._sequence, self._durable)
        self._ranges, self._bytes, self._since, self._flush_asked = [], 0, None, False

    def _data(self, frame: Frame) -> None:
        self._whole_cells(frame)
        plain = self._unpacker.unpack(frame.codec, frame.payload, frame.length)
        if digest.cells(plain) != frame.digests:
            raise WireViolation(
                f"the bytes at {frame.offset} are not the ones that were read (digest differs)",
                remedy="they were not written; run the pass again",
            )
        self._sink.write(frame.offset, plain, frame.digests)
        self._bytes += frame.length
        self._note(frame, RangeState.DATA)

    def _whole_cells(self, frame: Frame) -> None:
        end = frame.offset + frame.length
        if end % CELL and end != self._sink.capacity:
            raise WireViolation(f"{frame.length} bytes at {frame.offset} are not whole cells")

    def _note(self, frame: Frame, state: RangeState) -> None:
        extent = Extent(frame.offset, frame.length)
        if self._ranges and self._ranges[-1][1] == state and self._ranges[-1][0].end == extent.start:
            last = self._ranges[-1][0]
            self._ranges[-1] = (Extent(last.start, last.length + extent.length), state)
        else:
            self._ranges.append((extent, state))


def _parts(frame: Frame) -> list[bytes | memoryview]:
    return [wire.encode(frame), frame.payload]
