"""A job from its creation to its image, over real HTTPS, with real child processes."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from connector.clients.agents import Membership
from connector.errors import Conflict, NotFound
from tests.control.conftest import Plane, Robot, machine, taken
from tests.waiting import eventually


@pytest.fixture(scope="module")
def plane(shared_plane: Plane) -> Plane:
    return shared_plane


@pytest.fixture
def vm() -> str:
    """Name of this test's machine, job and vCenter: the control plane is shared."""
    return f"vm-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def member(plane: Plane, vm: str) -> Membership:
    found: Membership = plane.enrol(vm, f"https://{vm}")
    return found


def _disks(plane: Plane, job: str) -> list[Path]:
    return list((plane.root / "store" / "instances").glob(f"*{plane.jobs.id(job)}/data/disk"))


def test_r1_r42_r59_r90_run_once_ends_finished_with_an_image_and_nothing_else(
    plane: Plane, member: Membership, vm: str
) -> None:
    with Robot(plane, member) as robot:
        robot.register(machine("vm-1", vm))
        job = plane.jobs.create(vm, vm)
        assert (job["status"], job["allowed"]) == ("Ready", ["start", "delete"])
        plane.jobs.start(vm)
        done = plane.reach(vm, "Finished")
    assert [image["name"] for image in done["images"]] == [vm]
    assert [
        Path(file).read_text() for file in done["images"][0]["details"]["files"] if file.endswith(".qcow2")
    ] == ["image"]
    assert not _disks(plane, vm)
    assert (len(done["runs"]), done["run"]) == (1, {"number": 1, "outcome": "done"})
    assert [(p["task"], p["outcome"]) for p in done["passes"]] == [("read", "done")]
    assert done["progress"] == 100.0
    gone = {"instance": True, "disk": True, "image": False}
    assert {t["kind"]: t["removed"] for t in done["objects"]} == gone
    assert plane.jobs.source(vm)["state"] == "Available"


def test_r52_the_order_says_everything_an_appliance_needs(plane: Plane, member: Membership, vm: str) -> None:
    with Robot(plane, member) as robot:
        ids = robot.register(machine("vm-1", vm))
        plane.jobs.create(ids["vm-1"], vm, shutdown_deadline=30, allow_power_off=True)
        plane.jobs.start(vm)
        plane.reach(vm, "Finished")
    order = robot.orders[0]
    assert order["instance"]["host"].startswith("127.")
    assert (order["instance"]["control_port"], order["instance"]["block_port"]) == (8080, 8703)
    assert order["credential"]["key"].startswith("-----BEGIN")
    assert (order["moref"], order["final"], order["objects"]) == ("vm-1", False, [])
    assert (order["shutdown_deadline"], order["allow_power_off"]) == (30, True)


def test_incremental_keeps_disks_between_runs_and_ends_with_cutover(
    plane: Plane, member: Membership, vm: str
) -> None:
    with Robot(plane, member) as robot:
        robot.register(machine("vm-1", vm))
        plane.jobs.create(vm, vm, run_once=False)
        for run in (1, 2):
            plane.jobs.start(vm)
            done = plane.reach(vm, "Waiting")
            assert [image["name"] for image in done["images"]][-1] == f"{vm}_CYCLE_{run}"
        disks = _disks(plane, vm)
        assert len(disks) == 1
        plane.jobs.cutover(vm)
        done = plane.reach(vm, "Finished")
    assert [order["final"] for order in robot.orders] == [False, False, True]
    assert [image["name"] for image in done["images"]][-1] == vm
    assert not disks[0].exists()


def test_cutover_without_a_last_pass_only_finishes(plane: Plane, member: Membership, vm: str) -> None:
    with Robot(plane, member) as robot:
        robot.register(machine("vm-1", vm))
        plane.jobs.create(vm, vm, run_once=False)
        plane.jobs.start(vm)
        plane.reach(vm, "Waiting")
        plane.jobs.cutover(vm, sync_data=False)
        done = plane.reach(vm, "Finished")
    assert len(robot.orders) == 1
    assert len(done["images"]) == 1


def test_r87_r88_stop_while_syncing_pauses_and_start_resumes(
    plane: Plane, member: Membership, vm: str
) -> None:
    with Robot(plane, member) as robot:
        robot.register(machine("vm-1", vm))
        robot.pause.set()
        plane.jobs.create(vm, vm)
        plane.jobs.start(vm)
        eventually(lambda: robot.orders, "the pass is taken")
        with pytest.raises(Conflict, match="stop it first"):
            plane.jobs.delete(vm)
        plane.jobs.stop(vm)
        plane.reach(vm, "Stopped")
        assert _disks(plane, vm)
        robot.pause.clear()
        plane.jobs.start(vm)
        done = plane.reach(vm, "Finished")
    assert [p["outcome"] for p in done["passes"]] == ["stopped", "done"]
    assert (len(done["runs"]), done["run"]) == (2, {"number": 2, "outcome": "done"})


def test_stop_of_a_pass_that_nobody_took_needs_no_appliance(
    plane: Plane, member: Membership, vm: str
) -> None:
    Robot(plane, member).register(machine("vm-1", vm))
    plane.jobs.create(vm, vm)
    plane.jobs.start(vm)
    plane.reach(vm, "Running/Syncing")
    plane.jobs.stop(vm)
    plane.reach(vm, "Stopped")


def test_delete_frees_the_source_and_removes_the_instance(plane: Plane, member: Membership, vm: str) -> None:
    Robot(plane, member).register(machine("vm-1", vm))
    plane.jobs.create(vm, vm)
    plane.jobs.start(vm)
    plane.reach(vm, "Running/Syncing")
    plane.jobs.stop(vm)
    job = plane.reach(vm, "Stopped")
    plane.jobs.delete(vm)
    plane.gone(job["id"])
    assert not _disks(plane, job["id"])
    with pytest.raises(NotFound):
        plane.jobs.job(vm)
    assert plane.jobs.create(vm, vm)["status"] == "Ready"


def test_a_source_takes_one_unfinished_job(plane: Plane, member: Membership, vm: str) -> None:
    Robot(plane, member).register(machine("vm-1", vm))
    plane.jobs.create(vm, vm)
    with pytest.raises(Conflict, match="InUse"):
        plane.jobs.create(vm, f"{vm}-2")


def test_r32_a_failed_pass_shows_its_error_and_the_remedy(plane: Plane, member: Membership, vm: str) -> None:
    robot = Robot(plane, member)
    robot.register(machine("vm-1", vm))
    plane.jobs.create(vm, vm)
    plane.jobs.start(vm)
    client = plane.client(member)
    order = taken(client)
    client.finish(order["pass_id"], "failed", Conflict("no snapshot", on=vm, remedy="consolidate"), {})
    client.finish(order["pass_id"], "failed", Conflict("no snapshot", on=vm, remedy="consolidate"), {})
    failed = plane.reach(vm, "InError")
    assert (failed["error"]["what"], failed["error"]["remedy"]) == ("no snapshot", "consolidate")
    assert failed["allowed"] == ["start", "delete"]
    with robot:
        plane.jobs.start(vm)
        done = plane.reach(vm, "Finished")
    assert done["error"] is None


def test_a_long_name_with_colons_becomes_a_file_name(plane: Plane, member: Membership, vm: str) -> None:
    with Robot(plane, member) as robot:
        robot.register(machine("vm-1", vm))
        plane.jobs.create(vm, vm, image_name=f"a:{'b' * 126}", run_once=False)
        plane.jobs.start(vm)
        (image,) = plane.reach(vm, "Waiting")["images"]
    assert image["name"] == f"a-{'b' * 90}_CYCLE_1"


def test_x3_image_names_that_are_taken_get_the_jobs_id(plane: Plane, member: Membership, vm: str) -> None:
    with Robot(plane, member) as robot:
        robot.register(machine("vm-1", vm))
        for name in (f"{vm}-1", f"{vm}-2"):
            plane.jobs.create(vm, name, image_name=vm)
            plane.jobs.start(name)
            job = plane.reach(name, "Finished")
    assert job["images"][0]["name"] == f"{vm}_{job['id']}"
