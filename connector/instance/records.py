"""What a journal can say, and how each record looks in bytes; see docs/journal-format.md. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from connector.errors import Conflict
from connector.model import Extent
from connector.transfer.receiver import Named

RECORD = struct.Struct(">BI")  # type, length of the body; then body and CRC over all of it
CRC = struct.Struct(">I")
RANGE = struct.Struct(">BQQ")  # kind, start, length
AREA = struct.Struct(">QQ")  # start, length
BODY_LIMIT = 1 << 24
TEXT_LIMIT = 1 << 12


class Type(IntEnum):
    PASS_BEGIN = 1
    RANGES = 2
    PASS_END = 3
    DISCARD = 4
    GROWN = 5
    DOUBT = 6
    SPOILED = 7


@dataclass(frozen=True, slots=True)
class PassBegin:
    """An attempt at a pass begins. `identity` names the source disk (path, uuid) as JSON text."""

    pass_id: str
    kind: str  # of KINDS
    snapshot: str
    change_id: str
    base_change_id: str
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of the running attempt that are durable on the target."""

    ranges: tuple[tuple[Extent, Named], ...]


@dataclass(frozen=True, slots=True)
class PassEnd:
    """The pass is complete: its change id becomes the disk's base."""

    pass_id: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget the interrupted attempts; what they wrote is still on the target."""


@dataclass(frozen=True, slots=True)
class Grown:
    """The disk was enlarged."""

    capacity: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """The base's change id must not be used any more, and why: the next pass compares."""

    reason: str


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A proof found that the target does not hold there what was sent."""

    areas: tuple[Extent, ...]


Record = PassBegin | Ranges | PassEnd | Discard | Grown | Doubt | Spoiled


def encode(record: Record) -> bytes:
    """One record with its length and CRC."""
    kind, body = _body(record)
    head = RECORD.pack(kind, len(body)) + body
    return head + CRC.pack(zlib.crc32(head))


def read_records(data: bytes, at: int) -> tuple[list[Record], int]:
    """The valid records from `at`, and where the first invalid byte is."""
    records: list[Record] = []
    while len(data) - at >= RECORD.size + CRC.size:
        kind, length = RECORD.unpack_from(data, at)
        end = at + RECORD.size + length
        if length > BODY_LIMIT or len(data) < end + CRC.size:
            break
        if CRC.unpack_from(data, end)[0] != zlib.crc32(data[at:end]):
            break
        record = _decode(kind, data[at + RECORD.size : end])
        if record is None:
            break
        records.append(record)
        at = end + CRC.size
    return records, at


def _body(record: Record) -> tuple[Type, bytes]:
    match record:
        case PassBegin():
            return Type.PASS_BEGIN, _texts(
                (
                    record.pass_id,
                    record.kind,
                    record.snapshot,
                    record.change_id,
                    record.base_change_id,
                    record.identity,
                )
            )
        case Ranges():
            return Type.RANGES, b"".join(RANGE.pack(kind, e.start, e.length) for e, kind in record.ranges)
        case PassEnd():
            return Type.PASS_END, _texts((record.pass_id,))
        case Grown():
            return Type.GROWN, struct.pack(">Q", record.capacity)
        case Discard():
            return Type.DISCARD, b""
        case Doubt():
            return Type.DOUBT, _texts((record.reason,))
        case Spoiled():
            return Type.SPOILED, b"".join(AREA.pack(*area) for area in record.areas)


def _decode(kind: int, body: bytes) -> Record | None:
    """None when the body is not what its type demands: the journal ends there."""
    try:
        return _read(kind, body)
    except (struct.error, ValueError):
        return None


def _read(kind: int, body: bytes) -> Record | None:
    match kind:
        case Type.PASS_BEGIN:
            return PassBegin(*_read_texts(body, 6))
        case Type.RANGES:
            return Ranges(tuple((_extent(s, n), Named(k)) for k, s, n in RANGE.iter_unpack(body)))
        case Type.PASS_END:
            return PassEnd(*_read_texts(body, 1))
        case Type.GROWN:
            return Grown(*struct.unpack(">Q", body))
        case Type.DISCARD:
            return Discard() if not body else None
        case Type.DOUBT:
            return Doubt(*_read_texts(body, 1))
        case Type.SPOILED:
            return Spoiled(tuple(_extent(*area) for area in AREA.iter_unpack(body)))
    return None


def _extent(start: int, length: int) -> Extent:
    if not length:
        raise ValueError("a range of no bytes")
    return Extent(start, length)


def _texts(values: Iterable[str]) -> bytes:
    encoded = [value.encode() for value in values]
    if any(len(text) > TEXT_LIMIT for text in encoded):
        raise Conflict(
            "a name in a journal record is too long", remedy="use shorter names: at most 4096 bytes"
        )
    return b"".join(struct.pack(">H", len(text)) + text for text in encoded)


def _read_texts(body: bytes, count: int) -> Iterator[str]:
    found, at = [], 0
    for _ in range(count):
        (length,) = struct.unpack_from(">H", body, at)
        at += 2 + length
        if at > len(body) or length > TEXT_LIMIT:
            raise ValueError("torn or too long a text")
        found.append(body[at - length : at].decode())
    if at != len(body):
        raise ValueError("trailing bytes")
    return iter(found)
