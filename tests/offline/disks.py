"""Disks as real tools make them, and archives byte by byte."""

from __future__ import annotations

import shutil
import struct
import subprocess
import uuid
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from connector.offline.window import DiskReader

MIB = 1 << 20


def need(tool: str, package: str) -> str:
    """Skips, naming the Debian package."""
    found = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"needs {tool} (Debian: {package})")
    return found


def run(*words: str | Path, given: str | bytes = b"") -> bytes:
    data = given.encode() if isinstance(given, str) else given
    done = subprocess.run([str(word) for word in words], input=data, capture_output=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def blank(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def window(data: bytes | Path, **more: int) -> DiskReader:
    content = data if isinstance(data, bytes) else data.read_bytes()
    return DiskReader(lambda at, length: content[at : at + length], len(content), **more)


def ext4(path: Path, tree: Path, size: int = 32 * MIB, *options: str) -> Path:
    """A file system with this tree in it."""
    run(need("mkfs.ext4", "e2fsprogs"), "-q", "-F", *options, "-d", tree, blank(path, size))
    return path


def ntfs(path: Path, files: Mapping[str, bytes] | None = None, size: int = 16 * MIB) -> Path:
    """An NTFS with these files in its root."""
    run(need("mkntfs", "ntfs-3g"), "-Q", "-F", "-q", blank(path, size))
    copy = need("ntfscp", "ntfs-3g")
    for name, content in (files or {}).items():
        source = path.with_suffix(".file")
        source.write_bytes(content)
        run(copy, "-f", path, source, name)
    return path


def fat(path: Path, files: Mapping[str, bytes], bits: int, sector: int = 512, size: int = 40 * MIB) -> Path:
    """A FAT as mkfs.vfat makes it, with these files put in, each under its long name."""
    run(need("mkfs.vfat", "dosfstools"), f"-F{bits}", "-S", str(sector), "-s1", blank(path, size))
    disk = bytearray(path.read_bytes())
    reserved, copies, entries = struct.unpack_from("<HBH", disk, 14)
    table = struct.unpack_from("<H", disk, 22)[0] or struct.unpack_from("<I", disk, 36)[0]
    start, root = reserved * sector, (reserved + copies * table) * sector
    data = root + entries * 32
    chain = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}
    free = 3 if bits == 32 else 2

    def mark(cluster: int, following: int) -> None:
        if bits == 12:
            at = start + cluster * 3 // 2
            pair = int.from_bytes(disk[at : at + 2], "little")
            pair = pair & 0xF | following << 4 if cluster & 1 else pair & 0xF000 | following
            disk[at : at + 2] = pair.to_bytes(2, "little")
        else:
            width = bits // 8
            at = start + cluster * width
            disk[at : at + width] = following.to_bytes(width, "little")

    def store(content: bytes) -> int:
        """Every second cluster, so that chains are no runs."""
        nonlocal free
        first, count = free, max(1, -(-len(content) // sector))
        for number in range(count):
            mark(free, free + 2 if number + 1 < count else chain[bits])
            at = data + (free - 2) * sector
            piece = content[number * sector : (number + 1) * sector]
            disk[at : at + len(piece)] = piece
            free += 2
        return first

    def listing(tree: dict[str, object]) -> bytes:
        out = bytearray()
        for number, (name, inside) in enumerate(tree.items()):
            folder = isinstance(inside, dict)
            content = listing(inside) if isinstance(inside, dict) else bytes(inside)  # type: ignore[call-overload]
            out += _long_name(name) + f"F{number:<7}TXT".encode() + bytes([0x10 if folder else 0x20])
            first = store(content)
            out += struct.pack("<8xHHHHI", first >> 16, 0, 0, first & 0xFFFF, 0 if folder else len(content))
        return bytes(out)

    tree: dict[str, object] = {}
    for name, content in files.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})  # type: ignore[assignment]
        place[last] = content
    top = listing(tree)
    at = data if bits == 32 else root
    assert len(top) <= sector
    disk[at : at + len(top)] = top
    path.write_bytes(disk)
    return path


def _long_name(name: str) -> bytes:
    units = (name + "\0").encode("utf-16-le")
    units += b"\xff" * (-len(units) % 26)
    pieces = [units[at : at + 26] for at in range(0, len(units), 26)]
    out = b""
    for number in range(len(pieces), 0, -1):
        piece, last = pieces[number - 1], 0x40 if number == len(pieces) else 0
        out += bytes([number | last]) + piece[:10] + b"\x0f\0\0" + piece[10:22] + b"\0\0" + piece[22:]
    return out


def gpt_of_sectors(sector: int, size: int, parts: Mapping[tuple[int, int], str]) -> bytes:
    """A disk whose GPT counts in sectors of this size: (start, length) in bytes, and a type."""
    disk, last = bytearray(size), size // sector - 1
    table = b"".join(
        uuid.UUID(kind).bytes_le + bytes([n] * 16) + struct.pack("<QQ", at // sector, (at + length) // sector - 1)
        + bytes(80)
        for n, ((at, length), kind) in enumerate(parts.items(), 1)
    ).ljust(128 * 128, b"\0")  # fmt: skip
    span = len(table) // sector
    struct.pack_into("<B3sB3sII2s", disk, 446, 0, b"", 0xEE, b"", 1, min(last, 0xFFFFFFFF), b"")
    disk[510:512] = b"\x55\xaa"
    for own, other, at in ((1, last, 2), (last, 1, last - span)):
        head = b"EFI PART" + struct.pack(
            "<IIIIQQQQ16sQIII", 0x10000, 92, 0, 0, own, other, 2 + span, last - span - 1, bytes(16), at, 128, 128,
            zlib.crc32(table),
        )  # fmt: skip
        head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
        disk[own * sector : own * sector + len(head)] = head
        disk[at * sector : at * sector + len(table)] = table
    return bytes(disk)


def mbr(path: Path, size: int, script: str) -> Path:
    run(need("sfdisk", "fdisk"), "-q", blank(path, size), given="label: dos\n" + script)
    return path


def gpt(path: Path, size: int, script: str) -> Path:
    run(need("sfdisk", "fdisk"), "-q", blank(path, size), given="label: gpt\n" + script)
    return path


def put(path: Path, offset: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


def patched(disk: bytes, offset: int, data: bytes) -> bytes:
    return disk[:offset] + data + disk[offset + len(data) :]


def cpio(files: Mapping[str, bytes]) -> bytes:
    """An archive of the kind "newc"."""
    out = bytearray()
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        word = name.encode() + b"\0"
        fields = (number, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(word), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + word
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def lvm(content: bytes, start: int = MIB, label: int = 1, more: Iterable[str] = ()) -> bytes:
    """A physical volume with one logical volume that holds `content` in two runs, the second one first on disk.

    `label`: the sector that its label is in, 0 to 3. `more`: names of logical volumes that hold nothing of their own.
    """
    others = "\n".join(
        f"""{name} {{ segment1 {{ start_extent = 0 extent_count = 1 type = "striped" stripes = ["pv0", 0] }} }}"""
        for name in more
    )
    identity = "0123456789abcdefABCDEF0123456789"
    dashed = "-".join(
        (identity[:6], identity[6:10], identity[10:14], identity[14:18], identity[18:22], identity[22:26])
    )
    dashed += "-" + identity[26:]
    extents = -(-len(content) // MIB)
    half = extents // 2
    text = f"""vg {{ id = "x" seqno = 2 # comment {{
extent_size = {MIB // 512}
physical_volumes {{ pv0 {{ id = "{dashed}" pe_start = {start // 512} }} }}
logical_volumes {{ root {{ id = "y" status = ["READ", "WRITE"] segment_count = 2
segment1 {{ start_extent = 0 extent_count = {half} type = "striped" stripe_count = 1 stripes = ["pv0", {extents - half}] }}
segment2 {{ start_extent = {half} extent_count = {extents - half} type = "striped" stripe_count = 1 stripes = ["pv0", 0] }} }}
mirror {{ segment1 {{ start_extent = 0 extent_count = 1 type = "raid1" }} }}
{others} }} }}
""".encode()
    volume = bytearray(start)
    inside = struct.pack("<I8s", 32, b"LVM2 001") + identity.encode()
    inside += struct.pack("<11Q", start + extents * MIB, start, 0, 0, 0, 4096, start - 4096, 0, 0, 0, 0)
    inside = inside.ljust(512 - 20, b"\0")
    head = struct.pack("<8sQI", b"LABELONE", label, _lvm_checksum(inside))
    volume[512 * label : 512 * label + 512] = head + inside
    volume[4096:4160] = struct.pack(
        "<I16sIQQQQII", 0, b" LVM2 x[5A%r0N*>", 1, 4096, start - 4096, 512, len(text), 0, 0
    )
    volume[4608 : 4608 + len(text)] = text
    whole = content.ljust(extents * MIB, b"\0")
    return bytes(volume) + whole[half * MIB :] + whole[: half * MIB]


def _lvm_checksum(data: bytes) -> int:
    """As lib/misc/crc.c of LVM2 counts it, bit by bit."""
    checksum = 0xF597A6CF
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0xEDB88320 if checksum & 1 else 0)
    return checksum
