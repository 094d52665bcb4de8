"""A disk like those that are migrated: a file system with real files, something that does not compress, and
holes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

GIB = 1 << 30


def generate(path: Path, capacity: int = 4 * GIB, files: int = 3 * GIB // 2, noise: int = GIB // 2) -> Path:
    """Half of the disk is an ext4 with `files` bytes of this machine's own programs and libraries, then
    `noise` bytes of random data, then nothing."""
    with tempfile.TemporaryDirectory(dir=path.parent) as tree:
        _gather(Path(tree), files)
        with path.open("wb") as out:
            out.truncate(capacity)
        order = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-d", tree, str(path)]
        order.append(f"{capacity // 2 // 1024}k")
        subprocess.run(order, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with path.open("r+b") as out:
        out.truncate(capacity)
        out.seek(capacity // 2)
        for _ in range(noise >> 20):
            out.write(os.urandom(1 << 20))
    return path


def _gather(tree: Path, limit: int) -> None:
    total = 0
    for number, file in enumerate(_files(Path("/usr"))):
        size = file.stat().st_size
        if total + size > limit:
            continue
        home = tree / f"{number // 1000:04d}"
        home.mkdir(exist_ok=True)
        shutil.copyfile(file, home / f"{number}-{file.name[:40]}")
        total += size
        if total > limit * 99 // 100:
            return


def _files(root: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            file = Path(directory, name)
            if file.is_file() and not file.is_symlink():
                yield file
