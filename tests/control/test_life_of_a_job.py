"""A job from its creation to its image, over real HTTPS, with real child processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.errors import Conflict, NotFound
from tests.control.conftest import Plane, Robot, eventually


def test_run_once_ends_finished_with_an_image_and_nothing_else(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        job = plane.jobs.create("web-01", "move-web")
        assert (job["status"], job["allowed"]) == ("Ready", ["start", "delete"])
        plane.jobs.start("move-web")
        done = plane.reach("move-web", "Finished")
    assert [image["name"] for image in done["images"]] == ["move-web"]
    assert Path(done["images"][0]["details"]["files"][0]).read_text() == "image"
    assert not list((plane.root / "store" / "instances").iterdir())
    assert [run["outcome"] for run in done["runs"]] == ["done"]
    assert done["passes"][0]["result"] == {"downtime": 1.5}
    assert done["progress"] == 100.0
    assert {t["kind"]: t["removed"] for t in done["objects"]} == {"instance": True, "image": False}
    assert plane.jobs.source("web-01")["state"] == "Available"


def test_the_order_says_everything_an_appliance_needs(plane: Plane) -> None:
    with Robot(plane) as robot:
        ids = robot.register()
        plane.jobs.create(ids["vm-1"], "j1", shutdown_deadline=30, allow_power_off=True)
        plane.jobs.start("j1")
        plane.reach("j1", "Finished")
    order = robot.orders[0]
    assert order["instance"]["host"].startswith("127.")
    assert (order["instance"]["control_port"], order["instance"]["block_port"]) == (8080, 8703)
    assert order["credential"]["key"].startswith("-----BEGIN")
    assert (order["moref"], order["final"], order["objects"]) == ("vm-1", False, [])
    assert (order["shutdown_deadline"], order["allow_power_off"]) == (30, True)


def test_incremental_keeps_disks_between_runs_and_ends_with_cutover(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        plane.jobs.create("web-01", "inc", run_once=False)
        for run in (1, 2):
            plane.jobs.start("inc")
            done = plane.reach("inc", "Waiting")
            assert [image["name"] for image in done["images"]][-1] == f"inc_CYCLE_{run}"
        disks = list((plane.root / "store" / "instances").glob("*/data/disk"))
        assert len(disks) == 1
        plane.jobs.cutover("inc")
        done = plane.reach("inc", "Finished")
    assert [order["final"] for order in robot.orders] == [False, False, True]
    assert [image["name"] for image in done["images"]][-1] == "inc"
    assert not disks[0].exists()


def test_run_once_with_a_last_sync_shuts_the_source_down_for_the_second_pass(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        plane.jobs.create("web-01", "both", last_sync=True)
        plane.jobs.start("both")
        done = plane.reach("both", "Finished")
    assert [order["final"] for order in robot.orders] == [False, True]
    assert len(done["images"]) == 1


def test_cutover_without_a_last_pass_only_finishes(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        plane.jobs.create("web-01", "inc", run_once=False)
        plane.jobs.start("inc")
        plane.reach("inc", "Waiting")
        plane.jobs.cutover("inc", sync_data=False)
        done = plane.reach("inc", "Finished")
    assert len(robot.orders) == 1
    assert len(done["images"]) == 1


def test_stop_while_syncing_pauses_and_start_resumes(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        robot.pause.set()
        plane.jobs.create("web-01", "j1")
        plane.jobs.start("j1")
        eventually(lambda: robot.orders, "the pass is taken")
        with pytest.raises(Conflict, match="stop it first"):
            plane.jobs.delete("j1")
        plane.jobs.stop("j1")
        plane.reach("j1", "Stopped")
        assert list((plane.root / "store" / "instances").glob("*/data/disk"))
        robot.pause.clear()
        plane.jobs.start("j1")
        done = plane.reach("j1", "Finished")
    assert [run["outcome"] for run in done["runs"]] == ["stopped", "done"]


def test_stop_of_a_pass_that_nobody_took_needs_no_appliance(plane: Plane) -> None:
    Robot(plane).register()
    plane.jobs.create("web-01", "j1")
    plane.jobs.start("j1")
    plane.reach("j1", "Running/Syncing")
    plane.jobs.stop("j1")
    plane.reach("j1", "Stopped")


def test_delete_frees_the_source_and_removes_the_instance(plane: Plane) -> None:
    Robot(plane).register()
    plane.jobs.create("web-01", "j1")
    plane.jobs.start("j1")
    plane.reach("j1", "Running/Syncing")
    plane.jobs.stop("j1")
    job = plane.reach("j1", "Stopped")
    plane.jobs.delete("j1")
    plane.reach(job["id"], "Deleted")
    assert not list((plane.root / "store" / "instances").iterdir())
    with pytest.raises(NotFound):
        plane.jobs.job("j1")
    assert plane.jobs.create("web-01", "j1")["status"] == "Ready"


def test_a_source_takes_one_unfinished_job(plane: Plane) -> None:
    Robot(plane).register()
    plane.jobs.create("web-01", "j1")
    with pytest.raises(Conflict, match="InUse"):
        plane.jobs.create("web-01", "j2")


def test_a_failed_pass_shows_its_error_and_the_remedy(plane: Plane) -> None:
    membership = plane.enrol()
    robot = Robot(plane, membership)
    robot.register()
    plane.jobs.create("web-01", "j1")
    plane.jobs.start("j1")
    client = plane.client(membership)
    order = client.take(10.0)
    assert order is not None
    client.finish(order["pass_id"], "failed", Conflict("no snapshot", on="web-01", remedy="consolidate"), {})
    client.finish(order["pass_id"], "failed", Conflict("no snapshot", on="web-01", remedy="consolidate"), {})
    failed = plane.reach("j1", "InError")
    assert (failed["error"]["what"], failed["error"]["remedy"]) == ("no snapshot", "consolidate")
    assert failed["allowed"] == ["start", "delete"]
    with robot:
        plane.jobs.start("j1")
        done = plane.reach("j1", "Finished")
    assert done["error"] is None


def test_image_names_that_are_taken_get_the_jobs_id(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        for name in ("one", "two"):
            plane.jobs.create("web-01", name, image_name="web")
            plane.jobs.start(name)
            job = plane.reach(name, "Finished")
    assert job["images"][0]["name"] == f"web_{job['id']}"
