"""The operations on drills answer what their tables promise, and who may look may see what a drill kept."""

from __future__ import annotations

import base64

import pytest

from connector.control.domain.access import Role
from connector.errors import BadInput
from tests.control.conftest import machine
from tests.control.fake_conversion import SECRET
from tests.smc.conftest import Cloud, fresh
from tests.smc.test_extensions import ask
from tests.waiting import eventually


@pytest.fixture
def job(cloud: Cloud) -> str:
    """A job that waits, with one image."""
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name, 1))
    with robot:
        made = cloud.plane.jobs.create(ids[name], name, run_once=False)
        cloud.plane.jobs.start(name)
        cloud.plane.reach(name, "Waiting")
    return str(made["id"])


def test_answers_are_as_their_tables_say(cloud: Cloud, job: str) -> None:
    asked = ask(cloud, "StartReplicationJobDrill", Role.OPERATOR, JobId=job, Network="keep", Timeout=30)
    assert (asked["State"], asked["Network"], asked["AskedBy"]) == (
        "Waiting",
        "keep",
        cloud.keys[Role.OPERATOR][0],
    )

    def done() -> object:
        (row,) = ask(cloud, "DescribeReplicationJobDrills", JobId__1=job)["Drills"]["Drill"]
        return row if row["State"] == "Done" else None

    eventually(done, "the drill is done")
    what = {"JobId": job, "DrillId": asked["DrillId"], "File": "console.log"}
    found = ask(cloud, "ExportReplicationJobDrillFile", Role.READER, **what)
    assert base64.b64decode(found["Content"]).decode() == SECRET
    ask(cloud, "StartReplicationJobDrill", Role.OPERATOR, JobId=job, PlanOnly="true")
    rows = ask(cloud, "DescribeReplicationJobDrills", JobId__1=job, LastOnly="true", PlanOnly="false")
    assert [row["DrillId"] for row in rows["Drills"]["Drill"]] == [asked["DrillId"]]


@pytest.mark.parametrize(
    ("name", "value"), [("Network", "static"), ("Timeout", "9"), ("Marker", "("), ("Marker", "x" * 257)]
)
def test_a_wrong_value_is_refused(cloud: Cloud, name: str, value: str) -> None:
    job = cloud.plane.jobs.create(cloud.source(), fresh("job"))["id"]
    with pytest.raises(BadInput, match=f"InvalidParameter.{name}"):
        cloud.plane.jobs.client.call("StartReplicationJobDrill", JobId=job, **{name: value})
