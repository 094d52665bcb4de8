"""Three machines that belong together, with every process: all of them at one point, or none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from connector.cli.stack import Stack
from simulator.faults import Rule
from tests.integration.house import MIB, House, Shape, equal, is_off
from tests.integration.test_rollback import stack
from tests.people import Applications, People
from tests.processes import children, command_line, kill
from tests.waiting import PATIENCE, pauses

TINY = ((2 * MIB, MIB),)
RANKS = {"web": 1, "app": 2, "db": 3}
SHAPES = tuple(Shape(name, TINY, scratch=True) for name in RANKS)


@pytest.fixture
def shop(make_house: Callable[..., House]) -> House:
    return make_house(*SHAPES)


def begin(running: Stack) -> Applications:
    """All three wait between two runs, and are one application."""
    jobs = People(client=running.client)
    for name in RANKS:
        jobs.create(name, name, run_once=False, image_format="raw")
        jobs.start(name)
    rest(running, "Waiting")
    jobs.applications.put("shop", RANKS)
    return jobs.applications


def rest(running: Stack, *wanted: str, seconds: float = PATIENCE) -> list[dict[str, Any]]:
    """All three once they stand in these statuses."""
    deadline, jobs, waits = time.monotonic() + seconds, People(client=running.client), pauses()
    while True:
        found = [jobs.job(name) for name in RANKS]
        if all(job["status"] in wanted for job in found):
            return found
        running.check()
        assert time.monotonic() < deadline, [(job["status"], job["waiting"], job["error"]) for job in found]
        time.sleep(next(waits))


def asked(house: House, call: str) -> list[str]:
    """The machines of which vCenter was asked this, in order."""
    names = {vm.moref: vm.name for vm in house.estate.inventory.vms.values()}
    return [names[target] for seen, target in house.witness.calls if seen == call]


def power(house: House) -> set[str]:
    """Names of the machines that run."""
    return {name for name in RANKS if not is_off(house.machine(name))}


def test_they_go_down_in_order_and_become_images_when_all_are_proved(shop: House) -> None:
    with stack(shop) as running:
        shops = begin(running)
        for name in RANKS:
            shop.write(name)
        before = len(shop.witness.calls)
        shops.cutover("shop")
        done = rest(running, "Finished")
        calls = [call for call, _ in shop.witness.calls[before:]]
        assert asked(shop, "ShutdownGuest") == ["web", "app", "db"]
        last_shutdown = max(place for place, call in enumerate(calls) if call == "ShutdownGuest")
        assert calls.index("CreateSnapshot_Task") > last_shutdown
        proved = max(job["passes"][-1]["ended"] for job in done)
        assert all(job["images"][-1]["created"] >= proved for job in done)
        for name in RANKS:
            equal(shop, name, name)
        assert not shop.snapshots()
        shops.rollback("shop")
        rest(running, "Stopped")
        assert asked(shop, "PowerOnVM_Task") == ["db", "app", "web"]
        assert power(shop) == set(RANKS)


def test_invariant_10_one_whose_proof_fails_leaves_all_running_and_no_image(shop: House) -> None:
    with stack(shop) as running:
        shops = begin(running)
        images, vm = shop.images(), shop.machine("app")
        shop.witness.add(Rule("estate.track", "answer", answer={"lose": True}))
        shop.estate.power.write(vm.moref, vm.disks[0].key, MIB // 2, b"lost" * 128)
        shops.cutover("shop", audit=1.0)
        found = rest(running, "Stopped")
        assert shop.images() == images and not shop.snapshots()
        assert asked(shop, "ShutdownGuest") == ["web", "app", "db"]
        assert asked(shop, "PowerOnVM_Task") == ["db", "app", "web"]
        assert power(shop) == set(RANKS)
        for job in found:
            assert job["error"]["what"].startswith("app failed (CBT missed a write"), job["error"]
            assert job["error"]["what"].endswith("were proved: all are rolled back")


@pytest.mark.slow
def test_invariant_7_one_that_cannot_be_shut_down_leaves_all_running_and_no_image(shop: House) -> None:
    with stack(shop) as running:
        shops = begin(running)
        images = shop.images()
        app = shop.machine("app").moref
        shop.witness.add(Rule("ShutdownGuest", "fault", object=app, fault="ToolsUnavailable", times=None))
        shops.cutover("shop", shutdown_deadline=2.0)
        found = rest(running, "Stopped")
        assert shop.images() == images
        assert power(shop) == set(RANKS) and not shop.snapshots()
        assert asked(shop, "PowerOnVM_Task") == ["web"]
        assert all(job["error"]["what"].startswith("app failed (") for job in found)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["connector.control", "connector.appliance"])
@pytest.mark.parametrize(
    ("call", "skip"), [("ShutdownGuest", 1), ("CreateSnapshot_Task", 1), ("RemoveSnapshot_Task", 2)]
)
def test_invariant_8_killed_in_the_middle_it_goes_on_and_is_never_half(
    shop: House, part: str, call: str, skip: int
) -> None:
    with stack(shop) as running:
        shops = begin(running)
        images = shop.images()
        for name in RANKS:
            shop.write(name)
        killed = shop.witness.when(call, lambda: kill_child(part), skip=skip)
        shops.cutover("shop")
        assert killed.wait(PATIENCE)
    with stack(shop) as running:
        found = rest(running, "Finished", "Stopped")
        assert len({job["status"] for job in found}) == 1
        if found[0]["status"] == "Finished":
            for name in RANKS:
                equal(shop, name, name)
            assert not power(shop)
        else:
            assert shop.images() == images and power(shop) == set(RANKS)
        assert not shop.snapshots()


def kill_child(module: str) -> None:
    """kill -9 of this test's child that runs `module`."""
    for child in children():
        if module in command_line(child).split():
            kill(child)
