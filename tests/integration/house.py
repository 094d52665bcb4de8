"""A vCenter of a test's own, in this process: real SOAP and TLS outside, its disks' true bytes within reach."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from simulator.estate.build import SCSI, Layout, build_estate
from simulator.estate.estate import Estate, Timing
from simulator.estate.inventory import PowerState, VirtualMachine
from simulator.nfc import Hosts
from simulator.vcenter import Options, Server, serve
from simulator.vixdisklib import install
from tests.integration.witness import OURS, Witness, digest

MIB = 1 << 20
USER = "administrator@vsphere.local"


@dataclass(frozen=True, slots=True)
class Shape:
    """A machine to make. `disks`: (capacity, bytes of data in it). `scratch`: a `Workload` may write anywhere."""

    name: str
    disks: tuple[tuple[int, int], ...] = ((24 * MIB, 10 * MIB), (8 * MIB + 1536, 3 * MIB))
    firmware: str = "bios"
    on: bool = True
    scratch: bool = False


@dataclass(slots=True)
class House:
    """`vddk` is an installation of its own: `reader(bandwidth=...)` slows the reading of this vCenter alone."""

    root: Path
    estate: Estate
    server: Server
    witness: Witness
    password: str
    vddk: Path
    out: Path
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    def machine(self, name: str = "web-01") -> VirtualMachine:
        return next(vm for vm in self.estate.inventory.vms.values() if vm.name == name)

    def content(self, name: str = "web-01") -> dict[int, bytes]:
        """Every byte of every disk, now."""
        disks = self.machine(name).disks
        return {disk.key: self.estate.storage.disk(disk.storage).read(0, disk.capacity) for disk in disks}

    def digests(self, name: str = "web-01") -> dict[int, str]:
        return {key: digest(data) for key, data in self.content(name).items()}

    def write(self, name: str = "web-01", count: int = 12, size: int = 8192) -> None:
        """The guest writes at random places of every disk."""
        vm = self.machine(name)
        for disk in vm.disks:
            for _ in range(count):
                at = self._random.randrange((disk.capacity - size) // 512) * 512
                self.estate.power.write(vm.moref, disk.key, at, self._random.randbytes(size))

    def reader(self, **switches: object) -> None:
        """Replace the VDDK's configuration; worker processes that start from now on follow it."""
        install(self.vddk, self.estate.export.root, **switches)

    @property
    def nfc(self) -> Hosts:
        """The hosts that serve NFC."""
        hosts = self.server.center.nfc
        assert hosts is not None
        return hosts

    def snapshots(self) -> list[str]:
        """Descriptions of our snapshots on all machines."""
        return [
            shot.description
            for vm in self.estate.inventory.vms.values()
            for shot in vm.snapshots
            if shot.description.startswith(OURS)
        ]

    def cookies(self) -> set[str]:
        """Of the sessions that are open now."""
        return {session.cookie for session in self.server.center.sessions.all()}

    def access(self) -> list[str]:
        """The options that say where vCenter is."""
        return [
            *("--vcenter", self.server.url.removesuffix("/sdk")),
            *("--thumbprint", self.server.thumbprint),
            *("--password-file", str(self.root / "password")),
        ]

    def migration(self, *words: str) -> list[str]:
        """A whole `migrate` command: machine names and further options are `words`."""
        return [
            *("migrate", *words, *self.access()),
            *("--vddk", str(self.vddk), "--to", str(self.out), "--json", "--format"),
            "raw",
        ]

    def image(self, name: str) -> dict[int, str]:
        """BLAKE3 of each disk of a raw image."""
        folder = self.out / "images" / name
        return {int(file.stem): digest(file.read_bytes()) for file in folder.glob("*.raw")}

    def images(self) -> set[str]:
        folder = self.out / "images"
        return {path.name for path in folder.iterdir() if path.is_dir()} if folder.exists() else set()


@contextmanager
def house(root: Path, shapes: tuple[Shape, ...] = (), *, port: int = 0) -> Iterator[House]:
    """Machines of these shapes, powered on unless they say otherwise, and a vCenter that shows them.

    Without shapes: those that an earlier house has left in `root`, with the password of then.
    """
    witness = Witness()
    timing = Timing(snapshot_stun=0.0, switch_stun=0.0, guest_shutdown=0.05)
    layout = Layout(vms=0, fillers=len(shapes))
    estate = build_estate(root / "vcenter", layout, timing=timing, faults=witness)
    password = _password(root / "password")
    try:
        witness.estate = estate
        for moref, shape in zip(list(estate.inventory.vms) if shapes else (), shapes, strict=True):
            furnish(estate, moref, shape)
        for moref in estate.inventory.vms:
            estate.change_vm(moref)  # readers find its disks where they are now
        with serve(estate, accounts={USER: password}, options=Options(cbt_page=5), port=port) as server:
            made = House(root, estate, server, witness, password, root / "vddk", root / "out")
            made.reader()
            yield made
    finally:
        estate.close()


def _password(file: Path) -> str:
    """The one that is kept there, made when there is none."""
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as fresh:
            fresh.write(f"horse-{secrets.token_hex(8)}&\"<'\n")
    return file.read_text().removesuffix("\n")


def furnish(estate: Estate, moref: str, shape: Shape) -> None:
    """Disks with data in runs of odd lengths at odd places."""
    estate.change_vm(moref, name=shape.name, firmware=shape.firmware)
    source = random.Random(shape.name)
    for unit, (capacity, data) in enumerate(shape.disks):
        made = estate.hardware.add_disk(
            moref, SCSI, unit, capacity, scratch=(0, capacity) if shape.scratch else None
        )
        disk = estate.storage.disk(estate.inventory.vm(moref).disk(made.key).storage)
        for at, length in runs(capacity, data, source):
            disk.write(at, source.randbytes(length))
        disk.write(capacity - 512, source.randbytes(512))
    if shape.on:
        estate.power.on(moref)


def runs(capacity: int, data: int, source: random.Random) -> Iterator[tuple[int, int]]:
    """(offset, length) in whole sectors, side by side without overlap, `data` bytes or a little less in all."""
    pieces = max(1, data // (2 * MIB))
    room = capacity // pieces
    for number in range(pieces):
        length = min(data // pieces, room - 512) // 512 * 512
        slack = (room - length) // 512
        if length:
            yield number * room // 512 * 512 + source.randrange(slack) * 512, length


def is_off(vm: VirtualMachine) -> bool:
    return vm.power_state is PowerState.OFF


def equal(house: House, machine: str, image: str, truth: Mapping[int, str] | None = None) -> None:
    """The image is the machine's disks, byte for byte, now or as `truth` has them."""
    assert house.image(image) == (truth or house.digests(machine))
