"""The append-only record of what is durable on one disk: a reader stops at the first invalid byte and cuts
there.

The format is documented byte by byte in docs/journal-format.md. Appending flushes: when `append` returns,
the record is on stable storage.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from connector import files
from connector.errors import Conflict, TargetFailed
from connector.files import replace
from connector.instance.records import CRC, Record, Row, Run, encode, take_records

MAGIC = b"ACJOURN\n"
VERSION = 3
HEADER = struct.Struct(">8sHHIQ")  # magic, version, length of the disk key, zero, capacity; then key and CRC


class JournalReader(NamedTuple):
    """Where a journal's records go; `pages` gets the runs of NODES and `ranges` the entries of RANGES, if they are to go
    elsewhere.
    """

    take: Callable[[Record], None]
    pages: Callable[[list[Run]], None] | None = None
    ranges: Callable[[list[Row]], None] | None = None


class DamagedJournal(Conflict):
    """It is not this disk's, or not one that can be read: what the target holds is not known."""


class Journal:
    """One file, one disk. Not for several threads at once: its owner holds a lock."""

    def __init__(
        self, path: Path, key: str, capacity: int, reader: Callable[[int], JournalReader] | None = None
    ) -> None:
        """Open or create; `records` then holds what was read, unless a `reader` gets the records one by one: it is
        called with the capacity that the header says. Raises DamagedJournal, or Conflict for a newer journal.
        """
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.failed = False
        self.records: list[Record] = []
        #: What the file was when it was opened; 0 for one that had nothing to say.
        self.version = 0
        try:
            self.capacity = self._load(
                key, capacity, reader or (lambda _: JournalReader(self.records.append))
            )
        except BaseException:
            os.close(self._file)
            raise

    @staticmethod
    def renew(path: Path, key: str, capacity: int, *records: Record) -> None:
        """Put a journal that says only this in place of whatever was there."""
        replace(path, header(key, capacity) + b"".join(encode(record) for record in records))

    def append(self, *records: Record) -> None:
        """Durable when it returns, in one piece as far as the storage can. After a failure the journal accepts nothing
        more: reopening cuts the torn tail.
        """
        if self.failed:
            raise TargetFailed("an earlier write failed", on=str(self._path), remedy="restart the instance")
        self.failed = True
        try:
            _write(self._file, b"".join([encode(record) for record in records]))
            os.fdatasync(self._file)
        except OSError as error:
            raise TargetFailed(
                f"journal not written ({error.strerror})",
                on=str(self._path),
                remedy="check the target's storage, restart the instance",
            ) from error
        self.failed = False

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _load(self, key: str, capacity: int, reader: Callable[[int], JournalReader]) -> int:
        data = _content(self._file)
        found = read_header(data, str(self._path))
        if found is None:  # new, or torn before the header was durable: nothing was ever acknowledged
            os.ftruncate(self._file, 0)
            _write(self._file, header(key, capacity))
            os.fsync(self._file)
            files.sync(self._path.parent)
            reader(capacity)
            return capacity
        if found.key != key:
            raise DamagedJournal(
                f"is the journal of disk {found.key!r}", on=str(self._path), remedy="do not move journals"
            )
        self.version = found.version
        end = take_records(data, found.end, *reader(found.capacity))
        if found.version < VERSION:
            self._renew(header(key, found.capacity) + data[found.end : end])
        elif end < len(data):
            os.ftruncate(self._file, end)
            os.fsync(self._file)
        os.lseek(self._file, 0, os.SEEK_END)
        return found.capacity

    def _renew(self, content: bytes) -> None:
        """An older version becomes the present one before a record is appended that the older release would
        cut away.
        """
        replace(self._path, content)
        os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)


class JournalHeader(NamedTuple):
    """What a journal's header says; records begin at `end`."""

    key: str
    capacity: int
    version: int
    end: int


def header(key: str, capacity: int, version: int = VERSION) -> bytes:
    """The first bytes of a journal."""
    name = key.encode()
    head = HEADER.pack(MAGIC, version, len(name), 0, capacity) + name
    return head + CRC.pack(zlib.crc32(head))


def read_header(data: bytes, on: str) -> JournalHeader | None:
    """None when the header is torn. Raises Conflict for what is no journal."""
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise DamagedJournal(
            "is not a journal", on=on, remedy="remove what does not belong into the directory"
        )
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
        raise _damaged(on)
    try:
        return JournalHeader(data[HEADER.size : end].decode(), capacity, version, end + CRC.size)
    except UnicodeDecodeError:
        raise _damaged(on) from None


def _damaged(on: str) -> DamagedJournal:
    return DamagedJournal("journal header is damaged", on=on, remedy="run a pass: it compares the disk")


def _content(file: int) -> bytes:
    """Everything; the file stands where it stood."""
    size, content = os.fstat(file).st_size, b""
    while part := os.pread(file, max(1, size - len(content)), len(content)):
        content = content + part if content else part
    return content


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
