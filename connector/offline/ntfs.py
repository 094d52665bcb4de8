"""Reads from an NTFS at rest whether it is dirty and whether Windows hibernates. Layout: the linux-ntfs documentation.

After hibernation or a shutdown with fast startup the newest state of Windows is in hiberfil.sys, not in the file system.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from connector.offline.window import Bytes, UnreadableStructure

_MFT, _VOLUME, _ROOT = 0, 3, 5
_INFORMATION, _DATA, _INDEX_ROOT, _INDEX_BLOCKS = 0x70, 0x80, 0x90, 0xA0
_END: Final = 0xFFFFFFFF
_MOST_RUNS: Final = 10_000
_MOST_INDEX: Final = 8 << 20
#: Magic numbers of a hiberfil.sys from which Windows will resume; zeros or "RSTR" follow after it has resumed.
HIBERNATED: Final = (b"hibr", b"HIBR", b"wake", b"WAKE")


@dataclass(frozen=True, slots=True)
class _Attribute:
    content: bytes = b""  # of a resident attribute
    runs: tuple[tuple[int, int], ...] = ()  # (first cluster, clusters); cluster -1: a hole
    size: int = 0


class Ntfs:
    """One file system. Every method raises UnreadableStructure."""

    def __init__(self, volume: Bytes) -> None:
        self._volume = volume
        boot = volume.read(0, 512)
        if boot[3:11] != b"NTFS    ":
            raise UnreadableStructure("there is no NTFS boot sector")
        sector, per_cluster = struct.unpack_from("<HB", boot, 11)
        per_cluster = per_cluster if per_cluster <= 0x80 else 1 << (256 - per_cluster)
        self._cluster = sector * per_cluster
        (mft,) = struct.unpack_from("<Q", boot, 48)
        size = struct.unpack_from("<b", boot, 64)[0]
        self._record = 1 << -size if size < 0 else size * self._cluster
        if not (512 <= self._cluster <= 2 << 20 and 512 <= self._record <= 65536):
            raise UnreadableStructure("the NTFS boot sector makes no sense")
        first = _fixed(volume.read(mft * self._cluster, self._record), b"FILE")
        self._table = self._attribute(first, _DATA).runs

    def dirty(self) -> bool:
        """Whether it was not unmounted, or waits for chkdsk."""
        content = self._attribute(self._entry(_VOLUME), _INFORMATION).content
        if len(content) < 12:
            raise UnreadableStructure("the NTFS volume record is damaged")
        return bool(struct.unpack_from("<H", content, 10)[0] & 1)

    def names(self) -> dict[str, int]:
        """The names in the root directory, in lower case, with the numbers of their records."""
        names: dict[str, int] = {}
        record = self._entry(_ROOT)
        root = self._attribute(record, _INDEX_ROOT).content
        if len(root) < 32:
            raise UnreadableStructure("the NTFS root directory is damaged")
        names.update(_index(root[16:]))
        (block,) = struct.unpack_from("<I", root, 8)
        blocks = self._find(record, _INDEX_BLOCKS)
        if blocks is not None and 512 <= block <= 65536:
            raw = self._content(blocks, _MOST_INDEX)
            for at in range(0, len(raw) - block + 1, block):
                if raw[at : at + 4] == b"INDX":
                    names.update(_index(_fixed(raw[at : at + block], b"INDX")[24:]))
        return names

    def asleep(self) -> bool:
        """Whether Windows will resume from a hiberfil.sys here."""
        number = self.names().get("hiberfil.sys")
        if number is None:
            return False
        return self._content(self._attribute(self._entry(number), _DATA), 4) in HIBERNATED

    def _entry(self, number: int) -> bytes:
        at = number * self._record
        raw = self._content(_Attribute(runs=self._table, size=at + self._record), self._record, at)
        return _fixed(raw, b"FILE")

    def _attribute(self, record: bytes, kind: int) -> _Attribute:
        attribute = self._find(record, kind)
        if attribute is None:
            raise UnreadableStructure("an NTFS record lacks an attribute")
        return attribute

    def _find(self, record: bytes, kind: int) -> _Attribute | None:
        (at,) = struct.unpack_from("<H", record, 20)
        while at + 24 <= len(record):
            kind_here, length, elsewhere = struct.unpack_from("<IIB", record, at)
            if kind_here == _END or length < 24 or at + length > len(record):
                return None
            if kind_here == kind:
                return self._parsed(record[at : at + length], bool(elsewhere))
            at += length
        return None

    def _parsed(self, raw: bytes, elsewhere: bool) -> _Attribute:
        if not elsewhere:
            size, start = struct.unpack_from("<IH", raw, 16)
            return _Attribute(raw[start : start + size], size=size)
        if len(raw) < 64:
            raise UnreadableStructure("an NTFS attribute is damaged")
        (start,) = struct.unpack_from("<H", raw, 32)
        (size,) = struct.unpack_from("<Q", raw, 48)
        return _Attribute(runs=tuple(_runs(raw[start:])), size=size)

    def _content(self, attribute: _Attribute, most: int, offset: int = 0) -> bytes:
        """At most `most` bytes from `offset` on."""
        if not attribute.runs:
            return attribute.content[offset : offset + most]
        length_wanted = max(0, min(most, attribute.size - offset))
        content, at = bytearray(), 0
        for cluster, count in attribute.runs:
            length = count * self._cluster
            inside = offset + len(content) - at
            if 0 <= inside < length and len(content) < length_wanted:
                take = min(length - inside, length_wanted - len(content))
                content += (
                    bytes(take) if cluster < 0 else self._volume.read(cluster * self._cluster + inside, take)
                )
            at += length
        if len(content) < length_wanted:
            raise UnreadableStructure("an NTFS file ends too early")
        return bytes(content)


def _fixed(raw: bytes, magic: bytes) -> bytes:
    """A record with the original last two bytes of each of its sectors."""
    if raw[:4] != magic:
        raise UnreadableStructure("an NTFS record is damaged")
    start, count = struct.unpack_from("<HH", raw, 4)
    if start + 2 * count > len(raw) or (count - 1) * 512 > len(raw) or count < 1:
        raise UnreadableStructure("an NTFS record is damaged")
    mended, check = bytearray(raw), raw[start : start + 2]
    for number in range(1, count):
        end = 512 * number
        if raw[end - 2 : end] != check:
            raise UnreadableStructure("an NTFS record was half written")
        mended[end - 2 : end] = raw[start + 2 * number : start + 2 * number + 2]
    return bytes(mended)


def _runs(raw: bytes) -> Iterator[tuple[int, int]]:
    at = cluster = 0
    for _ in range(_MOST_RUNS):
        if at >= len(raw) or raw[at] == 0:
            return
        size, offset = raw[at] & 0xF, raw[at] >> 4
        count = int.from_bytes(raw[at + 1 : at + 1 + size], "little")
        step = int.from_bytes(raw[at + 1 + size : at + 1 + size + offset], "little", signed=True)
        cluster += step
        if cluster < 0 or not size or size > 8 or offset > 8:
            raise UnreadableStructure("an NTFS list of runs is damaged")
        yield (cluster if offset else -1), count
        at += 1 + size + offset
    raise UnreadableStructure("an NTFS list of runs has no end")


def _index(header: bytes) -> Iterator[tuple[str, int]]:
    """The names of one index node."""
    start, end = struct.unpack_from("<II", header)
    at, end = start, min(end, len(header))
    while at + 16 <= end:
        reference, length, content, flags = struct.unpack_from("<QHHH", header, at)
        if flags & 2 or length < 16:
            return
        if content >= 66 and at + 82 <= end:
            size = header[at + 16 + 64]
            name = header[at + 82 : at + 82 + 2 * size].decode("utf-16-le", "replace").lower()
            yield name, reference & 0xFFFFFFFFFFFF
        at += length
