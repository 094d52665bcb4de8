"""Reads logical volumes of LVM2 that are stored in plain runs on one physical volume; others are only named."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from connector.offline.window import Bytes, DiskSlice, UnreadableStructure

_MAGIC: Final = b" LVM2 x[5A%r0N*>"
_LARGEST: Final = 4 << 20  # bytes of metadata
_DEPTH: Final = 8
_TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\]|\\.){0,1000}"|[\[\]{}=,]|[^\s\[\]{}=,"#]+')
_SECTOR: Final = 512
_CHECKSUM: Final = (
    0xF597A6CF ^ 0xFFFFFFFF
)  # LVM's CRC-32 begins with the first number, and zlib inverts the value


class LogicalVolume(NamedTuple):
    """A logical volume. `area` is None when this disk alone does not have all of it."""

    name: str
    area: Bytes | None


class _Run(NamedTuple):
    start: int
    size: int
    place: int


class _Runs:
    """Runs of a physical volume as one range of bytes."""

    def __init__(self, area: Bytes, runs: tuple[_Run, ...]) -> None:
        self._area, self._runs = area, runs
        self.size = sum(run.size for run in runs)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > self.size:
            raise UnreadableStructure("it points beyond the end of its logical volume")
        parts = []
        for run in self._runs:
            low, high = max(offset, run.start), min(offset + length, run.start + run.size)
            if low < high:
                parts.append(self._area.read(run.place + low - run.start, high - low))
        return b"".join(parts)


def logical_volumes(area: Bytes) -> tuple[LogicalVolume, ...]:
    """The logical volumes of the physical volume's group. Raises UnreadableStructure."""
    identity, metadata = _label(area)
    groups = _parsed(_metadata(area, metadata))
    volumes = []
    for name, group in groups.items():
        if isinstance(group, dict) and isinstance(group.get("logical_volumes"), dict):
            own = _own(group, identity)
            for volume, described in group["logical_volumes"].items():
                volumes.append(LogicalVolume(f"{name}/{volume}", _area(area, group, described, own)))
    return tuple(volumes)


def _label(area: Bytes) -> tuple[str, tuple[int, int]]:
    head = area.read(0, 4 * _SECTOR)
    labels = [n for n in range(4) if head[n * _SECTOR :][:8] == b"LABELONE"]
    if not labels:
        raise UnreadableStructure("no physical volume")
    at = max(labels, key=lambda n: _sound(head, n)) * _SECTOR
    place = at + _unpack("<I", head, at + 20)[0]
    identity = head[place : place + 32].decode("ascii", "replace")
    areas = list(_pairs(head, place + 40))
    if not areas:
        raise UnreadableStructure("a physical volume without metadata")
    return identity, areas[0]


def _sound(head: bytes, place: int) -> tuple[bool, bool]:
    """How much a label can be trusted: its checksum is right, and it names its own sector. An old label may be near."""
    at = place * _SECTOR
    sector, checksum = _unpack("<QI", head, at + 8)
    right = zlib.crc32(head[at + 20 : at + _SECTOR], _CHECKSUM) ^ 0xFFFFFFFF == checksum
    return right and sector == place, sector == place


def _pairs(head: bytes, at: int) -> Iterator[tuple[int, int]]:
    """The second list of (offset, size), which is about metadata areas."""
    lists = 0
    while lists < 2:
        offset, size = _unpack("<QQ", head, at)
        at += 16
        if not offset:
            lists += 1
        elif lists:
            yield offset, size


def _metadata(area: Bytes, where: tuple[int, int]) -> str:
    base = where[0]
    head = area.read(base, _SECTOR)
    if head[4:20] != _MAGIC:
        raise UnreadableStructure("damaged LVM metadata")
    ring, offset, size = _unpack("<QQQ", head, 32)
    if size > _LARGEST or offset > ring:
        raise UnreadableStructure("the LVM metadata have an impossible size")
    first = min(size, ring - offset)
    data = area.read(base + offset, first) + area.read(base + _SECTOR, size - first)
    return data.decode("utf-8", "replace")


def _parsed(text: str) -> dict[str, Any]:
    root: dict[str, Any] = {}
    stack, name, words = [root], "", _TOKEN.finditer(text)
    for match in words:
        word = match.group().strip("\x00")
        if word == "{":
            inner: dict[str, Any] = {}
            stack[-1][name] = inner
            stack.append(inner)
            if len(stack) > _DEPTH:
                raise UnreadableStructure("LVM metadata nested too deep")
        elif word == "}":
            stack.pop()
            if not stack:
                raise UnreadableStructure("damaged LVM metadata")
        elif word == "=":
            stack[-1][name] = _value(words)
        elif word and word[0] != "#":
            name = word
    return root


def _value(words: Iterator[re.Match[str]]) -> Any:
    first = _scalar(next(words, None))
    if first != "[":
        return first
    values = []
    for match in words:
        if match.group() == "]":
            break
        if match.group() != ",":
            values.append(_scalar(match))
    return values


def _scalar(match: re.Match[str] | None) -> Any:
    text = match.group() if match else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text.strip('"')


def _own(group: dict[str, Any], identity: str) -> tuple[str, int] | None:
    """The group's name for this physical volume, and where its extents begin, in bytes."""
    volumes = group.get("physical_volumes")
    for name, described in volumes.items() if isinstance(volumes, dict) else ():
        if isinstance(described, dict) and str(described.get("id")).replace("-", "") == identity:
            return name, _number(described.get("pe_start")) * _SECTOR
    return None


def _area(area: Bytes, group: dict[str, Any], volume: Any, own: tuple[str, int] | None) -> Bytes | None:
    extent = _number(group.get("extent_size")) * _SECTOR
    if own is None or not isinstance(volume, dict) or not extent:
        return None
    runs = []
    for name, segment in volume.items():
        if not name.startswith("segment") or not isinstance(segment, dict):
            continue
        stripes = segment.get("stripes")
        if (
            segment.get("type") != "striped"
            or not isinstance(stripes, list)
            or len(stripes) != 2
            or stripes[0] != own[0]
        ):
            return None
        place = own[1] + _number(stripes[1]) * extent
        runs.append(
            _Run(
                _number(segment.get("start_extent")) * extent,
                _number(segment.get("extent_count")) * extent,
                place,
            )
        )
    runs.sort()
    joined = all(run.start == sum(earlier.size for earlier in runs[:n]) for n, run in enumerate(runs[:64]))
    if not runs or len(runs) > 64 or not joined or any(run.place < 0 for run in runs):
        return None
    return DiskSlice(area, runs[0].place, runs[0].size) if len(runs) == 1 else _Runs(area, tuple(runs))


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise UnreadableStructure("damaged LVM metadata")
    return value


def _unpack(layout: str, data: bytes, offset: int = 0) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, offset)
    except struct.error:
        raise UnreadableStructure("the LVM label is cut off") from None
