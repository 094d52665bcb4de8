"""What a build is made of: a copy of the files of the product, whose modes and dates depend on nothing but the source.

A build straight in the working tree would take over its umask, its dates, what an earlier build left in `build/`, and files that
belong to nobody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGES: Final = ("connector", "vddk", "nfc", "simulator")
FILES: Final = ("pyproject.toml", "README.md", "LICENSE")
_LEFT_OUT: Final = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache"})


def copy(root: Path, target: Path, epoch: int) -> None:
    """Copy what the product in `root` is made of into the new directory `target`."""
    for path in files(root):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target / path)
    settle(target, epoch)


def files(root: Path) -> Iterator[Path]:
    """The product's files, relative to `root`: those that git knows; without git, all of them."""
    known = _known(root)
    candidates = [root / name for name in FILES] + [
        file for name in PACKAGES for file in (root / name).rglob("*")
    ]
    for file in sorted(candidates):
        path = file.relative_to(root)
        if (
            file.is_file()
            and not _LEFT_OUT.intersection(path.parts)
            and (known is None or str(path) in known)
        ):
            yield path


def settle(tree: Path, epoch: int) -> None:
    """Give everything in `tree` the same modes and date for everybody. Executable is what was executable for its owner."""
    for folder, folders, names in os.walk(tree, topdown=False):
        for name in (*names, *folders):
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            os.utime(path, (epoch, epoch), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (epoch, epoch))


def _known(root: Path) -> set[str] | None:
    if shutil.which("git") is None or not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "ls-files", "-z", *FILES, *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return set(done.stdout.split("\0")) if done.returncode == 0 else None
