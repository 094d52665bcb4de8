"""AIO frames: a header of four u32 (magic, type, size, operation id), `size` bytes, and bytes beyond `size`.

| type | request | beyond | answer | beyond |
|---|---|---|---|---|
| 2 OPEN_SESSION | u32 0, u32 buffer size, u32 count, u32 0 | | the same with what is granted | |
| 3 CLOSE_SESSION | u32 0 | | u32 0 | |
| 4 OPEN_FILE | u32 path length, 12 zeros, u32 2, u32 flags, zeros to 60 | path | 60: u64 handle at 8, ... | |
| 5 CLOSE_FILE | u64 handle | | u64 handle | |
| 7 IO | u64 handle, u32 1, u32 compression, u64 offset, u64 length, 2 x u32 length, u32 0 | | 44, a fragment | data |
| 9 SET_SOCK_OPTS | 12 zeros | | u32 0, u32 send, u32 receive buffer | |
| 11 DDB_GET | u64 handle, u32 key length, u32 0 | key | u64 handle, u32 0, u32 value length | value |
| 13 QUERY_ALLOCATED | u64 handle, u64 0, u64 chunk, u64 start, u64 count, u64 0 | | the same | bits |
| 22 SET_RES_POOL | u32 1 | | u32 1 | |

Type 1 is an error: u32 number, u32 length of a text, the text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol

from simulator.faults import Rule
from simulator.nfc import classic, codec
from simulator.nfc.disks import OpenDisk
from simulator.nfc.refusals import GENERIC, INVALID, MEMORY, READ_ONLY, UNSUPPORTED, Refused
from simulator.nfc.switches import Switches
from simulator.nfc.tickets import Ticket
from simulator.nfc.wire import Ended, Wire

MAGIC = 0xA100DA7A
ERROR, OPEN_SESSION, CLOSE_SESSION, OPEN_FILE, CLOSE_FILE, IO = 1, 2, 3, 4, 5, 7
SET_SOCK_OPTS, DDB_GET, QUERY_ALLOCATED, SET_RES_POOL = 9, 11, 13, 22
DISK, READ_ONLY_FLAGS = 2, 0x1E
_HEADER = struct.Struct("<4I")
_REQUEST = struct.Struct("<QIIQQIII")
_FRAGMENT = struct.Struct("<QIIQIIIII")
_SIZES = {2: 16, 3: 4, 4: 60, 5: 8, 7: 44, 9: 12, 11: 16, 13: 48, 22: 4}
_LONGEST_TEXT = 4096
_MOST_DISKS = 64
_PATIENCE = 0.02  # seconds that a read waits for others to be shuffled with


class Surroundings(Protocol):
    """The host as a session sees it."""

    @property
    def switches(self) -> Switches: ...
    def open_disk(self, ticket: Ticket, path: str) -> OpenDisk: ...
    def reserve(self, size: int) -> bool: ...
    def release(self, size: int) -> None: ...
    def serving(self) -> bool: ...
    def consult(self, point: str, vm: str) -> Rule | None: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One request, its bytes beyond `size` not yet received."""

    kind: int
    operation: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """One read that is to be answered."""

    operation: int
    disk: OpenDisk
    offset: int
    length: int
    compression: int


def frame(kind: int, operation: int, payload: bytes, beyond: bytes = b"", magic: int = MAGIC) -> bytes:
    """One frame as it is sent."""
    return _HEADER.pack(magic, kind, len(payload), operation) + payload + beyond


class Session:
    """AIO on one connection. One thread; whoever runs it must `close` it."""

    def __init__(self, wire: Wire, host: Surroundings, ticket: Ticket) -> None:
        self._wire, self._host, self._ticket = wire, host, ticket
        self._buffer = 0
        self._reserved = 0
        self._disks: dict[int, OpenDisk] = {}
        self._handles = 0
        self._random = Random(host.switches.seed)  # noqa: S311 - an order, not a secret
        self._cut: int | None = None
        self._over = self._gone = False  # CLOSE_SESSION was answered; the client has said classic 4
        self._ahead: Frame | None = None
        self._steps: dict[int, tuple[str, Callable[[Frame], None]]] = {
            OPEN_SESSION: ("nfc.session", self._open_session),
            CLOSE_SESSION: ("nfc.close", self._close_session),
            OPEN_FILE: ("nfc.open", self._open_file),
            CLOSE_FILE: ("nfc.close", self._close_file),
            IO: ("nfc.read", self._io),
            SET_SOCK_OPTS: ("nfc.session", self._set_sock_opts),
            DDB_GET: ("nfc.metadata", self._ddb_get),
            QUERY_ALLOCATED: ("nfc.query", self._query_allocated),
            SET_RES_POOL: ("nfc.session", self._set_res_pool),
        }

    def run(self) -> None:
        """Answer until the client closes the session and says classic 4. Raises Ended."""
        while not self._over:
            request = self._ahead or self._receive()
            self._ahead = None
            if request is None:
                return
            self._answer(request)
            if self._gone:
                return
        self._wire.receive(classic.SIZE)

    def close(self) -> None:
        """Give the session's memory back."""
        self._host.release(self._reserved)
        self._reserved = 0

    def _receive(self) -> Frame | None:
        self._wire.deadline(self._host.switches.idle_seconds)
        magic, kind, size, operation = _HEADER.unpack(self._wire.receive(_HEADER.size))
        if magic == classic.CLOSE:
            return None
        if magic != MAGIC or size > _LONGEST_TEXT or size != _SIZES.get(kind, size):
            raise Ended(f"frame with magic {magic:#x}, type {kind}, size {size}")
        return Frame(kind, operation, self._wire.receive(size))

    def _answer(self, request: Frame) -> None:
        point, step = self._steps.get(request.kind, ("", None))
        try:
            if step is None:
                raise Refused(UNSUPPORTED, f"unknown request type {request.kind}")
            beyond = self._beyond(request)
            self._meet(point)
            if not self._host.serving():
                raise Ended("the host has stopped serving")
            if request.kind != OPEN_SESSION and not self._buffer:
                raise Refused(INVALID, "no session is open")
            step(Frame(request.kind, request.operation, request.payload + beyond))
        except Refused as refusal:
            self._send(self._error(request.operation, refusal))

    def _beyond(self, request: Frame) -> bytes:
        """What a request has beyond its size: a path or a key."""
        at = {OPEN_FILE: 0, DDB_GET: 8}.get(request.kind)
        if at is None:
            return b""
        (length,) = struct.unpack_from("<I", request.payload, at)
        if length > _LONGEST_TEXT:
            raise Ended(f"a text of {length} bytes")
        return self._wire.receive(length)

    def _meet(self, point: str) -> None:
        """Whatever the fault rules have for this request. Raises Refused."""
        rule = self._host.consult(point, self._ticket.vm)
        self._cut = rule.bytes if rule is not None and rule.action == "cut" else None
        if rule is None:
            return
        self._wire.pause(rule.seconds)
        if rule.action in ("fault", "answer"):
            raise Refused(int(rule.answer.get("error", GENERIC)), rule.message)

    def _send(self, data: bytes) -> None:
        if self._cut is None:
            self._wire.send(data)
        elif self._cut < len(data):
            self._wire.cut(data, self._cut)
        else:
            self._cut -= len(data)
            self._wire.send(data)

    def _error(self, operation: int, refusal: Refused) -> bytes:
        text = str(refusal).encode()[:_LONGEST_TEXT]
        return frame(ERROR, operation, struct.pack("<II", refusal.code, len(text)) + text)

    # --- the session

    def _open_session(self, request: Frame) -> None:
        switches = self._host.switches
        _, size, count, _ = struct.unpack("<4I", request.payload)
        size, count = size or switches.buffer_size, count or switches.buffer_count
        if self._buffer:
            raise Refused(INVALID, "the session is open already")
        if size * count >= switches.session_memory or not self._host.reserve(size * count):
            raise Refused(MEMORY, f"Failed to allocate the requested {size * count} bytes")
        self._buffer, self._reserved = size, size * count
        self._send(frame(OPEN_SESSION, request.operation, struct.pack("<4I", 0, size, count, 0)))

    def _close_session(self, request: Frame) -> None:
        self._over = True
        self._disks.clear()
        self._send(frame(CLOSE_SESSION, request.operation, bytes(4)))

    def _set_sock_opts(self, request: Frame) -> None:
        self._send(frame(SET_SOCK_OPTS, request.operation, struct.pack("<3I", 0, 1 << 18, 1 << 18)))

    def _set_res_pool(self, request: Frame) -> None:
        self._send(frame(SET_RES_POOL, request.operation, struct.pack("<I", 1)))

    # --- disks

    def _open_file(self, request: Frame) -> None:
        kind, flags = struct.unpack_from("<II", request.payload, 16)
        if kind != DISK:
            raise Refused(UNSUPPORTED, f"file type {kind}")
        if flags != READ_ONLY_FLAGS:
            raise Refused(READ_ONLY, f"flags {flags:#x} with a ticket for reading")
        if len(self._disks) >= _MOST_DISKS:
            raise Refused(MEMORY, "too many open files")
        disk = self._host.open_disk(self._ticket, request.payload[60:].decode(errors="replace"))
        self._handles += 1
        self._disks[self._handles] = disk
        switches = self._host.switches
        capacity = disk.capacity + switches.capacity_added
        head = struct.pack(
            "<QQIIIQI3I", 0, self._handles, DISK, flags, 0, capacity, switches.sector_size, *disk.geometry
        )
        self._send(frame(OPEN_FILE, request.operation, head.ljust(60, b"\0")))

    def _disk(self, request: Frame) -> OpenDisk:
        (handle,) = struct.unpack_from("<Q", request.payload)
        if handle not in self._disks:
            raise Refused(INVALID, f"unknown handle {handle}")
        return self._disks[handle]

    def _close_file(self, request: Frame) -> None:
        self._disk(request)
        del self._disks[struct.unpack_from("<Q", request.payload)[0]]
        self._send(frame(CLOSE_FILE, request.operation, request.payload))

    def _ddb_get(self, request: Frame) -> None:
        value = self._disk(request).keys.get(request.payload[16:].decode(errors="replace"), "").encode()
        head = request.payload[:8] + struct.pack("<II", 0, len(value))
        self._send(frame(DDB_GET, request.operation, head, value))

    def _query_allocated(self, request: Frame) -> None:
        _, _, chunk, start, count, _ = struct.unpack("<6Q", request.payload)
        bits = self._disk(request).allocated(start, chunk, count)
        self._send(frame(QUERY_ALLOCATED, request.operation, request.payload, bits))

    # --- reads

    def _io(self, request: Frame) -> None:
        reads = [self._read(request)]
        self._wire.pause(self._host.switches.read_ms / 1000)
        if not self._host.switches.shuffle:
            for piece in self._fragments(reads[0]):
                self._send(piece)
            return
        self._collect(reads)
        pieces = [piece for read in reads for piece in self._fragments(read)]
        self._random.shuffle(pieces)
        for piece in pieces:
            self._send(piece)

    def _collect(self, reads: list[Read]) -> None:
        """Reads that wait behind the first one, up to the switch; what is no read waits for its turn."""
        while len(reads) < self._host.switches.shuffle and self._wire.waiting(_PATIENCE):
            request = self._receive()
            if request is None or request.kind != IO:
                self._ahead, self._gone = request, request is None
                return
            try:
                reads.append(self._read(request))
            except Refused as refusal:
                self._send(self._error(request.operation, refusal))

    def _read(self, request: Frame) -> Read:
        _, operation, compression, offset, length, again, more, _ = _REQUEST.unpack(request.payload)
        disk = self._disk(request)
        if operation != 1:
            raise Refused(READ_ONLY, f"operation {operation} with a ticket for reading")
        if compression > codec.SKIPZ:
            raise Refused(UNSUPPORTED, f"compression {compression}")
        if length != again or length != more:
            raise Refused(INVALID, f"lengths {length}, {again} and {more} differ")
        disk.check(offset, length)
        return Read(request.operation, disk, offset, length, compression)

    def _fragments(self, read: Read) -> Iterator[bytes]:
        """The answer in pieces no longer than a buffer. The damage of a switch is put in here."""
        switches = self._host.switches
        for place in range(0, read.length, self._buffer):
            plain = read.disk.read(read.offset + place, min(self._buffer, read.length - place))
            kind, data = codec.packed(plain, read.compression if switches.compression else codec.NONE)
            last = place + len(plain) == read.length
            if switches.damage and last:
                yield from _damaged(switches.damage, read, place, plain)
            else:
                yield fragment(read, place, len(plain), kind, data)


def fragment(
    read: Read,
    place: int,
    plain: int,
    kind: int,
    data: bytes,
    *,
    operation: int | None = None,
    total: int | None = None,
    magic: int = MAGIC,
) -> bytes:
    """One piece of an answer; what differs from the truth is named."""
    whole = read.length if total is None else total
    head = _FRAGMENT.pack(0, 1, kind, read.offset, whole, place, plain, len(data), 0)
    return frame(IO, read.operation if operation is None else operation, head, data, magic)


def _damaged(damage: str, read: Read, place: int, plain: bytes) -> Iterator[bytes]:
    """The last piece of an answer, wrong in one way; nothing at all when it is to be missing."""
    size = len(plain)
    if damage == "magic":
        yield fragment(read, place, size, codec.NONE, plain, magic=MAGIC ^ 1)
    elif damage == "id":
        yield fragment(read, place, size, codec.NONE, plain, operation=read.operation + 1000)
    elif damage == "compression":
        yield fragment(read, place, size, 9, plain)
    elif damage == "length":
        yield fragment(read, place, size + 1, codec.NONE, plain + b"\0")
    elif damage == "overlap":
        yield fragment(read, max(0, place - 512), size, codec.NONE, plain)
    elif damage == "outside":
        yield fragment(read, read.length, size, codec.NONE, plain)
    elif damage == "total":
        yield fragment(read, place, size, codec.NONE, plain, total=read.length + 512)
