"""The records of a journal, and their bytes; see docs/journal-format.md. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from connector.errors import Conflict
from connector.kinds import RangeState
from connector.model import Extent
from connector.transfer.digest import SIZE

RECORD = struct.Struct(">BI")  # type, length of the body; then body and CRC over all of it
CRC = struct.Struct(">I")
RANGE = struct.Struct(">BQQ")  # kind, start, length
LENGTH = struct.Struct(">H")  # of a text
AREA = struct.Struct(">QQ")  # start, length
PAGES = struct.Struct(">IIB")  # first page, count, form; then the nodes, when they are listed
IDENTITY = 16  # bytes of a target id
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
    TARGET = 8
    NODES = 9
    ROOT = 10


class PageEncoding(IntEnum):
    """The encoding of a run of pages."""

    BLANK = 0  # every entry of the pages is a mark
    LISTED = 1  # a node for each page


@dataclass(frozen=True, slots=True)
class PassBegin:
    """An attempt begins to deliver a reading. `identity` names the source disk (path, uuid) as JSON text."""

    reading_id: str
    kind: str  # of KINDS
    snapshot: str
    change_id: str
    base_change_id: str
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of the running attempt that are durable on the target."""

    ranges: tuple[tuple[Extent, RangeState], ...]


@dataclass(frozen=True, slots=True)
class PassEnd:
    """The reading is complete: it becomes the disk's base. Releases before version 3 wrote no roots."""

    reading_id: str
    root: bytes = b""
    previous: bytes = b""  # the root of the reading that ended before it on this target, if any


@dataclass(frozen=True, slots=True)
class Discard:
    """The interrupted attempts are forgotten; what they wrote is still on the target."""


@dataclass(frozen=True, slots=True)
class Grown:
    """The disk was enlarged."""

    capacity: int


@dataclass(frozen=True, slots=True)
class DoubtRecord:
    """The base's change id must not be used any more; `reason` says why. The next pass compares."""

    reason: str


@dataclass(frozen=True, slots=True)
class Spoiled:
    """Areas where the target is wrong, as a proof found, or may be: a window met a page of the table that cannot be trusted."""

    areas: tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """The target's id. With a `reason` the target's content is unknown: the next pass compares."""

    target_id: str  # 32 hex digits
    reason: str = ""


class Pages(NamedTuple):
    """A run of pages and their nodes. Without nodes the pages are blank."""

    first: int
    size: int  # the number of pages
    nodes: bytes = b""


Run = tuple[int, int, bytes]  # the fields of `Pages`
Row = tuple[int, int, int]  # an entry of RANGES: kind, start, length


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """The new nodes of the pages of the digest table that a window changed; later runs replace earlier ones."""

    runs: tuple[Pages, ...]


@dataclass(frozen=True, slots=True)
class Root:
    """The root of a base that had none, after a full proof has found target and table equal."""

    root: bytes


Record = (
    PassBegin | Ranges | PassEnd | Discard | Grown | DoubtRecord | Spoiled | TargetRecord | NodeRecord | Root
)


def encode(record: Record) -> bytes:
    """One record with its length and CRC."""
    kind, body = _body(record)
    head = RECORD.pack(kind, len(body)) + body
    return head + CRC.pack(zlib.crc32(head))


def read_records(data: bytes, at: int) -> tuple[list[Record], int]:
    """The valid records from `at` on, and the offset of the first invalid byte."""
    records: list[Record] = []
    end = take_records(data, at, records.append)
    return records, end


def take_records(
    data: bytes,
    at: int,
    take: Callable[[Record], None],
    pages: Callable[[list[Run]], None] | None = None,
    ranges: Callable[[list[Row]], None] | None = None,
) -> int:
    """Pass the valid records from `at` on to `take`, one by one; returns the offset of the first invalid byte.

    `pages` gets the runs of NODES instead, and `ranges` the entries of RANGES, without a record around them: nearly all
    records of a journal are of these types.
    """
    read_head, read_crc, crc = RECORD.unpack_from, CRC.unpack_from, zlib.crc32
    head, tail, size = RECORD.size, CRC.size, len(data)
    while size - at >= head + tail:
        kind, length = read_head(data, at)
        body = at + head
        end = body + length
        if length > BODY_LIMIT or size < end + tail:
            break
        if read_crc(data, end)[0] != crc(data[at:end]):
            break
        if kind == _NODES and pages is not None:
            runs = _runs(data, body, end)
            if runs is None:
                break
            pages(runs)
        elif kind == _RANGES and ranges is not None:
            rows = _rows(data[body:end])
            if rows is None:
                break
            ranges(rows)
        else:
            record = _decode(kind, data[body:end])
            if record is None:
                break
            take(record)
        at = end + tail
    return at


def _body(record: Record) -> tuple[Type, bytes]:
    match record:
        case PassBegin():
            return Type.PASS_BEGIN, _texts(
                (
                    record.reading_id,
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
            return Type.PASS_END, _texts((record.reading_id,)) + _roots(record)
        case Grown():
            return Type.GROWN, struct.pack(">Q", record.capacity)
        case Discard():
            return Type.DISCARD, b""
        case DoubtRecord():
            return Type.DOUBT, _texts((record.reason,))
        case Spoiled():
            return Type.SPOILED, b"".join(AREA.pack(*area) for area in record.areas)
        case TargetRecord():
            return Type.TARGET, bytes.fromhex(record.target_id) + _texts((record.reason,))
        case NodeRecord():
            return Type.NODES, b"".join(_pages(*run) for run in record.runs)
        case Root():
            return Type.ROOT, record.root


def _decode(kind: int, body: bytes) -> Record | None:
    """The record; None when the body does not have the form of its type: the journal ends there."""
    reader = _READERS.get(kind)
    try:
        return None if reader is None else reader(body)
    except (struct.error, ValueError, IndexError):
        return None


def _read_begin(body: bytes) -> PassBegin:
    return PassBegin(*_read_texts(body, 6))


def _read_ranges(body: bytes) -> Ranges | None:
    rows = _rows(body)
    if rows is None:
        return None
    return Ranges(tuple([(Extent(start, length), _NAMED[kind]) for kind, start, length in rows]))


def _rows(body: bytes) -> list[Row] | None:
    """The entries of a RANGES body; None when it has another form. There is one for each window, so this is fast code."""
    if len(body) % RANGE.size:
        return None
    rows: list[Row] = list(RANGE.iter_unpack(body))
    for kind, _, length in rows:
        if not length or kind >= _KINDS:
            return None
    return rows


def _read_grown(body: bytes) -> Grown:
    return Grown(*struct.unpack(">Q", body))


def _read_discard(body: bytes) -> Discard | None:
    return Discard() if not body else None


def _read_doubt(body: bytes) -> DoubtRecord:
    return DoubtRecord(*_read_texts(body, 1))


def _read_spoiled(body: bytes) -> Spoiled:
    return Spoiled(tuple([_extent(*area) for area in AREA.iter_unpack(body)]))


def _read_target(body: bytes) -> TargetRecord:
    (reason,) = _read_texts(body[IDENTITY:], 1)
    return TargetRecord(body[:IDENTITY].hex(), reason)


def _read_nodes(body: bytes) -> NodeRecord | None:
    runs = _runs(body, 0, len(body))
    return None if runs is None else NodeRecord(tuple([Pages(*run) for run in runs]))


def _read_root(body: bytes) -> Root | None:
    return Root(body) if len(body) == SIZE else None


def _roots(record: PassEnd) -> bytes:
    """The bytes of the roots: the root and the previous one or zeros; empty for a reading of an older release."""
    return record.root + (record.previous or bytes(SIZE)) if record.root else b""


def _read_end(body: bytes) -> PassEnd:
    (length,) = struct.unpack_from(">H", body)
    end = 2 + length
    (reading_id,) = _read_texts(body[:end], 1)
    if len(body) == end:
        return PassEnd(reading_id)
    root, previous = body[end : end + SIZE], body[end + SIZE :]
    if len(previous) != SIZE:
        raise ValueError("torn roots")
    return PassEnd(reading_id, root, previous if any(previous) else b"")


def _pages(first: int, count: int, nodes: bytes) -> bytes:
    return PAGES.pack(first, count, PageEncoding.LISTED if nodes else PageEncoding.BLANK) + nodes


def _runs(data: bytes, at: int, end: int) -> list[Run] | None:
    """The runs of a NODES body; None when it has another form. Fast code too."""
    runs: list[Run] = []
    unpack, head = PAGES.unpack_from, PAGES.size
    while at + head <= end:
        first, size, form = unpack(data, at)
        at += head
        if not size or form > _LISTED:
            return None
        after = at + size * SIZE if form else at
        if after > end:
            return None
        runs.append((first, size, data[at:after]))
        at = after
    return runs if at == end else None


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
    texts, at = [], 0
    for _ in range(count):
        (length,) = LENGTH.unpack_from(body, at)
        at += 2 + length
        if at > len(body) or length > TEXT_LIMIT:
            raise ValueError("torn or too long a text")
        texts.append(body[at - length : at].decode())
    if at != len(body):
        raise ValueError("trailing bytes")
    return iter(texts)


_NAMED: Final = tuple(RangeState)
_KINDS: Final = len(_NAMED)
_LISTED: Final = PageEncoding.LISTED.value
_NODES: Final = Type.NODES.value
_RANGES: Final = Type.RANGES.value
_READERS: Final[Mapping[int, Callable[[bytes], Record | None]]] = {
    Type.PASS_BEGIN.value: _read_begin,
    Type.RANGES.value: _read_ranges,
    Type.PASS_END.value: _read_end,
    Type.DISCARD.value: _read_discard,
    Type.GROWN.value: _read_grown,
    Type.DOUBT.value: _read_doubt,
    Type.SPOILED.value: _read_spoiled,
    Type.TARGET.value: _read_target,
    Type.NODES.value: _read_nodes,
    Type.ROOT.value: _read_root,
}
