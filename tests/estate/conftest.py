"""Small estates in memory-backed directories."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.estate.estate import Estate, Policy, Timing
from simulator.estate.inventory import Controller, Datastore, Guest, VirtualMachine

VM, DS = "vm-1", "datastore-1"
QUICK = Timing(snapshot_stun=0, switch_stun=0, guest_shutdown=0.01)


def fill(estate: Estate, *capacities: int, space: int = 1 << 40) -> None:
    """One machine with blank disks on one datastore, running."""
    machine = VirtualMachine(
        moref=VM,
        name="web-01",
        parent="group-v3",
        host="host-21",
        resource_pool="resgroup-8",
        datastore=DS,
        directory="web-01",
        uuid="u",
        instance_uuid="i",
        guest=Guest(host_name="web-01"),
        controllers=(Controller(1000, "pvscsi"),),
    )
    store = Datastore(DS, "ds1", "group-s5", space)
    estate.change(lambda old: replace(old, vms={VM: machine}, datastores={DS: store}))
    for unit, capacity in enumerate(capacities):
        estate.hardware.add_disk(VM, 1000, unit, capacity, scratch=(0, capacity))
    estate.power.on(VM)


@pytest.fixture
def room() -> Iterator[Path]:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    path = Path(tempfile.mkdtemp(dir=base, prefix="estate-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make(room: Path) -> Iterator[Callable[..., Estate]]:
    opened: list[Estate] = []

    def build(*capacities: int, space: int = 1 << 40, policy: Policy | None = None, **values: Any) -> Estate:
        estate = Estate(room / f"e{len(opened)}", values.pop("timing", QUICK), policy, **values)
        opened.append(estate)
        fill(estate, *capacities, space=space)
        return estate

    yield build
    for estate in opened:
        estate.close()
