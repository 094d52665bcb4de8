"""The journal is the append-only record of what is durable on one disk; it ends before its first invalid byte.

Opening cuts the file there. When `append` returns, the record is on stable storage. The format is documented byte by byte in
docs/journal-format.md.
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
    """The receivers of a journal's records. `pages` gets the runs of NODES, and `ranges` the entries of RANGES.

    Without them `take` gets these records too.
    """

    take: Callable[[Record], None]
    pages: Callable[[list[Run]], None] | None = None
    ranges: Callable[[list[Row]], None] | None = None


class DamagedJournal(Conflict):
    """The file is no readable journal of this disk, so nobody knows what the target holds."""


class Journal:
    """The journal of one disk, in one file. Not for several threads at once: its owner has a lock."""

    def __init__(
        self, path: Path, key: str, capacity: int, reader: Callable[[int], JournalReader] | None = None
    ) -> None:
        """Open or create. `reader` is called with the header's capacity, and its result gets the records one by one.

        Without it the records are in `records`. Raises DamagedJournal, or Conflict for a newer journal.
        """
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.failed = False
        self.records: list[Record] = []
        #: The version of the file when it was opened; 0 for a new or empty file.
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
        """Replace the file by a journal of only these records."""
        replace(path, header(key, capacity) + b"".join(encode(record) for record in records))

    def append(self, *records: Record) -> None:
        """Append records; they are durable when it returns. After a failure the journal accepts nothing more.

        Reopening cuts a torn end.
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
        head = read_header(data, str(self._path))
        if head is None:  # new, or torn before the header was durable: then nothing was acknowledged
            os.ftruncate(self._file, 0)
            _write(self._file, header(key, capacity))
            os.fsync(self._file)
            files.sync(self._path.parent)
            reader(capacity)
            return capacity
        if head.key != key:
            raise DamagedJournal(
                f"is the journal of disk {head.key!r}", on=str(self._path), remedy="do not move journals"
            )
        self.version = head.version
        end = take_records(data, head.end, *reader(head.capacity))
        if head.version < VERSION:
            self._renew(header(key, head.capacity) + data[head.end : end])
        elif end < len(data):
            os.ftruncate(self._file, end)
            os.fsync(self._file)
        os.lseek(self._file, 0, os.SEEK_END)
        return head.capacity

    def _renew(self, content: bytes) -> None:
        """Rewrite a journal of an older version as the present one.

        Otherwise an older release would cut the records that are appended now.
        """
        replace(self._path, content)
        os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)


class JournalHeader(NamedTuple):
    """The fields of a journal's header; records begin at `end`."""

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
    """The header; None when it is torn. Raises Conflict when the file is no journal."""
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise DamagedJournal("is not a journal", on=on, remedy="remove this file: it does not belong there")
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
    """The whole content; the file's position does not change."""
    size, content = os.fstat(file).st_size, b""
    while part := os.pread(file, max(1, size - len(content)), len(content)):
        content = content + part if content else part
    return content


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
