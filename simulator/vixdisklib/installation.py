"""Makes a directory that any VDDK client takes for an unpacked VDDK."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from simulator.vixdisklib.compiler import Sanitizer, build
from simulator.vixdisklib.switches import switches


def install(directory: Path, root: Path, *, sanitize: Sanitizer | None = None, **chosen: object) -> Path:
    """Lays out `directory` (made if missing) as a VDDK installation that serves the estate export `root`.

    `chosen` are switches of `vixdisklib.conf`; `version` also names the files, so `version="6.7.3"` gives
    `libvixDiskLib.so.6`. Calling it again replaces the configuration. Returns `directory`.
    Raises ValueError for an unknown switch or a value of the wrong kind, CompilerError.
    """
    known = switches()
    if unknown := sorted(chosen.keys() - known.keys()):
        raise ValueError(f"the VixDiskLib stand-in has no switch {', '.join(unknown)}")
    version = str(chosen.get("version", known["version"].initial))
    if not re.fullmatch(r"\d+(\.\d+){1,3}", version):
        raise ValueError(f"switch version: {version!r} is not like 8.0.3")
    lines = [known[key].write(value) for key, value in {"root": root.absolute(), **chosen}.items()]
    library = build(sanitize=sanitize, abi=65 if _numbers(version) < (6, 7) else 67)
    folder = directory / "lib64"
    folder.mkdir(parents=True, exist_ok=True)
    _place(library, folder, version)
    _write(directory / "vixdisklib.conf", "".join(lines))
    return directory


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _place(library: Path, folder: Path, version: str) -> None:
    """The real file carries the whole version, where clients learn it; the shorter names are links."""
    for old in folder.glob("libvixDiskLib.so*"):
        old.unlink()
    real = folder / f"libvixDiskLib.so.{version}"
    shutil.copyfile(library, real)
    soname = folder / f"libvixDiskLib.so.{version.partition('.')[0]}"
    soname.symlink_to(real.name)
    (folder / "libvixDiskLib.so").symlink_to(soname.name)


def _write(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).replace(path)
