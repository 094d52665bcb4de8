"""Disks as real tools make them, and archives byte by byte."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from connector.offline.window import Window

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


def window(data: bytes | Path, **more: int) -> Window:
    content = data if isinstance(data, bytes) else data.read_bytes()
    return Window(lambda at, length: content[at : at + length], len(content), **more)


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


def lvm(content: bytes, start: int = MIB) -> bytes:
    """A physical volume with one logical volume that holds `content` in two runs, the second one first on disk."""
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
mirror {{ segment1 {{ start_extent = 0 extent_count = 1 type = "raid1" }} }} }} }}
""".encode()
    volume = bytearray(start)
    volume[512:544] = struct.pack("<8sQII8s", b"LABELONE", 1, 0, 32, b"LVM2 001")
    volume[544:576] = identity.encode()
    volume[576:584] = struct.pack("<Q", start + extents * MIB)
    volume[584:664] = struct.pack("<10Q", start, 0, 0, 0, 4096, start - 4096, 0, 0, 0, 0)
    volume[4096:4160] = struct.pack(
        "<I16sIQQQQII", 0, b" LVM2 x[5A%r0N*>", 1, 4096, start - 4096, 512, len(text), 0, 0
    )
    volume[4608 : 4608 + len(text)] = text
    whole = content.ljust(extents * MIB, b"\0")
    return bytes(volume) + whole[half * MIB :] + whole[: half * MIB]
