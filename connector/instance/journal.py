"""The append-only record of what is durable on one disk: a reader stops at the first invalid byte and cuts
there.

The format is documented byte by byte in docs/journal-format.md. Appending flushes: when `append` returns,
the record is on stable storage.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from connector.errors import Conflict, TargetFailed
from connector.model import Extent

MAGIC = b"ACJOURN\n"
VERSION = 1
HEADER = struct.Struct(">8sHHIQ")  # magic, version, length of the disk key, zero, capacity; then key and CRC
RECORD = struct.Struct(">BI")  # type, length of the body; then body and CRC over all of it
CRC = struct.Struct(">I")
RANGE = struct.Struct(">BQQ")  # kind, start, length
BODY_LIMIT = 1 << 24
TEXT_LIMIT = 1 << 12


class Type(IntEnum):
    PASS_BEGIN = 1
    RANGES = 2
    PASS_END = 3
    DISCARD = 4
    GROWN = 5


class RangeKind(IntEnum):
    DATA = 0
    ZERO = 1


@dataclass(frozen=True, slots=True)
class PassBegin:
    """An attempt at a pass begins. `identity` names the source disk (path, uuid) as JSON text."""

    pass_id: str
    kind: str  # "full" or "delta"
    snapshot: str
    change_id: str
    base_change_id: str
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of the running attempt that are durable on the target."""

    ranges: tuple[tuple[Extent, RangeKind], ...]


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


Record = PassBegin | Ranges | PassEnd | Discard | Grown


class Journal:
    """One file, one disk. Not for several threads at once: its owner holds a lock."""

    def __init__(self, path: Path, key: str, capacity: int) -> None:
        """Open or create; `records` then holds what was read. Raises Conflict for another disk's or a newer
        journal.
        """
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.failed = False
        try:
            self.capacity, self.records = self._load(key, capacity)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, record: Record) -> None:
        """Durable when it returns. After a failure the journal accepts nothing more: reopening cuts the torn
        tail.
        """
        if self.failed:
            raise TargetFailed("an earlier write failed", on=str(self._path), remedy="restart the instance")
        self.failed = True
        try:
            _write(self._file, encode(record))
            os.fdatasync(self._file)
        except OSError as error:
            raise TargetFailed(f"journal not written ({error.strerror})", on=str(self._path)) from error
        self.failed = False

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _load(self, key: str, capacity: int) -> tuple[int, list[Record]]:
        data = self._path.read_bytes()
        start = header(key, capacity)
        found = read_header(data, str(self._path))
        if found is None:  # new, or torn before the header was durable: nothing was ever acknowledged
            os.ftruncate(self._file, 0)
            _write(self._file, start)
            os.fsync(self._file)
            _sync_directory(self._path.parent)
            return capacity, []
        if found[0] != key:
            raise Conflict(
                f"is the journal of disk {found[0]!r}", on=str(self._path), remedy="do not move journals"
            )
        records, end = read_records(data, found[2])
        if end < len(data):
            os.ftruncate(self._file, end)
            os.fsync(self._file)
        os.lseek(self._file, end, os.SEEK_SET)
        return found[1], records


def header(key: str, capacity: int) -> bytes:
    """The first bytes of a journal."""
    name = key.encode()
    head = HEADER.pack(MAGIC, VERSION, len(name), 0, capacity) + name
    return head + CRC.pack(zlib.crc32(head))


def read_header(data: bytes, on: str) -> tuple[str, int, int] | None:
    """Key, capacity, and where records begin; None when the header is torn. Raises Conflict for what is no
    journal.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise Conflict("is not a journal", on=on, remedy="remove what does not belong into the directory")
    if len(data) < HEADER.size:
        return None
    _, version, length, reserved, capacity = HEADER.unpack_from(data)
    if version > VERSION:
        raise Conflict(
            f"journal version {version} is newer than {VERSION}", on=on, remedy="run the newer release"
        )
    end = HEADER.size + length
    if len(data) < end + CRC.size:
        return None
    if CRC.unpack_from(data, end)[0] != zlib.crc32(data[:end]) or reserved:
        raise Conflict("journal header is damaged", on=on, remedy="discard the disk and run a full pass")
    return data[HEADER.size : end].decode(), capacity, end + CRC.size


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


def encode(record: Record) -> bytes:
    """One record with its length and CRC."""
    kind, body = _body(record)
    head = RECORD.pack(kind, len(body)) + body
    return head + CRC.pack(zlib.crc32(head))


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


def _decode(kind: int, body: bytes) -> Record | None:
    """None when the body is not what its type demands: the journal ends there."""
    try:
        match kind:
            case Type.PASS_BEGIN:
                return PassBegin(*_read_texts(body, 6))
            case Type.RANGES:
                return Ranges(tuple((Extent(s, n), RangeKind(k)) for k, s, n in RANGE.iter_unpack(body)))
            case Type.PASS_END:
                return PassEnd(*_read_texts(body, 1))
            case Type.GROWN:
                return Grown(*struct.unpack(">Q", body))
            case Type.DISCARD:
                return Discard() if not body else None
    except (struct.error, ValueError):
        return None
    return None


def _texts(values: Iterable[str]) -> bytes:
    encoded = [value.encode() for value in values]
    if any(len(text) > TEXT_LIMIT for text in encoded):
        raise Conflict("a name in a journal record is too long")
    return b"".join(struct.pack(">H", len(text)) + text for text in encoded)


def _read_texts(body: bytes, count: int) -> Iterator[str]:
    found, at = [], 0
    for _ in range(count):
        (length,) = struct.unpack_from(">H", body, at)
        at += 2 + length
        if at > len(body):
            raise ValueError("torn text")
        found.append(body[at - length : at].decode())
    if at != len(body):
        raise ValueError("trailing bytes")
    return iter(found)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
