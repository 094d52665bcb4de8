"""The writing guest: where, how fast, in which order, and not a byte after power-off."""

import hashlib
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from simulator.estate.estate import Estate
from simulator.guest.workload import Kind, Mix, Region, Workload, plan
from tests.estate.conftest import VM

Make = Callable[..., Estate]
MIB, KEY = 1 << 20, 2000


def test_the_plan_is_seeded_and_stays_inside():
    places = [Region(1, 5 * MIB, 3 * MIB), Region(2, 512, 4096)]

    def take() -> list[tuple[Kind, Region, int, int]]:
        return list(itertools.islice(plan(places, Mix(), Random(3)), 3000))

    steps = take()
    assert steps == take()
    assert {step[0] for step in steps} == set(Kind)
    for _, place, offset, length in steps:
        assert place.start <= offset and offset + length <= place.start + place.length
        assert offset % 512 == length % 512 == 0 and length > 0


def test_it_writes_what_it_records_and_nothing_beside(make: Make):
    estate = make(16 * MIB)
    disk = estate.storage.disk("disk-1")
    estate.power.write(VM, KEY, 0, b"f" * 4 * MIB)
    hardware = estate.inventory.vm(VM).disks[0]
    estate.change_vm(VM, disks=(replace(hardware, scratch=(4 * MIB, 8 * MIB)),))
    guest = Workload(estate, VM, rate=None, seed=5)
    guest.start()
    assert guest.wait(300)
    guest.stop()
    steps = guest.steps()
    assert disk.read(0, 4 * MIB) == b"f" * 4 * MIB
    assert disk.read(12 * MIB, 4 * MIB) == bytes(4 * MIB)
    last = steps[-1]
    seen = disk.read(last.offset, last.length)
    assert last.digest is None or hashlib.sha256(seen).digest() == last.digest
    truth = [write for write in disk.truth() if write.kind in (0, 1)][1:]
    assert [(w.offset, w.length) for w in truth] == [(s.offset, s.length) for s in steps]
    again = Workload(estate, VM, rate=None, seed=5)
    again.start()
    again.wait(300)
    again.stop()
    assert again.steps()[:300] == steps[:300]


def test_power_off_stops_it_at_once_and_power_on_resumes(make: Make):
    estate = make(16 * MIB)
    guest = Workload(estate, VM, rate=None)
    guest.start()
    assert guest.wait(50)
    estate.power.off(VM)
    before = estate.storage.disk("disk-1").read(0, 16 * MIB)
    count = len(list(estate.storage.disk("disk-1").truth()))
    assert not guest.wait(10**9, timeout=0.2)
    assert estate.storage.disk("disk-1").read(0, 16 * MIB) == before
    assert len(list(estate.storage.disk("disk-1").truth())) == count
    done = len(guest.steps())
    estate.power.on(VM)
    assert guest.wait(done + 50)
    guest.stop()


def test_the_rate_is_held(make: Make):
    estate = make(16 * MIB)
    guest = Workload(estate, VM, rate=2 * MIB, mix=Mix(burst=0))
    began = time.monotonic()
    guest.start()
    assert guest.wait(60)
    elapsed, written = time.monotonic() - began, guest.written
    guest.stop()
    assert written <= 2 * MIB * elapsed + 512 * 1024


def test_without_scratch_it_leaves_the_disk_alone_unless_told(make: Make):
    estate = make()
    estate.hardware.add_disk(VM, 1000, 0, MIB)
    quiet = Workload(estate, VM, rate=None)
    quiet.start()
    quiet.stop()
    assert not quiet.steps()
    loud = Workload(estate, VM, rate=None, aggressive=True)
    loud.start()
    assert loud.wait(20)
    loud.stop()


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_alone(make: Make, kind: Kind):
    estate = make(16 * MIB)
    weights = {each.value: int(each is kind) for each in Kind}
    guest = Workload(estate, VM, rate=None, mix=Mix(**weights))
    guest.start()
    assert guest.wait(5)
    guest.stop()
    assert {step.kind for step in guest.steps()} == {kind}
    lengths = {step.length for step in guest.steps()}
    assert kind is not Kind.SECTOR or lengths == {512}
    assert kind is not Kind.BURST or min(lengths) >= MIB
