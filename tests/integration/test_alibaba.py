"""From vCenter to an image in ECS: every process is real, the clouds on both sides are simulated, bytes are compared."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from alibabacloud_smc20190601 import models as smc
from alibabacloud_smc20190601.client import Client
from alibabacloud_tea_openapi.models import Config

from connector import child
from connector.cli.main import main
from simulator.cloud.resources import GIB, Image
from simulator.faults import Rule
from tests.cloud.alibaba import Calls, Cloud, cloud
from tests.ecs.account import read
from tests.integration.house import MIB, House, Shape, is_off
from tests.people import owner
from tests.waiting import PATIENCE, eventually

REGION = "cn-hangzhou"
SHAPE = Shape("web-01", ((6 * MIB, 3 * MIB), (4 * MIB + 1536, MIB)), firmware="efi")


class Plane:
    """Control plane and appliance as an operator would start them, for one vCenter and one region."""

    def __init__(self, stack: ExitStack, house: House, region: Cloud, folder: Path, **settings: Any) -> None:
        self._stack, self._folder = stack, folder
        document = {
            "state": str(folder / "control"),
            "provider": "alibaba",
            "alibaba": region.section() | {"attempts": 3} | settings,
        }
        self.config = folder / "control.yaml"
        self.config.write_text(yaml.safe_dump(document))
        self.control = self._start_control()
        ready = {key: str(value) for key, value in self.control.ready.items()}
        self.ready = ready
        self.jobs = owner(ready)
        stack.callback(self.jobs.close)
        self._appliance(house)

    def kill_control(self) -> None:
        """kill -9, then the next one on the same state and at the same address, where the appliance looks for it."""
        os.kill(self.control.pid, signal.SIGKILL)
        self.control.stop()
        self.control = self._start_control(urlsplit(self.ready["url"]).port)

    def _start_control(self, port: int | None = 0) -> child.Child:
        words = ["--config", str(self.config), "--port", str(port), "--exit-with-stdin"]
        log = self._folder / "control.log"
        started = child.start("connector.control", words, name="control plane", log=log, timeout=PATIENCE)
        return self._stack.enter_context(started)

    def _appliance(self, house: House) -> None:
        configuration = {
            "name": "beside-vcenter",
            "vcenter": {
                "url": house.server.url.removesuffix("/sdk"),
                "user": house.server.user,
                "password": house.password,
                "thumbprint": house.server.thumbprint,
            },
            "control": {name: self.ready[name] for name in ("url", "thumbprint", "activation_code_file")},
            "vddk": str(house.vddk),
            "state": str(self._folder / "appliance"),
        }
        self._stack.enter_context(
            child.start(
                "connector.appliance",
                ["--exit-with-stdin"],
                name="appliance",
                configuration=configuration,
                log=self._folder / "appliance.log",
                timeout=PATIENCE,
            )
        )

    def reach(self, job: str, *statuses: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until the job has one of these statuses; any other end is told."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.jobs.status(job)
            if found["status"] in statuses:
                return self.jobs.job(job)
            assert found["status"] in ("Ready", "Running", "Waiting"), json.dumps(found["error"])
            assert time.monotonic() < deadline, (found["status"], found["business_status"], found["phase"])
            time.sleep(0.1)


@pytest.fixture
def region(tmp_path: Path, certificates: Path) -> Iterator[Cloud]:
    with cloud(tmp_path / "cloud", certificates) as made:
        yield made


@pytest.fixture
def plane(make_house: Callable[..., House], region: Cloud, tmp_path: Path) -> Iterator[tuple[Plane, House]]:
    house = make_house(SHAPE)
    with ExitStack() as stack:
        yield Plane(stack, house, region, tmp_path), house


def image_of(region: Cloud, name: str) -> Image:
    return next(image for image in region.region.images if image.name == name)


def same(region: Cloud, image: Image, truth: dict[int, bytes]) -> None:
    """Every byte of every disk, and zeros behind it."""
    assert [disk.device for disk in image.disks] == ["/dev/xvda", "/dev/xvdb"]
    for disk, content in zip(image.disks, truth.values(), strict=True):
        path = region.region.snapshots.get(disk.snapshot).path
        assert path.stat().st_size == disk.size * GIB
        assert read(path, 0, len(content)) == content
        assert not any(read(path, len(content), 8 * MIB))
        assert path.stat().st_blocks * 512 <= len(content) + 2 * MIB  # nothing lies farther behind either


def test_r42_a_machine_becomes_an_image_in_ecs_byte_for_byte_and_nothing_else_is_left(
    plane: tuple[Plane, House], region: Cloud
) -> None:
    whole, house = plane
    before = house.content()
    job = whole.jobs.create("web-01", "web", image_name="web", region=REGION)["id"]
    whole.jobs.start(job)
    done = whole.reach(job, "Finished")
    image = image_of(region, "web")
    same(region, image, before)
    assert (image.boot_mode, image.architecture) == ("UEFI", "x86_64")
    assert [found["id"] for found in done["images"]] == [image.id]
    assert region.census() == {
        **dict.fromkeys(("instances", "disks", "groups", "vpcs", "vswitches"), 0),
        "snapshots": 2,
        "images": 1,
    }
    assert sorted(
        found["kind"]
        for found in done["objects"]
        if found["place"] == "cloud"
        and found["reference"]
        and not found["removed"]
        and found["kind"] not in ("instance", "disk", "launch", "security-group", "vpc", "vswitch")
    ) == ["image", "snapshot", "snapshot"]
    assert not house.snapshots()
    assert not is_off(house.machine())
    logs = "".join((whole._folder / name).read_text() for name in ("control.log", "appliance.log"))
    assert "testsecret" not in logs
    assert "PRIVATE KEY" not in logs


def test_runs_follow_each_other_on_the_same_instance_and_the_official_sdk_sees_the_clouds_own_ids(
    plane: tuple[Plane, House], region: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, house = plane
    first = house.content()
    job = whole.jobs.create("web-01", "web", image_name="web", run_once=False, region=REGION)["id"]
    whole.jobs.start(job)
    waiting = whole.reach(job, "Waiting")
    (instance,) = region.region.instances
    assert instance.goal == "Stopped"
    assert waiting["transition_instance"] == instance.id
    house.write()
    second = house.content()
    whole.jobs.cutover(job, sync_data=True, shutdown_deadline=20)
    done = whole.reach(job, "Finished")
    same(region, image_of(region, "web_CYCLE_1"), first)
    same(region, image_of(region, "web"), second)
    assert is_off(house.machine())
    assert region.census() == {
        **dict.fromkeys(("instances", "disks", "groups", "vpcs", "vswitches"), 0),
        "snapshots": 4,
        "images": 2,
    }
    assert [row["kind"] for row in done["passes"][-1]["disks"]] == ["final", "final"]
    assert all(row["read"] < 4 * MIB for row in done["passes"][-1]["disks"])
    shown = smc_client(whole, capsys).describe_replication_jobs(
        smc.DescribeReplicationJobsRequest(job_id=[job])
    )
    (seen,) = shown.body.replication_jobs.replication_job
    assert seen.image_id == image_of(region, "web").id
    assert [run.image_id for run in seen.replication_job_runs.replication_job_run] == [
        image_of(region, name).id for name in ("web_CYCLE_1", "web")
    ]


class Assassin(Calls):
    """Sets an event when a call comes in, and lets it be carried out."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self.call, self.heard = call, threading.Event()

    def consult(self, call: str, target: str = "") -> Rule | None:
        if call == self.call:
            self.heard.set()
        return super().consult(call, target)


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", ["CreateVpc", "RunInstances", "CreateSnapshot", "CreateImage", "DeleteInstance"]
)
def test_a_control_plane_killed_in_the_middle_of_a_call_leaves_one_of_everything(
    make_house: Callable[..., House], tmp_path: Path, certificates: Path, call: str
) -> None:
    assassin = Assassin(call)
    with ExitStack() as stack:
        region = stack.enter_context(cloud(tmp_path / "cloud", certificates, faults=assassin))
        house = make_house(SHAPE)
        whole = Plane(stack, house, region, tmp_path)
        before = house.content()
        job = whole.jobs.create("web-01", "web", image_name="web", region=REGION)["id"]
        whole.jobs.start(job)
        assert assassin.heard.wait(PATIENCE)
        whole.kill_control()
        whole.reach(job, "Finished")
        same(region, image_of(region, "web"), before)
        assert region.census() == {
            **dict.fromkeys(("instances", "disks", "groups", "vpcs", "vswitches"), 0),
            "snapshots": 2,
            "images": 1,
        }


NOTHING = dict.fromkeys(("instances", "disks", "groups", "vpcs", "vswitches"), 0)
LOGIN = "sh -c 'printf \"web-01 login: \"; exec sleep 1000'"


def drilled(whole: Plane, job: str, **options: str) -> dict[str, Any]:
    """A drill of the job's last image, after it has ended."""
    whole.jobs.client.call("StartReplicationJobDrill", JobId=job, **options)

    def ended() -> dict[str, Any] | None:
        answer = whole.jobs.client.call("DescribeReplicationJobDrills", JobId=[job])
        row: dict[str, Any] = answer["Drills"]["Drill"][0]
        return row if row["State"] not in ("Waiting", "Running") else None

    return eventually(ended, "the drill has ended")


def test_the_image_of_a_job_is_tried_in_the_cloud_and_nothing_of_it_stays(
    make_house: Callable[..., House], tmp_path: Path, certificates: Path
) -> None:
    with ExitStack() as stack:
        region = stack.enter_context(cloud(tmp_path / "cloud", certificates, guest=LOGIN))
        whole = Plane(stack, make_house(SHAPE), region, tmp_path, conversion=True)
        job = whole.jobs.create("web-01", "web", image_name="web", region=REGION)["id"]
        whole.jobs.start(job)
        whole.reach(job, "Finished")
        row = drilled(whole, job)
        assert (row["State"], row["Verdict"]) == ("Done", "boots"), row
        assert {file["Name"] for file in row["Files"]["File"]} == {"console.log", "screen.jpg"}
        assert region.census() == NOTHING | {"snapshots": 2, "images": 1}
        costs = [r for r in whole.jobs.job(job)["objects"] if r["token"].startswith("drill-")]
        assert costs
        assert all(resource["removed"] for resource in costs)


@pytest.mark.slow
def test_a_guest_that_nobody_can_convert_has_its_image_and_the_reason(
    make_house: Callable[..., House], tmp_path: Path, certificates: Path
) -> None:
    """The disks of the simulator hold no operating system. The conversion runs on an instance of its own, to its end."""
    with ExitStack() as stack:
        region = stack.enter_context(cloud(tmp_path / "cloud", certificates))
        house = make_house(SHAPE)
        whole = Plane(stack, house, region, tmp_path, conversion=True)
        before = house.content()
        job = whole.jobs.create("web-01", "web", image_name="web", region=REGION)["id"]
        whole.jobs.client.call("ModifyReplicationJobAttribute", JobId=job, Conversion="dhcp")
        whole.jobs.start(job)
        (image,) = whole.reach(job, "Finished")["images"]
        assert "not converted: " in image["details"]["note"]
        same(region, image_of(region, "web"), before)
        assert region.calls.seen.count("RunInstances") == 2
        assert region.census() == NOTHING | {"snapshots": 2, "images": 1}
        plan = drilled(whole, job, PlanOnly="true", Network="keep")
        assert (plan["State"], plan["Verdict"]) == ("Done", ""), plan
        assert plan["Refusal"] in image["details"]["note"]
        assert region.calls.seen.count("RunInstances") == 3
        assert region.census() == NOTHING | {"snapshots": 2, "images": 1}


def smc_client(whole: Plane, capsys: pytest.CaptureFixture[str]) -> Client:
    words = ["control", "key", "create", "--state", whole.ready["state"], "--name", "test", "--json"]
    assert main(words) == 0
    key = json.loads(capsys.readouterr().out)
    return Client(
        Config(
            access_key_id=key["access_key_id"],
            access_key_secret=key["access_key_secret"],
            endpoint=whole.ready["url"].removeprefix("https://"),
            ca=str(Path(whole.ready["state"]) / "control.crt"),
        )
    )
