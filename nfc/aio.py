"""Frames of asynchronous sessions: a header, `size` bytes of payload, then extra bytes that `size` does not count [P]. Pure.

    header    u32 magic 0xA100DA7A, u32 type, u32 size, u32 operation id                                            [P]
    error     type 1: u32 NFC error [?], perhaps text behind it [?]
    2   OPEN_SESSION     u32 0, u32 buffer size, u32 buffer count, u32 0; zeros are the host's defaults             [P]
    9   SET_SOCK_OPTS    12 zeros                                                                                   [P]
    22  SET_RES_POOL     u32 1                                                                                      [P]
    4   OPEN_FILE        u32 path length, 3 x u32 0, u32 2 (disk), u32 0x1e (read-only), zeros to 60; extra: path   [P]
        answer           u64 handle at 8, u64 capacity at 28, u32 sector size at 36 (0 is 512); 60 bytes            [P]
    11  DDB_GET          u64 handle, u32 key length, u32 0; extra: key without "ddb."                               [P]
        answer           u32 value length at 12; extra: value                                                       [P]
    13  QUERY_ALLOCATED  u64 handle, u64 0, u64 chunk, u64 start, u64 count, u64 0                                  [P]
        answer           u64 count at 32, 48 bytes; extra: bitmap                                                   [P]
    7   IO               u64 handle, u32 1 (read), u32 compression, u64 offset, u64 length, 2 x u32 length, u32 0   [P]
        answer           a fragment, see `Fragment`; extra: its bytes                                               [P]
    5   CLOSE_FILE       u64 handle                                                                                 [P]
    3   CLOSE_SESSION    u32 0                                                                                      [P]

An answer has the type of its request [?] or is an error, and carries the id of its request [P].
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from nfc.allocation import MOST_CHUNKS, bitmap_size
from nfc.codec import Compression
from nfc.errors import BadSetting, SizeOutOfBounds, UnexpectedAnswer, WrongMagic, readable

MAGIC: Final = 0xA100DA7A
LONGEST_PAYLOAD: Final = 4096
"""Bytes. The longest payload that is known has 60; an error may carry text."""
LONGEST_TEXT: Final = 4096
"""Bytes of a path, a key or a value."""
LONGEST_READ: Final = 1 << 30
HEADER: Final = struct.Struct("<IIII")
DISK: Final = 2
READ_ONLY: Final = 0x1E
READ: Final = 1
_OPEN_SESSION: Final = struct.Struct("<IIII")
_OPEN_FILE: Final = struct.Struct("<I12xII36x")
_FILE: Final = struct.Struct("<8xQII4xQI20x")
_DDB_GET: Final = struct.Struct("<QII")
_ALLOCATED: Final = struct.Struct("<QQQQQQ")
_IO: Final = struct.Struct("<QIIQQIII")
_FRAGMENT: Final = struct.Struct("<QIIQIIIII")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_WORDS: Final = re.compile(rb"[\x20-\x7e]{6,}")


class Kind(IntEnum):
    ERROR = 1
    OPEN_SESSION = 2
    CLOSE_SESSION = 3
    OPEN_FILE = 4
    CLOSE_FILE = 5
    IO = 7
    SET_SOCK_OPTS = 9
    DDB_GET = 11
    QUERY_ALLOCATED = 13
    SET_RES_POOL = 22


class Frame(NamedTuple):
    """A header and its payload, as received."""

    kind: int
    operation: int
    payload: bytes


class HostFile(NamedTuple):
    """The answer to OPEN_FILE."""

    handle: int
    kind: int
    flags: int
    capacity: int
    sector: int


class ReadRequest(NamedTuple):
    """What a frame of type IO asks for."""

    handle: int
    compression: int
    offset: int
    length: int


class Fragment(NamedTuple):
    """An IO answer: `plain` bytes of the read that begins at `offset`, at `place` in it, as `packed` bytes on the wire."""

    compression: int
    offset: int
    total: int
    place: int
    plain: int
    packed: int


def _nothing(_: bytes) -> int:
    return 0


@dataclass(frozen=True)
class Question:
    """A request that has one answer. ``extra_of`` says, from the answer's payload, how many extra bytes follow it."""

    kind: Kind
    payload: bytes
    extra: bytes = b""
    extra_of: Callable[[bytes], int] = _nothing


def frame(kind: Kind, operation: int, payload: bytes, extra: bytes = b"") -> bytes:
    return HEADER.pack(MAGIC, kind, len(payload), operation) + payload + extra


def open_session(buffer: int, buffers: int) -> Question:
    return Question(Kind.OPEN_SESSION, _OPEN_SESSION.pack(0, buffer, buffers, 0))


def set_socket_options() -> Question:
    return Question(Kind.SET_SOCK_OPTS, bytes(12))


def set_resource_pool() -> Question:
    return Question(Kind.SET_RES_POOL, _U32.pack(1))


def open_file(path: str) -> Question:
    raw = _text("path", path)
    return Question(Kind.OPEN_FILE, _OPEN_FILE.pack(len(raw), DISK, READ_ONLY), raw)


def get_metadata(handle: int, key: str) -> Question:
    raw = _text("key", key)
    return Question(Kind.DDB_GET, _DDB_GET.pack(handle, len(raw), 0), raw, _value_length)


def query_allocated(handle: int, start: int, count: int, chunk: int) -> Question:
    def bitmap(payload: bytes) -> int:
        _sized(payload, _ALLOCATED.size, "QUERY_ALLOCATED")
        answered = _U64.unpack_from(payload, 32)[0]
        if answered != count:
            raise UnexpectedAnswer(f"the allocation of {answered} chunks instead of {count}")
        return bitmap_size(count)

    return Question(Kind.QUERY_ALLOCATED, _ALLOCATED.pack(handle, 0, chunk, start, count, 0), b"", bitmap)


def close_file(handle: int) -> Question:
    return Question(Kind.CLOSE_FILE, _U64.pack(handle))


def close_session() -> Question:
    return Question(Kind.CLOSE_SESSION, _U32.pack(0))


def read(operation: int, handle: int, offset: int, length: int, compression: Compression) -> bytes:
    """The frame of a read."""
    payload = _IO.pack(handle, READ, compression, offset, length, length, length, 0)
    return frame(Kind.IO, operation, payload)


def parse_read(payload: bytes) -> ReadRequest:
    """What a client's frame asks to read."""
    _sized(payload, _IO.size, "IO", "a request of")
    handle, _, compression, offset, length, *_ = _IO.unpack(payload)
    return ReadRequest(handle, compression, offset, length)


def question_extra(kind: int, payload: bytes) -> int:
    """How many extra bytes follow the payload of a client's frame: a path or a key."""
    if kind not in (Kind.OPEN_FILE, Kind.DDB_GET):
        return 0
    at, size = (0, _OPEN_FILE.size) if kind == Kind.OPEN_FILE else (8, _DDB_GET.size)
    _sized(payload, size, Kind(kind).name, "a request of")
    length = int(_U32.unpack_from(payload, at)[0])
    if length > LONGEST_TEXT:
        raise SizeOutOfBounds(f"a path or a key of {length} bytes")
    return length


def parse_question(kind: int, payload: bytes, extra: bytes) -> Question:
    """The question behind a client's frame, if it is one that is put here. The way back from `Question` to its functions."""
    try:
        return _QUESTIONS[Kind(kind)](payload, extra.decode())
    except (KeyError, ValueError, struct.error) as error:
        raise UnexpectedAnswer(f"a request of type {kind} that nobody here makes") from error


def _parse_allocated(payload: bytes, _: str) -> Question:
    handle, __, chunk, start, count, __ = _ALLOCATED.unpack(payload)
    if count > MOST_CHUNKS:
        raise SizeOutOfBounds(f"a question for {count} chunks")
    return query_allocated(handle, start, count, chunk)


_QUESTIONS: Final[dict[Kind, Callable[[bytes, str], Question]]] = {
    Kind.OPEN_SESSION: lambda payload, _: open_session(*_OPEN_SESSION.unpack(payload)[1:3]),
    Kind.SET_SOCK_OPTS: lambda _, __: set_socket_options(),
    Kind.SET_RES_POOL: lambda _, __: set_resource_pool(),
    Kind.OPEN_FILE: lambda _, path: open_file(path),
    Kind.DDB_GET: lambda payload, key: get_metadata(_DDB_GET.unpack(payload)[0], key),
    Kind.QUERY_ALLOCATED: _parse_allocated,
    Kind.CLOSE_FILE: lambda payload, _: close_file(_U64.unpack(payload)[0]),
    Kind.CLOSE_SESSION: lambda _, __: close_session(),
}


def parse_file(payload: bytes) -> HostFile:
    _sized(payload, _FILE.size, "OPEN_FILE")
    file = HostFile(*_FILE.unpack(payload))
    file = file._replace(sector=file.sector or 512)
    if not 0 < file.capacity < 1 << 60 or file.capacity % 512:
        raise SizeOutOfBounds(f"a disk of {file.capacity} bytes")
    if not 512 <= file.sector <= 65536 or file.sector & (file.sector - 1):
        raise SizeOutOfBounds(f"a disk with sectors of {file.sector} bytes")
    return file


def parse_fragment(payload: bytes) -> Fragment:
    _sized(payload, _FRAGMENT.size, "IO")
    status, _, compression, offset, total, place, plain, packed, _ = _FRAGMENT.unpack(payload)
    if status:
        raise UnexpectedAnswer(f"a fragment begins with {status:#x} instead of 0")
    return Fragment(compression, offset, total, place, plain, packed)


def parse_error(payload: bytes) -> tuple[int, str]:
    """The number of an error, and whatever words are behind it: in which form hosts send them is not known [?]."""
    if len(payload) < _U32.size:
        raise SizeOutOfBounds(f"an error of {len(payload)} bytes")
    words = b" ".join(_WORDS.findall(payload, _U32.size))
    return _U32.unpack_from(payload)[0], readable(words)


def _value_length(payload: bytes) -> int:
    _sized(payload, _DDB_GET.size, "DDB_GET")
    length = int(_U32.unpack_from(payload, 12)[0])
    if length > LONGEST_TEXT:
        raise SizeOutOfBounds(f"a value of {length} bytes in a disk's metadata")
    return length


def _sized(payload: bytes, size: int, name: str, what: str = "an answer to") -> None:
    if len(payload) != size:
        raise SizeOutOfBounds(f"{what} {name} has {len(payload)} bytes instead of {size}")


def _text(name: str, text: str) -> bytes:
    raw = text.encode()
    if not raw or len(raw) > LONGEST_TEXT or b"\0" in raw:
        raise BadSetting(name, f"{text[:80]!r} is empty, too long or has a NUL")
    return raw


class Receiver(Protocol):
    """Who takes what a `Decoder` decodes."""

    def begin(self, frame: Frame) -> memoryview:
        """Where the extra bytes of this frame go, all of them; empty without any. Raises MalformedAnswer."""
        ...

    def end(self, frame: Frame) -> None:
        """The extra bytes are there."""
        ...


class Decoder:
    """Bytes in, frames out. The caller writes into `target` and says with `advance` how many bytes it wrote.

    So the bytes of a disk go from TLS straight to where they belong. Nothing is allocated that a host's number asks for before
    the number was checked.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._header = bytearray(HEADER.size)
        self._payload = bytearray(LONGEST_PAYLOAD)
        self._kind = self._operation = 0
        self._frame: Frame | None = None
        self._expect(memoryview(self._header), self._have_header)

    @property
    def target(self) -> memoryview:
        """Where the next bytes belong; never empty."""
        return self._target[self._filled :]

    def advance(self, count: int) -> None:
        self._filled += count
        while self._filled == len(self._target):
            self._next()

    def _expect(self, target: memoryview, then: Callable[[], None]) -> None:
        self._target, self._filled, self._next = target, 0, then

    def _have_header(self) -> None:
        magic, self._kind, size, self._operation = HEADER.unpack(self._header)
        if magic != MAGIC:
            raise WrongMagic(f"a frame begins with {magic:#010x} instead of {MAGIC:#010x}")
        if size > LONGEST_PAYLOAD:
            raise SizeOutOfBounds(f"a frame of type {self._kind} has a payload of {size} bytes")
        self._expect(memoryview(self._payload)[:size], self._have_payload)

    def _have_payload(self) -> None:
        self._frame = Frame(self._kind, self._operation, bytes(self._target))
        self._expect(self._receiver.begin(self._frame), self._have_all)

    def _have_all(self) -> None:
        complete, self._frame = self._frame, None
        self._expect(memoryview(self._header), self._have_header)
        if complete is not None:
            self._receiver.end(complete)
