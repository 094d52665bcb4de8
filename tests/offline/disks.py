"""Disks as real tools make them, and archives byte by byte."""

from __future__ import annotations

import shutil
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
