"""The descriptor of a virtual disk says which file has its bytes. Whatever is not one flat file is refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connector.errors import ConnectorError, Ineligible, ReaderFailed

LONGEST: Final = 64 << 10  # bytes of a descriptor
SECTOR: Final = 512
OTHER_READER: Final = "read it with another reader (reader: vddk or nfc)"
_SIGNATURE: Final = "# Disk DescriptorFile"
_FIELD: Final = re.compile(r'([A-Za-z][\w.]*)\s*=\s*"?([^"]*)"?')
_EXTENT: Final = re.compile(r'(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)")?(?:\s+(\d+))?')
_NO_PARENT: Final = "ffffffff"
_LARGEST: Final = 1 << 40  # sectors; far above what vSphere allows

#: Why a disk of this createType has no flat file.
_KINDS: Final[Mapping[str, str]] = {
    "sesparse": "it is a sparse file (SEsparse), no flat one",
    "vmfssparse": "it is the delta of a snapshot (vmfsSparse), no flat file",
    "vsansparse": "it is the delta of a snapshot on vSAN",
    "vmfsrawdevicemap": "it is a raw device mapping",
    "vmfspassthroughrawdevicemap": "it is a raw device mapping",
    "vmfsraw": "it is a raw device mapping",
    "streamoptimized": "it is compressed (streamOptimized)",
    "monolithicsparse": "it is a sparse file, no flat one",
    "twogbmaxextentsparse": "it is a sparse file in several parts",
    "twogbmaxextentflat": "it is a file in several parts",
}


@dataclass(frozen=True, slots=True)
class FlatFile:
    """The one file with a disk's bytes, beside its descriptor. `length` is in bytes."""

    name: str
    length: int


def flat_file(content: bytes, on: str) -> FlatFile:
    """The flat file that a descriptor names. Raises Ineligible with the reason, ReaderFailed for what is no descriptor."""
    fields, extents = _parsed(content, on)
    if any(name.startswith("encryption.") for name in fields):
        raise refused("it is encrypted", on)
    kind = fields.get("createtype", "").lower()
    if kind in _KINDS:
        raise refused(_KINDS[kind], on)
    if kind != "vmfs":
        raise refused(f"nothing is known about disks of the type {kind or '(none)'}", on)
    if fields.get("parentcid", _NO_PARENT).lower() != _NO_PARENT or "parentfilenamehint" in fields:
        raise refused("it has a parent: its own file holds only what changed", on)
    if len(extents) != 1:
        raise refused(f"its bytes are in {len(extents)} files, not in one", on)
    return _flat(extents[0], on)


def refused(why: str, on: str) -> Ineligible:
    """The error for a disk that has no flat file to read."""
    return Ineligible(f"it cannot be read as a file: {why}", on=on, remedy=OTHER_READER)


def _parsed(content: bytes, on: str) -> tuple[dict[str, str], list[re.Match[str]]]:
    """The fields by their names in small letters, and the lines of extents."""
    if len(content) > LONGEST:
        raise unknown(f"its descriptor is longer than {LONGEST} bytes", on)
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    if not lines or not lines[0].startswith(_SIGNATURE):
        raise unknown("its file is no descriptor of a virtual disk", on)
    fields: dict[str, str] = {}
    extents: list[re.Match[str]] = []
    for line in lines:
        if extent := _EXTENT.fullmatch(line):
            extents.append(extent)
        elif field := _FIELD.fullmatch(line):
            fields[field[1].lower()] = field[2].strip()
        elif line and not line.startswith("#"):
            raise unknown("its descriptor has a line that is not understood", on)
    return fields, extents


def _flat(extent: re.Match[str], on: str) -> FlatFile:
    access, sectors, kind, name, offset = extent.groups()
    if kind != "VMFS":
        raise refused(f"its file is of the type {kind}, not flat", on)
    if access != "RW" or int(offset or 0):
        raise refused("its file does not begin with the disk's first byte, or is not open to all", on)
    if not name or "://" in name:
        raise refused("its bytes are in an object of vSAN or vVols, not in a file", on)
    if "/" in name or "\\" in name or name in (".", "..") or not name.isprintable():
        raise refused("its file is not beside its descriptor", on)
    if len(sectors) > 15 or not 0 < int(sectors) <= _LARGEST:
        raise unknown(f"its descriptor gives it a size of {sectors[:20]} sectors", on)
    return FlatFile(name, int(sectors) * SECTOR)


def unknown(what: str, on: str) -> ConnectorError:
    """The error for an answer that is not what was asked for."""
    return ReaderFailed(what, on=on, remedy=f"look at the disk on its datastore, or {OTHER_READER}")
