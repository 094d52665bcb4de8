"""Compiles the stand-in once per source state: the cache is keyed by a hash of sources and flags, and a
finished library appears in it by rename, so any number of processes may ask at once."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

Sanitizer = Literal["thread", "address"]

_SOURCES = Path(__file__).parent
_FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"),
    *("-fvisibility=hidden", "-fPIC", "-shared", "-pthread", "-Wl,-z,nodelete", "-Wl,-z,defs"),
)
_SANITIZED = ("-g", "-fno-omit-frame-pointer", "-Wl,-z,undefs")


class CompilerError(Exception):
    """The stand-in could not be compiled; the message is one line."""


def has_compiler() -> bool:
    """Whether there is a C compiler."""
    return shutil.which(_compiler()) is not None


def build(*, sanitize: Sanitizer | None = None, abi: int = 67) -> Path:
    """The compiled library, from the cache when its sources have not changed.

    `abi=65` leaves out the functions that came with 6.7. Raises CompilerError.
    """
    flags = [*_FLAGS, f"-DVIXSIM_ABI={abi}"]
    if sanitize:
        flags += [*_SANITIZED, f"-fsanitize={sanitize}"]
    sources = sorted(_SOURCES.glob("*.c"))
    target = _cache() / _fingerprint(sources, flags) / "libvixDiskLib.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _compile(sources, flags, target)
    return target


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "vixdisklib-stand-in"


def _fingerprint(sources: list[Path], flags: list[str]) -> str:
    digest = hashlib.sha256("\0".join([platform.machine(), _compiler(), *flags]).encode())
    for path in [*sources, *sorted(_SOURCES.glob("*.h"))]:
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _compiler() -> str:
    return os.environ.get("CC") or "cc"


def _compile(sources: list[Path], flags: list[str], target: Path) -> None:
    compiler = shutil.which(_compiler())
    if compiler is None:
        raise CompilerError(
            f"VixDiskLib stand-in: no C compiler ({_compiler()}) on PATH; install gcc or clang"
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        library = Path(scratch) / target.name
        outcome = subprocess.run(
            [compiler, *flags, "-o", str(library), *map(str, sources)],
            capture_output=True,
            text=True,
            check=False,
        )
        if outcome.returncode:
            first = next((line for line in outcome.stderr.splitlines() if "error" in line), "no message")
            raise CompilerError(f"VixDiskLib stand-in: {compiler} failed: {first}")
        library.replace(target)
