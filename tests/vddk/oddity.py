"""The library of `oddity.c`, compiled under any version, and disks opened with one of its oddities chosen."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from vddk.spec import Compression, ConnectionSpec, DiskSpec, Installation, UserPassword
from vddk.worker import WorkerDisk

PASSWORD = "opensesame"


@dataclass(frozen=True)
class Oddity:
    directory: Path
    environment: pytest.MonkeyPatch

    def installation(self, version: str = "8.0.0", *flags: str) -> Installation:
        """Compiled as a library of that version."""
        place = self.directory / (version + "".join(flags)) / "lib64"
        place.mkdir(parents=True, exist_ok=True)
        source = Path(__file__).with_name("oddity.c")
        real = place / f"libvixDiskLib.so.{version}"
        if not real.exists():
            subprocess.run(["cc", "-w", "-O2", "-shared", "-fPIC", *flags, "-o", real, source], check=True)
            (place / f"libvixDiskLib.so.{version[0]}").symlink_to(real.name)
        return Installation(place.parent)

    def spec(self, compression: Compression = "none") -> DiskSpec:
        connection = ConnectionSpec("vc", "", UserPassword("root", PASSWORD), "vm-1")
        return DiskSpec(connection, "[ds] a/b.vmdk", compression)

    def open(
        self, oddity: str, version: str = "8.0.0", depth: int = 8, flags: tuple[str, ...] = ()
    ) -> WorkerDisk:
        self.environment.setenv("ODDITY", oddity)
        return WorkerDisk(self.installation(version, *flags), self.spec(), depth, deadline=10)
