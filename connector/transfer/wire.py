"""The frames of the block port, without I/O: decoding is strict, bounded, and independent of how bytes arrive.

The format is documented in docs/wire-format.md. The decoder says where the next bytes belong (`buffer`), so that a socket
can decrypt into a frame's payload. Nothing is copied, and at most one frame is in memory.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from connector.errors import WireViolation
from connector.transfer import digest
from connector.transfer.extents import BLOCK, CELL

MAGIC = b"ACBP"
VERSION = 2
HEADER = struct.Struct(">4sBBBBQQQIIII")
TEXT_LIMIT = 1 << 14  # bytes of JSON in HELLO, READY, REFUSE and ERROR


class FrameKind(IntEnum):
    HELLO = 1
    READY = 2
    REFUSE = 3
    DATA = 4
    ZERO = 5
    FLUSH = 6
    END = 7
    ACK = 8
    ERROR = 9
    SAME = 10
    HOLE = 11


class Codec(IntEnum):
    NONE = 0
    ZSTD = 1


SINCE = {
    FrameKind.SAME: 2,
    FrameKind.HOLE: 2,
}  # the format's version that began with a kind; 1 for the others
FROM_APPLIANCE = frozenset(
    {
        FrameKind.HELLO,
        FrameKind.DATA,
        FrameKind.ZERO,
        FrameKind.SAME,
        FrameKind.HOLE,
        FrameKind.FLUSH,
        FrameKind.END,
    }
)
FROM_INSTANCE = frozenset({FrameKind.READY, FrameKind.REFUSE, FrameKind.ACK, FrameKind.ERROR})
TEXT = frozenset({FrameKind.HELLO, FrameKind.READY, FrameKind.REFUSE, FrameKind.ERROR})
COUNTED = frozenset(
    {FrameKind.DATA, FrameKind.ZERO, FrameKind.SAME, FrameKind.HOLE, FrameKind.FLUSH, FrameKind.END}
)


@dataclass(slots=True)
class Frame:
    """One message. `payload` may be a view of a shared buffer: it is valid until `release()`.

    For ACK, `sequence` is the durable watermark, `offset` the microseconds that the instance has spent
    waiting for bytes, `length` the plain bytes that are durable on this connection.
    """

    kind: FrameKind
    sequence: int = 0
    offset: int = 0
    length: int = 0
    codec: Codec = Codec.NONE
    digests: bytes = b""
    payload: memoryview | bytes = b""
    owner: memoryview | None = None

    @property
    def text(self) -> dict[str, object]:
        """The JSON object of HELLO, READY, REFUSE and ERROR."""
        try:
            body = json.loads(bytes(self.payload))
        except (ValueError, RecursionError):
            raise WireViolation(f"{self.kind.name} frame does not hold JSON") from None
        if not isinstance(body, dict):
            raise WireViolation(f"{self.kind.name} frame does not hold a JSON object")
        return body


def encode(frame: Frame) -> bytes:
    """Header and digests; the caller sends `frame.payload` after them, uncopied.

    A frame carries the version that began with its kind, so that an older peer understands the older kinds.
    """
    head = HEADER.pack(
        MAGIC,
        SINCE.get(frame.kind, 1),
        frame.kind,
        frame.codec,
        0,
        frame.sequence,
        frame.offset,
        frame.length,
        len(frame.digests),
        len(frame.payload),
        0,
        0,
    )[:-4]
    return head + zlib.crc32(head).to_bytes(4, "big") + frame.digests


def text(kind: FrameKind, body: dict[str, object]) -> Frame:
    """A frame that carries a JSON object."""
    return Frame(kind, payload=json.dumps(body, separators=(",", ":"), sort_keys=True).encode())


def _parse(header: memoryview, accepts: frozenset[FrameKind]) -> tuple[Frame, int, int]:
    """The frame without its body, the bytes of digests and of payload that follow."""
    fields = HEADER.unpack(header)
    magic, version, kind, codec, flags, sequence, offset, length, digests, payload, reserved, crc = fields
    if magic != MAGIC:
        raise WireViolation("not a block frame (wrong magic)")
    if not 1 <= version <= VERSION:
        raise WireViolation(
            f"frame version {version} is not 1 to {VERSION}", remedy="run the same release on both sides"
        )
    if zlib.crc32(header[:-4]) != crc:
        raise WireViolation("frame header is damaged (CRC differs)")
    if kind not in accepts:
        raise WireViolation(f"frame kind {kind} is not expected from this side")
    if version != SINCE.get(FrameKind(kind), 1):
        raise WireViolation(f"frame kind {kind} does not belong to version {version}")
    if flags or reserved:
        raise WireViolation("reserved fields of a frame are not zero")
    if codec not in (Codec.NONE, Codec.ZSTD) or (codec and kind != FrameKind.DATA):
        raise WireViolation(f"codec {codec} is not known for a frame of kind {kind}")
    frame = Frame(FrameKind(kind), sequence, offset, length, Codec(codec))
    _check_body(frame, digests, payload)
    return frame, digests, payload


def _check_body(frame: Frame, digests: int, payload: int) -> None:
    if frame.kind == FrameKind.DATA:
        _check_data(frame, digests, payload)
    elif frame.kind == FrameKind.SAME:
        _check_same(frame, digests, payload)
    elif digests:
        raise WireViolation(f"{frame.kind.name} frame must not carry digests")
    elif frame.kind in TEXT:
        if not 0 < payload <= TEXT_LIMIT or frame.sequence or frame.offset or frame.length:
            raise WireViolation(f"{frame.kind.name} frame has a wrong shape")
    elif payload:
        raise WireViolation(f"{frame.kind.name} frame must not carry a payload")
    elif frame.kind in (FrameKind.ZERO, FrameKind.HOLE):
        if frame.offset % CELL or not frame.length or frame.offset + frame.length >= 1 << 63:
            raise WireViolation(f"{frame.kind.name} frame at {frame.offset} is not aligned to cells")
    elif frame.kind in (FrameKind.FLUSH, FrameKind.END) and (frame.offset or frame.length):
        raise WireViolation(f"{frame.kind.name} frame has a wrong shape")


def _check_block(offset: int, length: int) -> None:
    if not 0 < length <= BLOCK or offset % CELL or offset >= 1 << 62:
        raise WireViolation(f"block at {offset} of {length} bytes is not allowed")
    if offset // BLOCK != (offset + length - 1) // BLOCK:
        raise WireViolation(f"block at {offset} of {length} bytes crosses a 1 MiB boundary")


def _check_same(frame: Frame, digests: int, payload: int) -> None:
    _check_block(frame.offset, frame.length)
    if digests != digest.SIZE or payload:
        raise WireViolation(f"SAME frame at {frame.offset} carries {digests} and {payload} bytes")


def _check_data(frame: Frame, digests: int, payload: int) -> None:
    offset, length = frame.offset, frame.length
    _check_block(offset, length)
    if digests != digest.count(length) * digest.SIZE:
        raise WireViolation(f"block at {offset} carries {digests} bytes of digests")
    fits = payload == length if frame.codec == Codec.NONE else 0 < payload < length
    if not fits:
        raise WireViolation(f"block at {offset} carries {payload} bytes for {length}")


class Decoder:
    """Bytes in, frames out. After a WireViolation the decoder is dead: the connection must be closed.

    `allocate(n)` lends a writable buffer of exactly `n` bytes for a frame's body; `Frame.owner` is that buffer.
    """

    def __init__(
        self,
        accepts: frozenset[FrameKind],
        allocate: Callable[[int], memoryview] = lambda n: memoryview(bytearray(n)),
    ) -> None:
        self._accepts = accepts
        self._allocate = allocate
        self._header = memoryview(bytearray(HEADER.size))
        self._target = self._header
        self._filled = 0
        self._pending: tuple[Frame, int] | None = None  # a parsed header whose body is being filled
        self._sequence = 0

    @property
    def idle(self) -> bool:
        """True between frames: the stream may end here."""
        return self._pending is None and self._filled == 0

    def buffer(self) -> memoryview:
        """The memory for the next bytes of the stream; never empty."""
        return self._target[self._filled :]

    def advance(self, count: int) -> Frame | None:
        """`count` bytes were put into `buffer()`; returns the frame that they complete, if any."""
        self._filled += count
        if self._filled < len(self._target):
            return None
        if self._pending is None:
            frame, digests, payload = _parse(self._header, self._accepts)
            self._check_sequence(frame)
            self._filled = 0
            if digests + payload == 0:
                return frame
            self._pending = (frame, digests)
            self._target = self._allocate(digests + payload)
            return None
        frame, digests = self._pending
        frame.owner = self._target
        frame.digests, frame.payload = bytes(self._target[:digests]), self._target[digests:]
        self._pending, self._target, self._filled = None, self._header, 0
        return frame

    def feed(self, data: bytes | memoryview) -> Iterable[Frame]:
        """The frames that `data` completes."""
        view = memoryview(data)
        while view:
            room = self.buffer()
            part = min(len(room), len(view))
            room[:part] = view[:part]
            view = view[part:]
            frame = self.advance(part)
            if frame is not None:
                yield frame

    def _check_sequence(self, frame: Frame) -> None:
        """Check that counted frames are numbered 1, 2, 3, ..., and that acknowledgements never go back."""
        if frame.kind in COUNTED:
            if frame.sequence != self._sequence + 1:
                raise WireViolation(f"frame {frame.sequence} follows frame {self._sequence}")
            self._sequence = frame.sequence
        elif frame.kind == FrameKind.ACK:
            if frame.sequence < self._sequence:
                raise WireViolation(f"acknowledgement went back from {self._sequence} to {frame.sequence}")
            self._sequence = frame.sequence
