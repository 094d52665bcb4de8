"""A guest's disks, opened by libguestfs in a child process with limits on time, memory and disk.

The guest's file systems are mounted in libguestfs's virtual machine, which has no network: this computer's kernel sees no copied
LVM or btrfs ids, and no program of the guest runs. The child has none of our secrets and is killed when this process ends.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

from connector import environment
from connector.conversion import guest_program
from connector.conversion.registry import RegistryChange, RegistryKey, RegistryValue
from connector.conversion.virtual_machine import BootDisk
from connector.errors import BadInput, TargetFailed
from connector.offline.window import Missing

MEMORY: Final = 768  # MiB of libguestfs's virtual machine: it fits an instance of 2 GiB
ISO_MEMORY: Final = 320  # MiB, for an image of which files are read only
LARGEST_COPY: Final = 16 << 30  # bytes to which a disk's copy may grow
ARCHIVING: Final = 4 * 3600.0  # seconds for all files of a guest, without KVM
PATIENCE: Final = 900.0  # seconds for one answer; the slowest is the start, without KVM
#: Where libguestfs keeps the system of its virtual machine, by its documentation.
_CACHE: Final = "/var/tmp"  # noqa: S108 # nosec B108 - its directories there are its own, mode 0700
_PYTHONS: Final = (sys.executable, "/usr/bin/python3")
_INSTALL: Final = "install the Debian packages python3-guestfs and qemu-system-x86"


@dataclass(frozen=True, slots=True)
class GuestSystem:
    """An installed operating system. `mounts`: device by mount point. `kind`: libguestfs's word, such as "linux" or "windows".

    `unmounted`: mount points that could not be mounted, with the reason; they are not in `mounts`.
    `directory`: of Windows, such as "/Windows".
    """

    root: str
    kind: str
    distribution: str
    name: str
    architecture: str
    mounts: Mapping[str, str]
    unmounted: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""

    def __str__(self) -> str:
        return self.name if self.kind == "windows" else f"{self.distribution} {self.name}"


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a device of the guest holds. `uuid` is "" when it has none."""

    kind: str
    uuid: str


@contextmanager
def opened(
    disks: Sequence[BootDisk],
    home: Path,
    accel: str,
    *,
    writable: bool,
    patience: float = PATIENCE,
    memory: int = MEMORY,
) -> Iterator[GuestDisks]:
    """The disks are open inside the block. `home`: a scratch directory. Raises BadInput without the tools, TargetFailed.

    With `writable` the caller passes copies. They are complete after `GuestDisks.finish`, and worthless without it.
    """
    limits = ["prlimit", f"--fsize={LARGEST_COPY}", "--core=0"]
    command = ["setpriv", "--pdeathsig", "KILL", *limits, _python(), "-I", guest_program.__file__]
    log = home / "libguestfs.log"
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_variables(home, accel),
            process_group=0,
        )
    guest = GuestDisks(process, log, patience)
    try:
        guest.open(disks, writable, memory)
        yield guest
    finally:
        guest.kill()
        process.communicate()


def _variables(home: Path, accel: str) -> dict[str, str]:
    variables = environment.without_secrets()
    kept = variables.get(
        "LIBGUESTFS_CACHEDIR", _CACHE
    )  # else its own system would be built anew for every session
    variables |= {"LIBGUESTFS_BACKEND": "direct", "TMPDIR": str(home), "LIBGUESTFS_CACHEDIR": kept}
    if accel != "kvm":
        variables["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    return variables


def require_guestfs() -> None:
    """Raises BadInput when this computer has no libguestfs for Python."""
    _python()


def _python() -> str:
    """A Python that has libguestfs's module: Debian gives it to the system's own only."""
    for path in _PYTHONS:
        if (
            shutil.which(path)
            and not subprocess.run([path, "-I", "-c", "import guestfs"], capture_output=True).returncode
        ):
            return path
    raise BadInput("libguestfs's module for Python is not installed", on="conversion", remedy=_INSTALL)


class GuestDisks:
    """The disks of one guest; after `mount` also its files. One thread at a time. Raises TargetFailed when libguestfs fails."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, patience: float) -> None:
        self._process, self._log, self._patience = process, log, patience

    def open(self, disks: Sequence[BootDisk], writable: bool, memory: int) -> None:
        rows = [{"path": str(disk.path), "format": disk.format} for disk in disks]
        self._ask("open", disks=rows, memory=memory, writable=writable)

    def systems(self) -> tuple[GuestSystem, ...]:
        """The operating systems on the disks."""
        rows: list[dict[str, Any]] = self._ask("systems")
        return tuple(GuestSystem(**row) for row in rows)

    def file_systems(self) -> dict[str, FileSystem]:
        """By device: what it holds."""
        rows: dict[str, dict[str, str]] = self._ask("file_systems")
        return {device: FileSystem(**row) for device, row in rows.items()}

    def mount(self, system: GuestSystem, *, writable: bool) -> GuestSystem:
        """Mount a system's file systems; answers it with what is mounted."""
        failed: dict[str, str] = self._ask("mount", mounts=dict(system.mounts), writable=writable)
        mounts = {point: device for point, device in system.mounts.items() if point not in failed}
        return replace(system, mounts=mounts, unmounted=failed)

    def mount_device(self, device: str) -> str:
        """Mount one file system, to be read. The answer: why it cannot be mounted, or ""."""
        failed: dict[str, str] = self._ask("mount", mounts={"/": device}, writable=False)
        return failed.get("/", "")

    def size(self, path: str) -> int:
        """Raises Missing."""
        size: int | None = self._ask("size", path=path)
        if size is None:
            raise Missing(f"{path} does not exist")
        return size

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        """See `offline.window.Files`."""
        return self._exchange("read", b"", path=path, most=min(most, self.size(path)))[1]

    def names(self, path: str) -> list[str]:
        """See `offline.window.Files`."""
        names: list[str] | None = self._ask("names", path=path)
        if names is None:
            raise Missing(f"{path} does not exist")
        return names

    def write(self, path: str, data: bytes, mode: int) -> None:
        """Replace a file's content, or make a new file with this mode."""
        self._exchange("write", data, path=path, mode=mode)

    def append(self, path: str, data: bytes) -> None:
        self._exchange("append", data, path=path)

    def remove(self, path: str) -> None:
        self._ask("remove", path=path)

    def is_directory(self, path: str) -> bool | None:
        """See `removals.RemovableFiles`."""
        answer: bool | None = self._ask("is_directory", path=path)
        return answer

    def usage(self, path: str) -> int:
        """See `removals.RemovableFiles`."""
        size: int = self._ask("usage", path=path)
        return size

    def remove_tree(self, path: str) -> None:
        self._ask("remove_tree", path=path)

    def discard(self, mounts: Sequence[str]) -> None:
        """Give back the blocks that mounted file systems do not use."""
        self._ask("discard", mounts=list(mounts))

    def free(self, directory: str) -> int:
        """Free bytes where this directory is."""
        free: int = self._ask("free", path=directory)
        return free

    def used(self, directory: str) -> int:
        """Bytes in use where this directory is."""
        used: int = self._ask("used", path=directory)
        return used

    def archive(self, directory: str, file: Path, excludes: Sequence[str]) -> None:
        """Write a directory of the guest as a tar archive. `excludes`: patterns of tar."""
        with self._patient(ARCHIVING):
            self._ask("archive", path=directory, file=str(file), excludes=list(excludes))

    def resolve(self, path: str) -> str:
        """See `windows.WindowsFiles`."""
        answer: str = self._ask("resolve", path=path)
        return answer

    def registry_keys(
        self, hive: str, paths: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], RegistryKey]:
        """See `registry.RegistryReader`."""
        rows: list[dict[str, Any] | None] = self._ask("registry_keys", hive=hive, paths=[*map(list, paths)])
        return {path: _registry_key(row) for path, row in zip(paths, rows, strict=True) if row is not None}

    def registry_write(self, hive: str, changes: Sequence[RegistryChange]) -> None:
        """Set the values of one hive, all or none."""
        rows = [
            (list(row.key), row.name, row.after.kind, base64.b64encode(row.after.data).decode())
            for row in changes
        ]
        self._ask("registry_write", hive=hive, rows=rows)

    def finish(self) -> None:
        """Put everything on the disks and close them."""
        self._ask("finish")

    def _ask(self, command: str, **words: object) -> Any:
        return self._exchange(command, b"", **words)[0]

    def _exchange(self, command: str, data: bytes, **words: object) -> tuple[Any, bytes]:
        row = json.dumps({"command": command, "length": len(data), "words": words}).encode() + b"\n"
        late = threading.Event()
        timer = threading.Timer(self._patience, self._give_up, [late])
        timer.start()
        try:
            self._send(row + data)
            answer, content = self._receive()
        except (OSError, ValueError) as error:
            why = f"no answer within {self._patience:.0f} s" if late.is_set() else self._last_words(error)
            answer, content = {"trouble": why}, b""
        finally:
            timer.cancel()
        if "trouble" in answer:
            subject = " ".join(filter(None, (command, str(words.get("path") or words.get("hive") or ""))))
            raise _failed(subject, str(answer["trouble"]))
        return answer["answer"], content

    @contextmanager
    def _patient(self, seconds: float) -> Iterator[None]:
        """Answers may take so long inside the block."""
        usual, self._patience = self._patience, max(seconds, self._patience)
        try:
            yield
        finally:
            self._patience = usual

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        self.kill()

    def kill(self) -> None:
        """End the child with libguestfs's virtual machine, which is in its group. Harmless when they have ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, message: bytes) -> None:
        pipe: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # it was opened with pipes
        pipe.write(message)
        pipe.flush()

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        pipe: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        answer: dict[str, Any] = json.loads(pipe.readline())
        return answer, pipe.read(answer["length"])

    def _last_words(self, error: Exception) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended: {error}"


def _registry_key(row: Mapping[str, Any]) -> RegistryKey:
    values = {
        name: RegistryValue(int(kind), base64.b64decode(data)) for name, (kind, data) in row["values"].items()
    }
    return RegistryKey(values, tuple(row["subkeys"]))


def _failed(command: str, why: str) -> TargetFailed:
    return TargetFailed(
        f"libguestfs failed ({command}: {why[:300]})", on="conversion", remedy="run the same command again"
    )
