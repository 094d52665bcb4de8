"""Drills through the control plane: one at a time, with what was found kept; stopped, killed and repeated."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connector.cloud.provider import DRILL_PREFIX
from connector.control.domain.drills import DrillState
from connector.control.domain.jobs import JobStatus
from connector.control.engine.drill_removal import PACE, DrillRemoval
from connector.control.service.drills import DrillOptions
from connector.control.store.drills import KEPT
from connector.control.store.provider_ledger import instance_token
from connector.errors import BadInput, Conflict, NotFound, TargetFailed
from tests.cloud.test_drill_child import runs
from tests.control.conftest import Plane, Robot, machine
from tests.control.fake_conversion import CONVERSION, SECRET
from tests.control.house import House
from tests.control.rehearsals import Rehearsal
from tests.waiting import eventually


class Drilled:
    """A plane with waiting jobs that have an image each."""

    def __init__(self, plane: Plane, *names: str) -> None:
        self.plane = plane
        with Robot(plane) as robot:
            ids = robot.register(*(machine(f"vm-{n}", name) for n, name in enumerate(names)))
            for n, name in enumerate(names):
                plane.jobs.create(ids[f"vm-{n}"], name, run_once=False)
                plane.jobs.start(name)
            for name in names:
                plane.reach(name, "Waiting")

    def behave(self, job: str, word: str) -> None:
        (self.plane.gates / f"drill-{job}_CYCLE_1").write_text(word)

    def ask(self, job: str, **options: Any) -> Any:
        return self.call("StartReplicationJobDrill", job, **options)

    def call(self, operation: str, job: str, **options: Any) -> Any:
        return self.plane.jobs.client.call(operation, JobId=self.plane.jobs.id(job), **options)

    def rows(self, job: str) -> list[Any]:
        answer = self.plane.jobs.client.call("DescribeReplicationJobDrills", JobId=[self.plane.jobs.id(job)])
        return list(answer["Drills"]["Drill"])

    def reach(self, job: str, state: str) -> Any:
        def look() -> Any:
            row = self.rows(job)[0]
            return row if row["State"] == state else None

        return eventually(look, f"the drill of {job} is {state}; log: {self.plane.log}")

    def pids(self, job: str) -> list[int]:
        file = self.plane.gates / f"started-{job}_CYCLE_1"
        words = eventually(lambda: file.exists() and file.read_text().split(), "the program has started")
        file.unlink()
        return [int(word) for word in words]


def test_a_drill_is_done_and_its_result_stays_with_the_job(plane: Plane) -> None:
    drilled = Drilled(plane, "web")
    asked = drilled.ask("web")
    assert (asked["State"], asked["ImageName"], asked["RunNumber"]) == ("Waiting", "web_CYCLE_1", 1)
    row = drilled.reach("web", "Done")
    assert (row["Verdict"], row["Outcome"], row["BootSeconds"]) == ("boots", "login prompt", 31.4)
    assert (row["Network"], row["ConversionSeconds"], row["Phase"]) == ("none", 12.5, "")
    assert "set Conversion to dhcp or keep before the cutover" in row["Note"]
    report = json.loads(row["Report"])
    assert report["conversion"]["changes"][0]["path"] == "/etc/fstab"
    assert {file["Name"] for file in row["Files"]["File"]} == {"console.log", "screen.png"}
    database = (plane.root / "state" / "control.sqlite").read_bytes()
    database += (plane.root / "state" / "control.sqlite-wal").read_bytes()
    assert SECRET.encode() not in database  # only its digest
    log = [event["text"] for event in plane.jobs.job("web")["events"] if event["kind"] == "drill"]
    assert log == [
        "a drill of image web_CYCLE_1 was asked for",
        "the drill of image web_CYCLE_1: a copy boots",
    ]
    plane.restart()
    assert drilled.rows("web") == [row]
    assert plane.status("web") == "Waiting"


def test_the_network_is_the_jobs_unless_another_is_given(plane: Plane) -> None:
    drilled = Drilled(plane, "web")
    plane.jobs.client.call("ModifyReplicationJobAttribute", JobId=plane.jobs.id("web"), Conversion="keep")
    assert drilled.ask("web")["Network"] == "keep"
    assert drilled.reach("web", "Done")["Note"] == ""
    assert drilled.ask("web", Network="dhcp", PlanOnly=True)["Network"] == "dhcp"
    row = drilled.reach("web", "Done")
    assert (row["PlanOnly"], row["Verdict"], row["BootSeconds"]) == (True, "", -1.0)


@pytest.mark.parametrize(
    ("word", "state", "verdict", "text"),
    [
        ("panic", "Done", "does not boot", "VFS: Unable to mount root fs"),
        ("dies", "Failed", "", "has ended without a result"),
        ("garbage", "Failed", "", "what is no message"),
        ("full", "Failed", "", "64 MiB are needed"),
    ],
)
def test_how_a_drill_may_end(plane: Plane, word: str, state: str, verdict: str, text: str) -> None:
    drilled = Drilled(plane, "web")
    drilled.behave("web", word)
    drilled.ask("web")
    row = drilled.reach("web", state)
    assert (row["Verdict"], row["Reason"] or row["ErrorReason"]) == (
        verdict,
        pytest.approx(text),
    ) or text in (row["Reason"] + row["ErrorReason"])


def test_one_runs_and_the_others_wait_and_each_can_be_stopped(plane: Plane) -> None:
    drilled = Drilled(plane, "web", "db")
    drilled.behave("web", "hang")
    drilled.ask("web")
    pids = drilled.pids("web")
    assert drilled.reach("web", "Running")["Phase"] == "converting a copy"
    with pytest.raises(Conflict, match="a drill of this job waits or runs already"):
        drilled.ask("web")
    drilled.ask("db")
    assert drilled.call("StopReplicationJobDrill", "db")["State"] == "Stopped"
    drilled.ask("db")
    assert drilled.rows("db")[0]["State"] == "Waiting"
    drilled.call("StopReplicationJobDrill", "web")
    drilled.reach("web", "Stopped")
    for pid in pids:
        eventually(lambda pid=pid: not runs(pid), f"process {pid} is gone")
    assert drilled.reach("db", "Done")["Verdict"] == "boots"
    with pytest.raises(Conflict, match="no drill of this job waits or runs"):
        drilled.call("StopReplicationJobDrill", "web")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_the_end_of_the_control_plane_ends_a_drill_and_it_can_be_repeated(plane: Plane, how: str) -> None:
    drilled = Drilled(plane, "web", "db")
    drilled.behave("web", "hang")
    drilled.ask("web")
    pids = drilled.pids("web")
    drilled.ask("db")
    if how == "kill":
        plane.kill()
        for pid in pids:
            eventually(lambda pid=pid: not runs(pid), f"process {pid} is gone")
    else:
        plane.child.stop()
        assert not any(runs(pid) for pid in pids)
    drilled.behave("web", "boots")
    plane.start()
    row = drilled.reach("web", "Interrupted")
    assert (row["ErrorReason"], row["ErrorRemedy"]) == ("the control plane ended while it ran", "repeat it")
    assert drilled.reach("db", "Done")["Verdict"] == "boots"  # it waited, so it is done now
    assert not (plane.root / "store" / "drills").exists()
    drilled.ask("web")
    assert drilled.reach("web", "Done")["Verdict"] == "boots"


def test_the_kept_files_are_read_as_they_were_or_not_at_all(plane: Plane) -> None:
    drilled = Drilled(plane, "web")
    drilled.ask("web")
    first = drilled.reach("web", "Done")["DrillId"]
    what = {"DrillId": first, "File": "console.log"}
    found = drilled.call("ExportReplicationJobDrillFile", "web", **what)
    assert base64.b64decode(found["Content"]).decode() == SECRET
    kept = plane.root / "store" / "images" / "web_CYCLE_1" / "drill" / "console.log"
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_text("something else")
    with pytest.raises(NotFound, match=r"console\.log of this drill is not kept here"):
        drilled.call("ExportReplicationJobDrillFile", "web", **what)
    with pytest.raises(NotFound, match="no such drill of this job"):
        drilled.call("ExportReplicationJobDrillFile", "web", DrillId="d-1", File="screen.png")


def test_the_drill_of_a_deleted_job_ends(plane: Plane) -> None:
    drilled = Drilled(plane, "web")
    drilled.behave("web", "hang")
    drilled.ask("web")
    pids = drilled.pids("web")
    plane.jobs.delete("web")
    for pid in pids:
        eventually(lambda pid=pid: not runs(pid), f"process {pid} is gone")


@pytest.fixture
def house(url: str, quick_folder: Path) -> Iterator[House]:
    made = House(url, quick_folder)
    yield made
    made.store.close()


@pytest.fixture
def rehearsal(house: House) -> Iterator[Rehearsal]:
    made = Rehearsal(house)
    yield made
    made.pretended.held.set()
    made.monitor.close()


def test_without_an_image_there_is_nothing_to_try(rehearsal: Rehearsal) -> None:
    job = rehearsal.house.incremental("web")
    with pytest.raises(NotFound, match="has no image yet; let its first run finish"):
        rehearsal.ask(job)


def test_a_target_without_drills_says_so(rehearsal: Rehearsal) -> None:
    job = rehearsal.job()
    rehearsal.house.cloud.drills = None
    with pytest.raises(BadInput, match="offers no drills"):
        rehearsal.ask(job)


def test_a_defect_ends_one_drill_and_the_next_is_done(rehearsal: Rehearsal) -> None:
    job = rehearsal.job()
    rehearsal.pretended.fails = RuntimeError("a defect")
    rehearsal.ask(job)
    failed = rehearsal.done(job)
    assert (failed.state, failed.error and failed.error["error"]) == (DrillState.FAILED, "ConnectorError")
    rehearsal.pretended.fails = TargetFailed("no space", on="/srv", remedy="make room")
    rehearsal.ask(job)
    assert (rehearsal.done(job).error or {})["what"] == "no space"
    rehearsal.pretended.fails = None
    rehearsal.ask(job)
    assert rehearsal.done(job).boots is True


def test_the_oldest_drills_are_forgotten(rehearsal: Rehearsal) -> None:
    job = rehearsal.job()
    for _ in range(KEPT + 2):
        asked = rehearsal.ask(job)
        rehearsal.done(job)
    drills = rehearsal.house.store.drills.of([job])
    assert (len(drills), drills[0].id) == (KEPT, asked.id)
    assert rehearsal.house.store.drills.last([job])[job].id == asked.id


@pytest.mark.parametrize("seconds", [0.0, -3600.0], ids=["the same instant", "a clock set back"])
def test_the_newest_drill_is_the_one_that_was_asked_for_last(rehearsal: Rehearsal, seconds: float) -> None:
    job = rehearsal.job()
    for _ in range(KEPT + 2):
        asked = rehearsal.service.start(job, DrillOptions(), "AK1")
        assert rehearsal.done(job).id == asked.id
        rehearsal.house.clock.advance(seconds)


def test_the_image_of_a_cutover_that_was_rolled_back_is_not_tried(rehearsal: Rehearsal) -> None:
    house = rehearsal.house
    job = rehearsal.job()
    first = house.store.resources.images(job)[0].id
    house.service.cutover(job, last_sync=True, changes={})
    house.run(job)
    house.turn()
    house.carry(power_tasks=True)  # the shutdown
    house.run(job)
    house.service.rollback(job)
    house.turn()
    house.carry(power_tasks=True)
    house.turn()
    assert len(house.store.resources.images(job)) == 2
    assert rehearsal.ask(job).image_id == first


def test_a_closed_monitor_begins_nothing(rehearsal: Rehearsal) -> None:
    job = rehearsal.job()
    rehearsal.ask(job)
    rehearsal.monitor.close()
    rehearsal.monitor.look()
    assert rehearsal.house.store.drills.of([job])[0].state is DrillState.WAITING


def test_a_monitor_that_is_closed_stops_its_drill_and_says_so(rehearsal: Rehearsal) -> None:
    """A graceful stop of the control plane: the row does not wait for the next start to tell the truth."""
    job = rehearsal.job()
    rehearsal.pretended.held.clear()
    rehearsal.ask(job)
    rehearsal.monitor.look()
    rehearsal.monitor.close()
    drill = rehearsal.house.store.drills.of([job])[0]
    assert (drill.state, drill.boots) == (DrillState.INTERRUPTED, None)
    assert drill.error is not None
    assert drill.error["what"] == "the control plane ended while it ran"


def leave(house: House, job: str) -> str:
    """Something that a drill has left in the cloud, which a removal removes; answers its token."""
    token = f"{DRILL_PREFIX}{instance_token(job)}/launch/1"
    house.store.resources.record(job, token, place="cloud", kind="launch", reference="i-1")
    return token


def removing(house: House, owner: str) -> None:
    job = owner.removeprefix(instance_token(""))
    for row in house.store.resources.of(job, "cloud"):
        if row.token.startswith(DRILL_PREFIX):
            house.store.resources.record(job, row.token, place="cloud", kind=row.kind, removed=True)


@pytest.fixture
def removal(house: House) -> DrillRemoval:
    house.cloud.removing_drill = partial(removing, house)
    return DrillRemoval(house.store, house.cloud, house.clock)


def test_what_a_killed_drill_has_left_in_the_cloud_is_removed(
    rehearsal: Rehearsal, removal: DrillRemoval
) -> None:
    job = rehearsal.job()
    leave(rehearsal.house, job)
    removal.look()
    eventually(lambda: not rehearsal.house.store.resources.left_by_drills(), "it is removed")
    assert rehearsal.house.cloud.removed_drills == [instance_token(job)]


def test_a_removal_that_is_refused_is_said_at_its_job_and_holds_up_no_other(
    rehearsal: Rehearsal, removal: DrillRemoval
) -> None:
    house, jobs = rehearsal.house, [rehearsal.job(name) for name in ("web", "db")]
    tokens = [leave(house, job) for job in jobs]
    first = jobs[0]

    def refuse_one(owner: str) -> None:
        if owner == instance_token(first):
            raise TargetFailed("it is protected", on="i-1", remedy="unprotect it")
        removing(house, owner)

    house.cloud.removing_drill = refuse_one
    removal.look()
    eventually(lambda: not removal.is_busy, "it has looked")
    assert house.store.resources.left_by_drills() == [first]
    (left,) = [row for row in house.store.resources.of(first, "cloud") if row.token == tokens[0]]
    assert "could not be removed and goes on costing" in left.trouble
    for _ in range(3):
        removal.look()
    assert house.cloud.removed_drills.count(instance_token(first)) == 1  # not in every look
    house.clock.advance(PACE)
    eventually(
        lambda: removal.look() or house.cloud.removed_drills.count(instance_token(first)) == 2,
        "it is tried again",
    )


def test_a_drill_that_runs_removes_what_it_made_itself(rehearsal: Rehearsal, removal: DrillRemoval) -> None:
    job = rehearsal.job()
    rehearsal.pretended.held.clear()
    rehearsal.ask(job)
    rehearsal.monitor.look()
    leave(rehearsal.house, job)
    removal.look()
    eventually(lambda: not removal.is_busy, "it has looked")
    assert rehearsal.house.cloud.removed_drills == []


def test_a_database_that_was_put_back_asks_the_cloud_once(
    rehearsal: Rehearsal, removal: DrillRemoval
) -> None:
    house, job = rehearsal.house, rehearsal.job()
    for token in (f"{DRILL_PREFIX}{instance_token(job)}", f"{DRILL_PREFIX}{instance_token('j-unknown')}"):
        house.cloud.instances[token] = house.cloud.instances[instance_token(job)]
        house.cloud.requests[token] = house.cloud.requests[instance_token(job)]
    planned = rehearsal.job("db")
    token = f"{DRILL_PREFIX}conversion-{instance_token(planned)}"
    house.cloud.instances[token] = house.cloud.instances[instance_token(planned)]
    house.cloud.requests[token] = house.cloud.requests[instance_token(planned)]
    removal.look()
    both = {instance_token(job), instance_token(planned)}
    eventually(lambda: set(house.cloud.removed_drills) == both, "they are removed")


def test_a_job_is_not_deleted_while_its_drill_has_something_in_the_cloud(
    rehearsal: Rehearsal, removal: DrillRemoval
) -> None:
    house, job = rehearsal.house, rehearsal.job()
    leave(house, job)

    def refuse(_owner: str) -> None:
        raise TargetFailed("it is protected", on="i-1", remedy="unprotect it")

    house.cloud.removing_drill = refuse
    house.service.delete(job)
    with pytest.raises(TargetFailed):
        house.turn()
    assert house.store.jobs.get(job).status is JobStatus.DELETING
    house.cloud.removing_drill = partial(removing, house)
    house.turn()
    assert house.store.jobs.get(job).status is JobStatus.DELETED


def test_a_target_that_converts_nothing_in_a_drill_refuses_what_has_no_effect(rehearsal: Rehearsal) -> None:
    job = rehearsal.job()
    rehearsal.pretended.converts = False
    with pytest.raises(BadInput, match="have no effect"):
        rehearsal.ask(job, network="keep")
    rehearsal.ask(job)
    assert rehearsal.done(job).boots is True
    assert rehearsal.pretended.requests[-1].image is None


def test_a_plan_that_needs_an_instance_is_told_how_the_image_was_made(rehearsal: Rehearsal) -> None:
    job = rehearsal.job()
    rehearsal.pretended.converts = False
    rehearsal.ask(job, plan_only=True, network="keep")
    assert rehearsal.done(job).state is DrillState.DONE
    request = rehearsal.pretended.requests[-1]
    assert request.image is not None
    assert request.image.converter is not None
    assert [disk.key for disk in request.image.disks] == [2000, 2001]
    assert (request.network, request.token) == ("keep", instance_token(job))


def test_what_a_drill_has_is_not_taken_for_gone_when_the_job_ends(rehearsal: Rehearsal) -> None:
    """It has an owner of its own, and does not keep the ended job's instance from being forgotten."""
    house, job = rehearsal.house, rehearsal.job()
    token = leave(house, job)
    house.service.cutover(job, last_sync=False, changes={})
    house.run(job)
    assert str(house.get(job).status) == "Finished"
    (left,) = [row for row in house.store.resources.of(job, "cloud") if row.token == token]
    assert not left.removed
    assert house.store.resources.left_by_drills() == [job]
    assert house.store.resources.left_in_cloud() == []


def test_a_drill_of_a_converted_image_shows_what_its_conversion_changed(rehearsal: Rehearsal) -> None:
    """A target that converts nothing for a drill starts the copy that the run has made."""
    house, job = rehearsal.house, rehearsal.job()
    image = house.store.resources.images(job)[0]
    details = {"location": "m-base", "converted": "m-copy", "conversion": {"conversion": CONVERSION}}
    house.store.resources.complete_image(image.run_id, details)
    rehearsal.pretended.converts, rehearsal.pretended.conversion = False, None
    rehearsal.ask(job)
    report = rehearsal.done(job).report
    assert report is not None
    assert report["conversion"] == CONVERSION
    request = rehearsal.pretended.requests[-1]
    assert (request.location, request.converted) == ("m-base", "m-copy")
