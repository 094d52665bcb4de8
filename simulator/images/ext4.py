"""A real ext4 file system with real files, made inside a partition of an image by e2fsprogs; same seed, same
bytes.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from random import Random
from uuid import UUID

from simulator.images.content import EPOCH, write_tree


class ProgramMissing(RuntimeError):
    """A program that images need is not installed; the message names its package."""


def program(name: str, package: str) -> str:
    """The full path of a program, also where only root's PATH leads. Raises ProgramMissing."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise ProgramMissing(f"{name} is not installed; install the package {package}")
    return path


def write_ext4(image: Path, offset: int, size: int, content: int, seed: int, host: str) -> None:
    """Make the file system in bytes [offset, offset + size) of `image`, holding about `content` bytes of
    files.
    """
    mke2fs = program("mke2fs", "e2fsprogs")
    uuid = UUID(bytes=Random(seed).randbytes(16), version=4)  # noqa: S311 - contents, not secrets
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=".tree") as tree:
        paths = write_tree(Path(tree), content, seed, host)
        extended = f"offset={offset},hash_seed={uuid},root_owner=0:0,nodiscard"
        options = [
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-m",
            "1",
            "-L",
            "root",
            "-U",
            str(uuid),
            "-E",
            extended,
        ]
        _run([mke2fs, *options, "-d", tree, str(image), f"{size // 1024}k"])
        _settle(image, offset, Path(tree), ["/", *paths])


def _settle(image: Path, offset: int, tree: Path, paths: list[str]) -> None:
    """Owners and inode change times are the building machine's; make them the same everywhere."""
    script = tree / "script"
    fields = (("ctime", str(EPOCH)), ("uid", "0"), ("gid", "0"))
    script.write_text("".join(f"sif {path} {name} {value}\n" for path in paths for name, value in fields))
    _run([program("debugfs", "e2fsprogs"), "-w", "-f", str(script), f"{image}?offset={offset}"])


def _run(command: list[str]) -> None:
    environment = dict(os.environ, E2FSPROGS_FAKE_TIME=str(EPOCH), TZ="UTC")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed ({done.returncode}): {done.stderr.strip()}")
