"""The sending end without threads, one block at a time: the readable specification of `sender`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from connector.errors import TransferFailed
from connector.kinds import RangeState
from connector.model import Extent
from connector.transfer import connection, digest, wire
from connector.transfer.receiver import Hello
from connector.transfer.sender import Sent
from connector.transfer.source import Block, BlockSource
from connector.transfer.tls import Channel
from connector.transfer.wire import Frame, FrameKind


def send(
    source: BlockSource, channel: Channel, hello: Hello, read: Sequence[Extent], zero: Sequence[Extent] = ()
) -> Sent:
    """See `sender.send`; closes nothing, retries nothing, compresses nothing."""
    began, sequence, total, data = time.monotonic(), 0, 0, 0
    decoder = wire.Decoder(wire.FROM_INSTANCE)
    _put(channel, hello.frame())
    _await(channel, decoder, FrameKind.READY)
    for extent in zero:
        sequence += 1
        _put(channel, Frame(FrameKind.HOLE, sequence, extent.start, extent.length))
    for block in source.read(read):
        for frame in _frames(block):
            sequence += 1
            frame.sequence = sequence
            _put(channel, frame)
            data += frame.length if frame.kind == FrameKind.DATA else 0
        total += len(block.data)
        block.release()
    _put(channel, Frame(FrameKind.END, sequence + 1))
    while _await(channel, decoder, FrameKind.ACK).sequence <= sequence:
        pass
    return Sent(total, total - data, data, channel.sent, time.monotonic() - began)


def _frames(block: Block) -> Iterator[Frame]:
    """Runs of data with their digests, runs of zeros without."""
    digests = digest.cells(block.data)
    for start, end, run in digest.runs(len(block.data), digests):
        if run is RangeState.ZERO:
            yield Frame(FrameKind.ZERO, 0, block.offset + start, end - start)
        else:
            own = digests[digest.count(start) * digest.SIZE : digest.count(end) * digest.SIZE]
            yield Frame(
                FrameKind.DATA,
                0,
                block.offset + start,
                end - start,
                digests=own,
                payload=block.data[start:end],
            )


def _put(channel: Channel, frame: Frame) -> None:
    channel.send([wire.encode(frame), frame.payload])


def _await(channel: Channel, decoder: wire.Decoder, kind: FrameKind) -> Frame:
    while True:
        count = channel.receive_into(decoder.buffer())
        if not count:
            raise TransferFailed("the instance closed the connection", on=channel.peer)
        frame = decoder.advance(count)
        if frame is not None and frame.kind != kind:
            raise connection.reason(frame)
        if frame is not None:
            return frame
