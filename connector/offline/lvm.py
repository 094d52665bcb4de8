"""LVM2: the logical volumes that lie on one physical volume in plain runs. Others are named, not read."""

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
_CHECKSUM: Final = 0xF597A6CF ^ 0xFFFFFFFF  # LVM's CRC-32 begins with the first, and zlib's inverts it


class LogicalVolume(NamedTuple):
    """`area` is None when it cannot be read from this disk alone."""

    name: str
    area: Bytes | None


class _Run(NamedTuple):
    start: int
    size: int
    place: int


class _Runs:
    """Runs of a physical volume as one area; bytes."""

    def __init__(self, whole: Bytes, runs: tuple[_Run, ...]) -> None:
        self._whole, self._runs = whole, runs
        self.size = sum(run.size for run in runs)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > self.size:
            raise UnreadableStructure("beyond a logical volume")
        parts = []
        for run in self._runs:
            low, high = max(offset, run.start), min(offset + length, run.start + run.size)
            if low < high:
                parts.append(self._whole.read(run.place + low - run.start, high - low))
        return b"".join(parts)


def logical_volumes(area: Bytes) -> tuple[LogicalVolume, ...]:
    """Those of the physical volume's group, by name. Raises `UnreadableStructure`."""
    identity, metadata = _label(area)
    groups = _parsed(_metadata(area, metadata))
    found = []
    for name, group in groups.items():
        if isinstance(group, dict) and isinstance(group.get("logical_volumes"), dict):
            own = _own(group, identity)
            for volume, told in group["logical_volumes"].items():
                found.append(LogicalVolume(f"{name}/{volume}", _area(area, group, told, own)))
    return tuple(found)


def _label(area: Bytes) -> tuple[str, tuple[int, int]]:
    head = area.read(0, 4 * _SECTOR)
    labels = [n for n in range(4) if head[n * _SECTOR :][:8] == b"LABELONE"]
    if not labels:
        raise UnreadableStructure("no physical volume")
    at = max(labels, key=lambda n: _sound(head, n)) * _SECTOR
    here = at + _unpack("<I", head, at + 20)[0]
    identity = head[here : here + 32].decode("ascii", "replace")
    areas = list(_pairs(head, here + 40))
    if not areas:
        raise UnreadableStructure("a physical volume without metadata")
    return identity, areas[0]


def _sound(head: bytes, place: int) -> tuple[bool, bool]:
    """How far a label is to be believed: its checksum, and that it names its own sector. An older one may be near it."""
    at = place * _SECTOR
    sector, checksum = _unpack("<QI", head, at + 8)
    right = zlib.crc32(head[at + 20 : at + _SECTOR], _CHECKSUM) ^ 0xFFFFFFFF == checksum
    return right and sector == place, sector == place


def _pairs(head: bytes, at: int) -> Iterator[tuple[int, int]]:
    """The second list of (offset, size): that of metadata areas."""
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
        raise UnreadableStructure("absurd LVM metadata")
    first = min(size, ring - offset)
    data = area.read(base + offset, first) + area.read(base + _SECTOR, size - first)
    return data.decode("utf-8", "replace")


def _parsed(text: str) -> dict[str, Any]:
    root: dict[str, Any] = {}
    stack, name, words = [root], "", _TOKEN.finditer(text)
    for found in words:
        word = found.group().strip("\x00")
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
    for found in words:
        if found.group() == "]":
            break
        if found.group() != ",":
            values.append(_scalar(found))
    return values


def _scalar(found: re.Match[str] | None) -> Any:
    text = found.group() if found else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text.strip('"')


def _own(group: dict[str, Any], identity: str) -> tuple[str, int] | None:
    """What the group calls this physical volume, and where its extents begin in bytes."""
    volumes = group.get("physical_volumes")
    for name, told in volumes.items() if isinstance(volumes, dict) else ():
        if isinstance(told, dict) and str(told.get("id")).replace("-", "") == identity:
            return name, _number(told.get("pe_start")) * _SECTOR
    return None


def _area(area: Bytes, group: dict[str, Any], volume: Any, own: tuple[str, int] | None) -> Bytes | None:
    extent = _number(group.get("extent_size")) * _SECTOR
    if own is None or not isinstance(volume, dict) or not extent:
        return None
    runs = []
    for name, told in volume.items():
        if not name.startswith("segment") or not isinstance(told, dict):
            continue
        stripes = told.get("stripes")
        if (
            told.get("type") != "striped"
            or not isinstance(stripes, list)
            or len(stripes) != 2
            or stripes[0] != own[0]
        ):
            return None
        place = own[1] + _number(stripes[1]) * extent
        runs.append(
            _Run(
                _number(told.get("start_extent")) * extent, _number(told.get("extent_count")) * extent, place
            )
        )
    runs.sort()
    joined = all(run.start == sum(one.size for one in runs[:n]) for n, run in enumerate(runs[:64]))
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
