"""A small exported estate for the stand-in library: one machine, one snapshot, disks whose bytes we know."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simulator.vixdisklib import install
from vddk.spec import ConnectionSpec, Credentials, DiskSpec, Installation, UserPassword

GRAIN = 4096
CHUNK = 65536
CAPACITY = 40 * (1 << 20) + 33 * 512
"""Not a whole number of chunks, so that every disk has a tail."""
USER, PASSWORD, COOKIE = "reader@vsphere.local", "s3cr3t; p@ss/word", "52c0ffee-cafe-4711"
THUMBPRINT = ":".join(["AB"] * 20)
PATH = "[store one] web/web-000001.vmdk"
SMALL_PATH = "[store one] web/web_1.vmdk"
"""Smaller than a chunk."""
SMALL = 7 * 512


@dataclass(frozen=True)
class Estate:
    root: Path
    truth: bytes
    written: list[tuple[int, int]] = field(default_factory=list)

    def spec(self, path: str = PATH, credentials: Credentials | None = None, **connection: Any) -> DiskSpec:
        plain = ConnectionSpec(
            server="vcenter.example.org",
            thumbprint=THUMBPRINT,
            credentials=credentials or UserPassword(USER, PASSWORD),
            vm_moref="vm-16",
            snapshot_moref="snapshot-7",
        )
        return DiskSpec(replace(plain, **connection), path)

    def installation(self, directory: Path, **switches: Any) -> Installation:
        return Installation(install(directory, self.root, **switches))


def build(root: Path, seed: int = 1) -> Estate:
    """Two layers: runs of random bytes in the base, single grains over them in the snapshot's delta."""
    dice = random.Random(seed)
    view = root / "vm-16" / "snapshot-7"
    view.mkdir(parents=True)
    (root / "sessions").mkdir()
    (root / "sessions" / COOKIE).touch()
    (root / "access").write_text(f"thumbprint={THUMBPRINT}\nuser={USER}\npassword={PASSWORD}\n")
    truth = bytearray(CAPACITY)
    base, delta = view / "base", view / "delta"
    written = _write_base(dice, base, truth) + _write_delta(dice, delta, truth)
    small = view / "small"
    small.write_bytes(dice.randbytes(SMALL))
    rows = [
        (PATH, CAPACITY, "lsilogic", "60 00 C2 9a", "persistent", delta, base),
        (SMALL_PATH, SMALL, "ide", "60 00 C2 9b", "persistent", small),
    ]
    (view / "disks").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return Estate(root, bytes(truth), written)


def _write_base(dice: random.Random, path: Path, truth: bytearray) -> list[tuple[int, int]]:
    written = []
    with path.open("wb") as file:
        file.truncate(CAPACITY)
        for start in range(0, CAPACITY - (3 << 20), 5 << 20):
            start += dice.randrange(64) * GRAIN
            data = dice.randbytes(dice.randrange(1, 400) * GRAIN)
            file.seek(start)
            file.write(data)
            truth[start : start + len(data)] = data
            written.append((start, len(data)))
    return written


def _write_delta(dice: random.Random, path: Path, truth: bytearray) -> list[tuple[int, int]]:
    grains = sorted(dice.sample(range(CAPACITY // GRAIN), 40))
    present = bytearray(-(-CAPACITY // GRAIN) // 8 + 1)
    with path.open("wb") as file:
        file.truncate(CAPACITY)
        for grain in grains:
            data = dice.randbytes(GRAIN)
            file.seek(grain * GRAIN)
            file.write(data)
            truth[grain * GRAIN : (grain + 1) * GRAIN] = data
            present[grain // 8] |= 1 << (grain % 8)
    path.with_name(path.name + ".map").write_bytes(present)
    return [(grain * GRAIN, GRAIN) for grain in grains]


def mapped_blocks() -> set[str]:
    """The memory of workers that is mapped into this process, by address."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[0] for line in lines if "memfd:vddk" in line}
