"""The way back, rehearsed with every process: cut over, find the target wanting, and have the source again as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from pydantic import SecretStr

from connector.cli import records
from connector.cli.report import report
from connector.cli.stack import Stack, StackLocation
from connector.settings import VCenterSettings
from simulator.faults import Rule
from tests.integration.house import MIB, House, Shape, equal, is_off
from tests.people import People
from tests.waiting import PATIENCE, pauses

TINY = ((2 * MIB, MIB),)


def stack(house: House) -> Stack:
    access = VCenterSettings(
        url=house.server.url, thumbprint=house.server.thumbprint, password=SecretStr(house.password)
    )
    return Stack(StackLocation(access, house.vddk, house.out))


def reach(running: Stack, job: str, status: str, seconds: float = PATIENCE) -> dict[str, Any]:
    deadline, jobs, waits = time.monotonic() + seconds, People(client=running.client), pauses()
    while (found := jobs.status(job))["status"] != status:
        running.check()
        assert time.monotonic() < deadline and found["status"] in ("Running", "Waiting"), found
        time.sleep(next(waits))
    return jobs.job(job) | {"downtime": jobs.forecast(job)}


def test_a_cutover_and_its_way_back(make_house: Callable[..., House]) -> None:
    house = make_house(Shape("web-01", TINY))
    with stack(house) as running:
        jobs = People(client=running.client)
        jobs.create("web-01", "web", run_once=False, image_format="raw")
        jobs.start("web")
        assert reach(running, "web", "Waiting")["downtime"] is None
        house.write()
        jobs.start("web")
        told = reach(running, "web", "Waiting")["downtime"]
        assert told["changed"] > 0 and told["seconds"] > told["shutdown"] > 0
        house.witness.add(Rule("QueryChangedDiskAreas", "fault", fault="NoPermission"))
        jobs.cutover("web")
        broken = reach(running, "web", "InError")
        assert is_off(house.machine()) and broken["down_since"]
        jobs.start("web")
        done = reach(running, "web", "Finished")
        equal(house, "web-01", "web")
        final = done["passes"][-1]
        assert final["final"]
        (row,) = records.items(
            running.client.call("DescribeReplicationJobProgress", JobId=[done["id"]]),
            "ReplicationJobs",
            "ReplicationJob",
        )
        said = report(running.client, row)
        down = datetime.fromisoformat(broken["down_since"]).timestamp()
        took = said.downtime["measured"]
        assert took is not None and took == pytest.approx(said.images[-1]["completed"] - down, abs=1.01)
        assert said.downtime["predicted"] == pytest.approx(told["seconds"], rel=0.9)
        assert [row.downtime for row in said.disks] == [None, None, took]
        jobs.rollback("web")
        back = reach(running, "web", "Stopped")
        vm = house.machine()
        assert not is_off(vm) and not vm.change_tracking and not house.snapshots()
        assert any("powered on again, CBT off as before" in event["text"] for event in back["events"])
        assert back["allowed"] == ["start", "rollback", "delete"]
