"""The append-only record of what is durable on one disk: a reader stops at the first invalid byte and cuts
there.

The format is documented byte by byte in docs/journal-format.md. Appending flushes: when `append` returns,
the record is on stable storage.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from connector.errors import Conflict, TargetFailed
from connector.instance.records import CRC, Record, encode, read_records

MAGIC = b"ACJOURN\n"
VERSION = 2
HEADER = struct.Struct(">8sHHIQ")  # magic, version, length of the disk key, zero, capacity; then key and CRC


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

    def _load(self, key: str, capacity: int) -> tuple[int, list[Record]]:
        data = self._path.read_bytes()
        found = read_header(data, str(self._path))
        if found is None:  # new, or torn before the header was durable: nothing was ever acknowledged
            os.ftruncate(self._file, 0)
            _write(self._file, header(key, capacity))
            os.fsync(self._file)
            _sync_directory(self._path.parent)
            return capacity, []
        if found.key != key:
            raise Conflict(
                f"is the journal of disk {found.key!r}", on=str(self._path), remedy="do not move journals"
            )
        records, end = read_records(data, found.end)
        if found.version < VERSION:
            self._renew(header(key, found.capacity) + data[found.end : end])
        elif end < len(data):
            os.ftruncate(self._file, end)
            os.fsync(self._file)
        os.lseek(self._file, 0, os.SEEK_END)
        return found.capacity, records

    def _renew(self, content: bytes) -> None:
        """An older version becomes the present one before a record is appended that the older release would
        cut away.
        """
        draft = self._path.with_name(f".{self._path.name}.new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self._path)
        _sync_directory(self._path.parent)
        os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)


class Head(NamedTuple):
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


def read_header(data: bytes, on: str) -> Head | None:
    """None when the header is torn. Raises Conflict for what is no journal."""
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
        raise _damaged(on)
    try:
        return Head(data[HEADER.size : end].decode(), capacity, version, end + CRC.size)
    except UnicodeDecodeError:
        raise _damaged(on) from None


def _damaged(on: str) -> Conflict:
    return Conflict("journal header is damaged", on=on, remedy="discard the disk and run a full pass")


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
