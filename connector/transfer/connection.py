"""One connection of an appliance to an instance: it sends frames within its credit and takes acknowledgements."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from connector import errors
from connector.errors import PeerRefused, TransferFailed, WireViolation
from connector.transfer import wire
from connector.transfer.conveyor import Conveyor
from connector.transfer.flow import Flow
from connector.transfer.receiver import Hello
from connector.transfer.tls import Channel
from connector.transfer.wire import Codec, Frame, FrameKind

KEEPALIVE = 10.0  # seconds without a frame after which a FLUSH keeps the connection alive


@dataclass(slots=True)
class OutgoingFrame:
    """The contents of one frame. `release` gives the plain bytes back to the source, once."""

    kind: FrameKind
    offset: int
    length: int
    codec: Codec = Codec.NONE
    digests: bytes = b""
    payload: memoryview | bytes = b""
    lease: Callable[[], None] | None = None

    def release(self) -> None:
        lease, self.lease, self.payload = self.lease, None, b""
        if lease is not None:
            lease()


class Connection:
    """`send` and `take_acknowledgements` run on one thread each; both return when the instance confirmed END."""

    def __init__(
        self,
        channel: Channel,
        hello: Hello,
        credit: int,
        lane: Conveyor[OutgoingFrame],
        flow: Flow | None = None,
    ) -> None:
        self.channel, self._hello, self._credit, self._lane = channel, hello, credit, lane
        self._flow = flow or Flow()
        channel.pace = self._pace
        self._decoder = wire.Decoder(wire.FROM_INSTANCE)
        self._changed = threading.Condition()
        self._unacked: deque[tuple[int, FrameKind, int]] = deque()  # (sequence, kind, bytes of the disk)
        self._flying = self._sequence = self._acked = 0
        self._ended = self._aborted = False
        self._version = 1  # of the wire format, as the instance speaks it
        self.durable: Counter[FrameKind] = Counter()  # acknowledged bytes, by frame kind
        self.waited = 0.0  # seconds without credit
        self.held = 0.0  # seconds in which the rate was used up
        self.hunger = 0.0  # share of the time between its last two acknowledgements in which the instance waited for bytes
        self._acknowledged, self._starved = time.monotonic(), 0.0

    def open(self) -> None:
        """Send HELLO and wait for READY. Raises the error with which the instance refuses."""
        self.channel.send(_parts(self._hello.frame()))
        while (frame := self._receive()) is None:
            pass
        if frame.kind != FrameKind.READY:
            raise reason(frame)
        version = frame.text.get("version", 1)
        self._version = version if isinstance(version, int) else 1

    def send(self) -> None:
        """The sending thread: from the lane to the network, and END at last."""
        while True:
            item = self._lane.take(KEEPALIVE)
            if item is not None:
                try:
                    self._send_item(item)
                finally:
                    item.release()
            elif self._lane.ended:
                break
            else:
                self._put(Frame(FrameKind.FLUSH), FrameKind.FLUSH)
        with self._changed:
            self._ended = True
        self._put(Frame(FrameKind.END), FrameKind.END)

    def take_acknowledgements(self) -> None:
        """The other thread: until END is acknowledged."""
        while True:
            frame = self._receive()
            if frame is None:
                continue
            if frame.kind != FrameKind.ACK:
                raise reason(frame)
            with self._changed:
                self._settle(frame)
                if self._ended and self._acked == self._sequence and not self._unacked:
                    return

    def abort(self) -> None:
        """Wake both threads; they end with an error."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()
        self.channel.abort()

    def _send_item(self, item: OutgoingFrame) -> None:
        with self._changed:
            if self._flying and self._flying + item.length > self._credit and item.kind == FrameKind.DATA:
                began = time.monotonic()
                self._changed.wait_for(
                    lambda: self._aborted or not self._flying or self._flying + item.length <= self._credit
                )
                self.waited += time.monotonic() - began
        kind = FrameKind.ZERO if item.kind == FrameKind.HOLE and self._version < 2 else item.kind
        frame = Frame(kind, 0, item.offset, item.length, item.codec, item.digests, item.payload)
        self._put(frame, item.kind, item.length)

    def _put(self, frame: Frame, kind: FrameKind, length: int = 0) -> None:
        with self._changed:
            if self._aborted:
                raise TransferFailed("the connection was aborted", on=self.channel.peer)
            self._sequence += 1
            frame.sequence = self._sequence
            self._unacked.append((frame.sequence, kind, length))
            if kind == FrameKind.DATA:
                self._flying += length
        self.channel.send(_parts(frame))

    def _pace(self, count: int) -> int:
        began = time.monotonic()
        piece = self._flow.take(count, lambda: self._aborted)
        self.held += time.monotonic() - began
        return piece

    def _settle(self, ack: Frame) -> None:
        if ack.sequence > self._sequence:
            raise WireViolation("the instance acknowledged what was never sent", on=self.channel.peer)
        while self._unacked and self._unacked[0][0] <= ack.sequence:
            _, kind, length = self._unacked.popleft()
            if kind == FrameKind.DATA:
                self._flying -= length
            self.durable[kind] += length
        self._acked = ack.sequence
        now, starved = time.monotonic(), ack.offset / 1e6
        self.hunger = (starved - self._starved) / max(now - self._acknowledged, 1e-3)
        self._acknowledged, self._starved = now, starved
        self._changed.notify_all()

    def _receive(self) -> Frame | None:
        """One frame, or None when only a part of it arrived."""
        count = self.channel.receive_into(self._decoder.buffer())
        if not count:
            raise TransferFailed(
                "the instance closed the connection", on=self.channel.peer, remedy="it is tried again"
            )
        return self._decoder.advance(count)


def reason(frame: Frame) -> errors.ConnectorError:
    """The error that a REFUSE or ERROR frame carries."""
    if frame.kind not in (FrameKind.REFUSE, FrameKind.ERROR):
        return WireViolation(f"{frame.kind.name} frame came where it does not belong")
    return errors.from_json(frame.text, fallback=PeerRefused)


def _parts(frame: Frame) -> list[bytes | memoryview]:
    return [wire.encode(frame), frame.payload]
