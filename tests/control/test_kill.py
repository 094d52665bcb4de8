"""kill -9 of the control plane in the middle of every step: nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from connector import child
from connector.control.domain.entities import Outcome
from connector.control.domain.jobs import JobEvent
from connector.control.store import Store
from connector.errors import Conflict
from tests.cloud.test_drill_child import runs
from tests.control.conftest import Plane, Robot, machine, taken
from tests.waiting import eventually


def _finished_once(plane: Plane, job: str) -> None:
    done = plane.reach(job, "Finished")
    assert [image["name"] for image in done["images"]] == [job]
    assert all(image["ready"] for image in done["images"])
    assert len(done["passes"]) == 1
    assert len(done["runs"]) == 1
    assert not list((plane.root / "store" / "instances").iterdir())
    assert {f.name for f in (plane.root / "store" / "images" / job).iterdir()} == {
        f"{job}.qcow2",
        "machine.json",
        "machine.xml",
    }


def test_killed_in_every_step_of_one_run(plane: Plane) -> None:
    """And invariant 7: the instance is recorded before it is created."""
    with Robot(plane) as robot:
        robot.register()
        plane.hold("prepare")
        plane.jobs.create("web-01", "j1")
        plane.jobs.start("j1")
        for gate, following in (("prepare", "image"), ("image", "clean"), ("clean", None)):
            plane.at(gate)
            if gate == "prepare":
                (resource,) = plane.jobs.job("j1")["objects"]
                assert (resource["kind"], resource["reference"], resource["removed"]) == (
                    "instance",
                    None,
                    False,
                )
            plane.kill()
            if following is not None:
                plane.hold(following)
            plane.let_go(gate)
            plane.start()
        _finished_once(plane, "j1")
        assert plane.jobs.job("j1")["objects"][0]["reference"]


def test_killed_while_an_appliance_syncs_and_the_instance_is_back_for_it(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        robot.pause.set()
        plane.jobs.create("web-01", "j1")
        plane.jobs.start("j1")
        eventually(lambda: robot.orders, "the pass is taken")
        (starts,) = (plane.root / "store").glob("instances/*/data/starts")
        plane.restart()
        eventually(lambda: len(starts.read_text().split()) == 2, "the instance is started again")
        assert _address(plane) == robot.orders[0]["instance"]["host"]
        robot.pause.clear()
        _finished_once(plane, "j1")


def test_killed_while_the_image_is_converted(plane: Plane) -> None:
    """The image is whole: it is converted again, and not made again. Nothing of the first conversion goes on."""
    (plane.gates / "convert-j1").write_text("hang")
    with Robot(plane) as robot:
        robot.register()
        plane.jobs.create("web-01", "j1")
        plane.jobs.client.call("ModifyReplicationJobAttribute", JobId=plane.jobs.id("j1"), Conversion="dhcp")
        plane.jobs.start("j1")
        file = plane.gates / "started-j1"
        pids = eventually(lambda: file.exists() and file.read_text().split(), "the conversion runs")
        (disk,) = (plane.root / "store" / "images" / "j1").glob("*.qcow2")
        before = disk.stat()
        plane.kill()
        for pid in pids:
            eventually(lambda pid=pid: not runs(int(pid)), f"process {pid} has ended")
        (plane.gates / "convert-j1").unlink()
        plane.start()
        _finished_once(plane, "j1")
        (image,) = plane.jobs.job("j1")["images"]
        assert "the stand-in converts nothing" in image["details"]["note"]
        assert (disk.stat().st_ino, disk.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def _address(plane: Plane) -> str:
    """Where the instance of the only job is, as it is written down."""
    store = Store(f"sqlite:///{plane.root / 'state' / 'control.sqlite'}")
    (job,) = store.jobs.all()
    store.close()
    assert job.instance is not None
    return job.instance.host


def test_killed_before_anybody_took_the_pass(plane: Plane) -> None:
    robot = Robot(plane)
    robot.register()
    plane.jobs.create("web-01", "j1")
    plane.jobs.start("j1")
    plane.reach("j1", "Running/Syncing")
    plane.restart()
    with robot:
        _finished_once(plane, "j1")


def test_a_lost_engine_file_or_a_broken_workflow_costs_nothing(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        robot.pause.set()
        plane.jobs.create("web-01", "j1")
        plane.jobs.start("j1")
        eventually(lambda: robot.orders, "the pass is taken")
        plane.kill()
        for file in (plane.root / "state").glob("engine.sqlite*"):
            file.unlink()
        plane.restart()
        plane.reach("j1", "Running/Syncing")
        plane.kill()
        with sqlite3.connect(plane.root / "state" / "engine.sqlite") as engine:
            broken = engine.execute("UPDATE workflow_status SET status = 'ERROR' WHERE status = 'PENDING'")
            assert broken.rowcount == 1
        plane.start()
        robot.pause.clear()
        _finished_once(plane, "j1")


def test_killed_again_and_again_at_no_chosen_moment(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        plane.jobs.create("web-01", "j1")
        plane.jobs.start("j1")
        for _ in range(3):
            plane.restart()
        _finished_once(plane, "j1")


def test_r57_a_killed_instance_is_started_again_under_a_running_pass_and_said_so(plane: Plane) -> None:
    with Robot(plane) as robot:
        robot.register()
        robot.pause.set()
        plane.jobs.create("web-01", "j1")
        plane.jobs.start("j1")
        eventually(lambda: robot.orders, "the pass is taken")
        (starts,) = (plane.root / "store").glob("instances/*/data/starts")
        os.kill(int(starts.read_text()), signal.SIGKILL)
        eventually(lambda: len(starts.read_text().split()) == 2, "the instance is started again")
        robot.pause.clear()
        _finished_once(plane, "j1")
        log = [entry["text"] for entry in plane.jobs.job("j1")["events"]]
        assert "the intermediate instance was started again" in log


def test_no_instance_outlives_a_killed_control_plane(plane: Plane) -> None:
    Robot(plane).register()
    plane.jobs.create("web-01", "j1")
    plane.jobs.start("j1")
    plane.reach("j1", "Running/Syncing")
    (starts,) = (plane.root / "store").glob("instances/*/data/starts")
    pid = int(starts.read_text())
    plane.kill()
    eventually(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), "the instance ends")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_r31_a_silent_appliance_loses_its_pass_to_another(make_plane: Callable[..., Plane]) -> None:
    plane = make_plane(grace=5.0)
    silent = plane.enrol("silent")
    Robot(plane, silent).register()
    plane.jobs.create("web-01", "j1")
    plane.jobs.start("j1")
    client = plane.client(silent)
    lost = taken(client)
    eventually(lambda: plane.jobs.job("j1")["passes"][-1]["attempt"] == 2, "the pass is offered again")
    with pytest.raises(Conflict, match="not yours"):
        client.finish(lost["pass_id"], "done", None, {})
    assert client.heartbeat([lost["pass_id"]]).stop == (lost["pass_id"],)
    with Robot(plane, plane.enrol("other")):
        done = plane.reach("j1", "Finished")
    *earlier, last = (found["state"] for found in done["passes"])
    assert (set(earlier), last) == ({"Lost"}, "Finished")  # a busy computer may lose more than one


def test_r30_r31_a_restarted_appliance_gets_its_pass_again(make_plane: Callable[..., Plane]) -> None:
    plane = make_plane(grace=6.0)
    membership = plane.enrol()
    Robot(plane, membership).register()
    plane.jobs.create("web-01", "j1")
    plane.jobs.start("j1")
    client = plane.client(membership)
    first = taken(client)
    client.record(first["pass_id"], "snap-1", "snapshot", None)
    client.record(first["pass_id"], "snap-1", "snapshot", "snapshot-7")
    eventually(lambda: not client.heartbeat([]).stop and client.take(0.0), "the pass is offered again")
    found = plane.jobs.job("j1")["passes"]
    assert [p["state"] for p in found] == ["Lost", "Taken"]


def test_earlier_objects_come_with_the_next_order(plane: Plane) -> None:
    membership = plane.enrol()
    Robot(plane, membership).register()
    plane.jobs.create("web-01", "j1")
    plane.jobs.start("j1")
    client = plane.client(membership)
    first = taken(client)
    client.record(first["pass_id"], "snap-1", "snapshot", None)
    client.record(first["pass_id"], "snap-1", "snapshot", "snapshot-7")
    client.record(first["pass_id"], "snap-1", "snapshot", None)
    client.finish(first["pass_id"], "failed", Conflict("broken"), {})
    plane.reach("j1", "InError")
    plane.jobs.start("j1")
    second = taken(client)
    assert second["objects"] == [
        {"token": "snap-1", "kind": "snapshot", "moref": "snapshot-7", "removed": False, "trouble": ""}
    ]


def test_what_was_written_just_before_the_kill_is_not_forgotten(plane: Plane) -> None:
    """A report that woke nobody, a start whose workflow never began, a deletion likewise."""
    with pytest.raises(Conflict, match="another control plane works"):
        child.start("tests.control.fake_plane", [str(plane.root), "60", "", "{}"], name="second")
    membership = plane.enrol()
    names = ("reported", "started", "deleted")
    Robot(plane, membership).register(*(machine(f"vm-{name}", name) for name in names))
    ids = {name: plane.jobs.create(name, name)["id"] for name in names}
    for name in ("deleted", "reported"):
        plane.jobs.start(name)
        plane.reach(name, "Running/Syncing")
    plane.jobs.stop("deleted")
    plane.reach("deleted", "Stopped")
    order = taken(plane.client(membership))
    plane.show(order)
    plane.client(membership).evidence(order["pass_id"], plane.evidence(membership, order))
    plane.kill()
    store = Store(f"sqlite:///{plane.root / 'state' / 'control.sqlite'}")
    (appliance,) = store.appliances.all()
    store.pass_ends.finish(order["pass_id"], appliance, Outcome.DONE, None, {})
    store.jobs.begin(ids["started"], JobEvent.START)
    store.jobs.apply(ids["deleted"], JobEvent.DELETE)
    store.close()
    plane.start()
    with Robot(plane, membership):
        for name in ("reported", "started"):
            done = plane.reach(name, "Finished")
            assert [len(done[what]) for what in ("images", "passes", "runs")] == [1, 1, 1]
    plane.gone(ids["deleted"])
    assert not list((plane.root / "store" / "instances").iterdir())


def test_sources_go_and_come_with_their_last_appliance(make_plane: Callable[..., Plane]) -> None:
    plane = make_plane(grace=1.5)
    membership = plane.enrol()
    Robot(plane, membership).register()
    eventually(lambda: plane.jobs.source("web-01")["state"] == "Unavailable", "the source is offline")
    with pytest.raises(Conflict, match="no appliance of its vCenter is online"):
        plane.jobs.create("web-01", "j1")

    def is_back() -> bool:
        plane.client(membership).heartbeat([])
        return bool(plane.jobs.source("web-01")["state"] == "Available")

    eventually(is_back, "the source is back")
