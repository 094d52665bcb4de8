"""The private Python environment inside the package: Debian's interpreter, the locked packages, the product.

It has the layout of a virtual environment, made by hand, because `venv` writes the path and the version of whoever builds.
`sys.executable` is then the environment's own interpreter, and so the product's children import the same packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from deploy import lock
from deploy.wheel import build_environment

HOME: Final = "usr/lib/connector"
PYTHON: Final = (3, 11)
_CONFIGURATION: Final = """home = /usr/bin
include-system-site-packages = false
version = 3.11
executable = /usr/bin/python3.11
"""
#: What pip writes beside the packages: programs with the builder's path, and records of who installed what.
_NOT_SHIPPED: Final = ("bin", "include", "share")
_RECORDS: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def download(root: Path, wheels: Path) -> None:
    """Fetch what the product in `root` needs into the directory `wheels`; a hash that differs from the lock is an error."""
    wheels.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        listed = _listed(root, Path(folder))
        _pip("download", "--require-hashes", "--no-deps", "--dest", str(wheels), "--requirement", str(listed))


def make(tree: Path, root: Path, wheels: Path, product: Path, epoch: int) -> None:
    """Make the environment below `tree`, without a network: the locked packages from `wheels`, then the wheel `product`."""
    if sys.version_info[:2] != PYTHON:
        raise click.ClickException(
            f"needs Python {PYTHON[0]}.{PYTHON[1]}, as Debian 12 has it: make PYTHON=python3.11"
        )
    home = tree / HOME
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python3").symlink_to("/usr/bin/python3.11")
    (home / "pyvenv.cfg").write_text(_CONFIGURATION)
    packages = home / "lib" / "python3.11" / "site-packages"
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        listed = _listed(root, Path(folder))
        source = ("--no-index", "--find-links", str(wheels.resolve()))
        place = ("--target", str(packages), "--no-deps", "--no-compile", "--no-cache-dir")
        hashed = ("--require-hashes", "--no-build-isolation", "--requirement", str(listed))
        _pip("install", *source, *place, *hashed, epoch=epoch)
        _pip("install", "--no-index", *place, str(product.resolve()), epoch=epoch)
    _strip(packages)


def _strip(packages: Path) -> None:
    for name in _NOT_SHIPPED:
        shutil.rmtree(packages / name, ignore_errors=True)
    for about in packages.glob("*.dist-info"):
        for name in _RECORDS:
            (about / name).unlink(missing_ok=True)


def _listed(root: Path, folder: Path) -> Path:
    file = folder / "requirements.txt"
    file.write_text(lock.requirements(lock.runtime(root)))
    return file


def _pip(command: str, *arguments: str, epoch: int | None = None) -> None:
    words: Sequence[str] = (
        sys.executable,
        "-m",
        "pip",
        command,
        "--quiet",
        "--disable-pip-version-check",
        *arguments,
    )
    variables = os.environ.copy() if epoch is None else build_environment(epoch)
    done = subprocess.run(words, env=variables, umask=0o022, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"pip {command} failed:\n{done.stderr}")
