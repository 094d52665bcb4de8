"""A simulator that is killed comes back with the same estate: every snapshot it had confirmed, every byte of
it.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.estate.build import Layout, Sizes, build_estate
from simulator.estate.estate import Estate
from simulator.images.ext4 import ProgramMissing, program
from tests.estate.conftest import QUICK, VM
from tests.estate.reader import view

MIB, CAPACITY = 1 << 20, 16 << 20

CHILD = """
import hashlib, json, sys
from pathlib import Path
from random import Random
from simulator.estate.estate import Estate
from simulator.guest.workload import Workload
from tests.estate.conftest import QUICK, VM, fill

estate = Estate(Path(sys.argv[1]), QUICK)
random = Random(int(sys.argv[2]))
if not estate.inventory.vms:
    fill(estate, 16 << 20)
    estate.hardware.set_change_tracking(VM, True)
Workload(estate, VM, rate=None, seed=random.randrange(99)).start()
while True:
    shots = [shot.moref for shot in estate.inventory.vm(VM).snapshots]
    if len(shots) < 4 and random.random() < 0.6:
        moref = estate.snapshots.create(VM, "s")
        digest = hashlib.sha256(estate.storage.disk("disk-1").read(0, 16 << 20, moref)).hexdigest()
        print(json.dumps({"made": moref, "digest": digest}), flush=True)
    elif shots:
        moref = random.choice(shots)
        print(json.dumps({"removing": moref}), flush=True)
        estate.snapshots.remove(VM, moref)
"""


@pytest.mark.parametrize("seed", range(2))
def test_kill_and_reopen(room: Path, seed: int):
    digests: dict[str, str] = {}
    removing: set[str] = set()
    for life in range(2):
        command = [sys.executable, "-c", CHILD, str(room / "e"), str(seed * 10 + life)]
        root = Path(__file__).parents[2]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ | {"PYTHONPATH": ""}
        )
        assert child.stdout is not None
        for number, line in enumerate(child.stdout):
            event = json.loads(line)
            if "made" in event:
                digests[event["made"]] = event["digest"]
            else:
                removing.add(event["removing"])
            if number == 8 + 5 * life + seed:
                child.send_signal(signal.SIGKILL)
                break
        rest = child.stdout.read().splitlines()
        child.wait()
        for line in rest:
            event = json.loads(line) if line.endswith("}") else {}
            digests |= {event["made"]: event["digest"]} if "made" in event else {}
            removing |= {event["removing"]} if "removing" in event else set()
        check(room / "e", digests, removing)


def check(directory: Path, digests: dict[str, str], removing: set[str]) -> None:
    estate = Estate(directory, QUICK)
    try:
        vm = estate.inventory.vm(VM)
        shots = {shot.moref: shot for shot in vm.snapshots}
        assert set(digests) - removing <= set(shots)
        disk = estate.storage.disk("disk-1")
        live = disk.read(0, CAPACITY)
        for moref, shot in shots.items():
            content = disk.read(0, CAPACITY, moref)
            assert digests.get(moref, "") in ("", hashlib.sha256(content).hexdigest())
            (exported,) = view(directory / "export", VM, moref)
            assert exported.read() == content
            patched = bytearray(content)
            for start, length in disk.changed(shot.disks[0].change_id or "", None, None):
                patched[start : start + length] = live[start : start + length]
            assert patched == live
        assert vm.power_state == "poweredOn"
        estate.snapshots.consolidate(VM)
        assert disk.read(0, CAPACITY) == live
        assert not estate.inventory.vm(VM).consolidation_needed
    finally:
        estate.close()


def small() -> Layout:
    sizes = Sizes(96 * MIB, 4 * MIB, 16 * MIB, 4 * MIB, 64 * MIB, 2 * MIB)
    return Layout(vms=3, fillers=5, sizes=sizes)


def test_the_ready_made_estate(room: Path):
    try:
        program("mke2fs", "e2fsprogs")
    except ProgramMissing:
        pytest.skip("needs the package e2fsprogs")
    (room / "own.raw").write_bytes(b"boot" + bytes(5 * MIB))
    layout = replace(small(), images={"imported": [room / "own.raw"]})
    estate = build_estate(room / "e", layout, seed=3, timing=QUICK)
    vms = list(estate.inventory.vms.values())
    assert [vm.name for vm in vms[:4]] == ["web-01", "db-01", "app-01", "imported"]
    assert [vm.moref for vm in vms] == [f"vm-{n}" for n in range(101, 110)]
    assert [(vm.firmware, len(vm.disks)) for vm in vms[:4]] == [
        ("bios", 2),
        ("efi", 1),
        ("bios", 1),
        ("bios", 1),
    ]
    assert all(vm.power_state == "poweredOn" for vm in vms[:4])
    first = estate.storage.disk(vms[0].disks[0].storage).read(0, 96 * MIB)
    assert estate.storage.disk(vms[3].disks[0].storage).read(0, 4) == b"boot"
    known = {
        *estate.inventory.folders,
        *estate.inventory.hosts,
        *estate.inventory.datastores,
        *estate.inventory.pools,
    }
    assert all({vm.parent, vm.host, vm.datastore, vm.resource_pool} <= known for vm in vms)
    before = estate.inventory
    estate.close()
    again = build_estate(room / "e", layout, seed=3, timing=QUICK)
    assert again.inventory == before
    again.close()
    twin = build_estate(room / "twin", small(), seed=3, timing=QUICK)
    assert twin.storage.disk("disk-1").read(0, 96 * MIB) == first
    twin.close()


def test_waiters_hear_of_changes(make: Callable[..., Estate]):
    estate = make(MIB)
    version = estate.version
    assert estate.wait_for_change(version, 0.01) == version
    estate.hardware.edit(VM, annotation="x")
    assert estate.wait_for_change(version, 5) > version
