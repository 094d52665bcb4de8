"""Requirements that are one refusal or one field of the public API, each under its number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_smc20190601 import models
from alibabacloud_smc20190601.client import Client
from Tea.exceptions import TeaException

from connector.cloud import machine_files
from connector.cloud.machine_files import ImageDisk, MachineDescription
from connector.control.domain.access import Role
from connector.control.smc import shapes
from connector.model import Finding, Severity
from tests.control.conftest import Plane, machine
from tests.smc.conftest import REGION, Cloud, fresh
from tests.smc.test_sdk_jobs import code, create, iso, job_of, reach, start
from tests.smc.test_sdk_rest import found, source_of
from tests.waiting import eventually


@pytest.fixture
def client(cloud: Cloud) -> Client:
    return cloud.client(Role.OPERATOR)


def refusal(cloud: Cloud, client: Client, **fields: Any) -> str:
    """The code under which a job like this is refused; the source stays free."""
    source = fields.pop("source_id", None) or cloud.source()
    request = models.CreateReplicationJobRequest(region_id=REGION, source_id=source, job_type=3)
    for name, value in fields.items():
        setattr(request, name, value)
    answer = code(client, "create_replication_job", request)
    assert source_of(client, source).state == "Available"
    return answer


def test_r23_byol_is_echoed_and_any_other_licence_refused(cloud: Cloud, client: Client) -> None:
    assert refusal(cloud, client, license_type="OEM") == "InvalidParameter.LicenseType"
    for licence in ("BYOL", ""):
        assert job_of(client, create(client, cloud.source(), license_type=licence)).license_type == licence


def test_r34_a_finished_source_takes_a_new_job(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    with robot:
        for _ in range(2):
            job = create(client, ids[name])
            assert source_of(client, ids[name]).state == "InUse"
            start(client, job)
            reach(client, job, "Finished")
            row = source_of(client, ids[name])
            assert (row.state, row.job_id) == ("Available", job)


def test_r43_x20_incremental_jobs_make_images(cloud: Cloud, client: Client) -> None:
    wanted = {"run_once": False, "frequency": 1, "max_number_of_image_to_keep": 1, "instance_id": "i-1"}
    answer = refusal(cloud, client, target_type="TargetInstance", **wanted)
    assert answer == "InvalidParameter.TargetType"


@pytest.mark.parametrize(
    ("own", "other"),
    [("windows2019srv_64Guest", "debian12_64Guest"), ("debian12_64Guest", "windows2019srv_64Guest")],
)
def test_r43_r47_windows_goes_onto_windows_and_linux_onto_linux(
    cloud: Cloud, client: Client, own: str, other: str
) -> None:
    source = cloud.sources(dataclasses.replace(machine("vm-1", fresh("vm"), 1), guest_id=own))[1]
    (source_id,) = source.values()
    unlike, alike = (existing_machine(cloud, guest) for guest in (other, own))
    for target in ("TargetInstance", "Instance"):
        answer = refusal(cloud, client, source_id=source_id, target_type=target, instance_id=unlike)
        assert answer == "InvalidParameter.InstanceId"
    job = create(client, source_id, target_type="Instance", instance_id=alike)
    assert (job_of(client, job).target_type, job_of(client, job).instance_id) == ("TargetInstance", alike)


def test_r45_r46_an_instance_of_another_account_or_region_is_not_there(cloud: Cloud, client: Client) -> None:
    for name in ("i-of-another-account", "../images", ""):
        answer = refusal(cloud, client, target_type="TargetInstance", instance_id=name)
        assert answer == ("InvalidParameter.InstanceId" if name else "MissingParameter.InstanceId")
    assert refusal(cloud, client, instance_id=existing_machine(cloud)) == "InvalidParameter.InstanceId"


def existing_machine(cloud: Cloud, guest: str = "debian12_64Guest", name: str = "") -> str:
    """A machine of the user in the target, with one disk of 10 GiB that takes no space."""
    name = name or fresh("machine")
    directory = cloud.plane.root / "store" / "machines" / name
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "disk.raw").open("wb") as disk:
        disk.truncate(10 << 30)
    described = MachineDescription(name, (ImageDisk("disk.raw", "raw", 10 << 30),), guest_id=guest)
    for file, content in machine_files.files(described, directory).items():
        (directory / file).write_bytes(content)
    return name


@pytest.mark.parametrize("name", ["Excludes.1", "ExcludeList", "Exclude"])
def test_r22_r66_an_exclude_list_is_refused_never_ignored(cloud: Cloud, name: str) -> None:
    source = cloud.source()
    given = {"RegionId": REGION, "SourceId": source, name: "/var/tmp/"}
    answer = cloud.raw("CreateReplicationJob", given)
    assert (answer.status_code, answer.json()["Code"]) == (400, "UnknownParameter")
    assert source_of(cloud.client(), source).state == "Available"


def test_r44_container_images_are_refused(cloud: Cloud, client: Client) -> None:
    assert refusal(cloud, client, target_type="ContainerImage") == "InvalidParameter.TargetType"


@pytest.mark.parametrize("size, whole", [(1, 1), (1 << 30, 1), ((1 << 30) + 1, 2), (40 << 30, 40)])
def test_r50_sizes_are_whole_gib_rounded_up(size: int, whole: int) -> None:
    assert shapes.gib(size) == whole


@pytest.mark.parametrize("guest", ["windows2019srv_64Guest", "debian12_64Guest"])
def test_r64_r65_everything_is_block_replication(cloud: Cloud, client: Client, guest: str) -> None:
    name = fresh("vm")
    source = cloud.sources(dataclasses.replace(machine("vm-1", name), guest_id=guest))[1][name]
    part = models.CreateReplicationJobRequestSystemDiskPart(device="0_0", size_bytes=1, block=False)
    answer = refusal(cloud, client, source_id=source, system_disk_part=[part])
    assert answer == "InvalidParameter.SystemDiskPart.Block"
    part.block = None
    job = job_of(client, create(client, source, system_disk_part=[part]))
    assert job.system_disk_parts.system_disk_part[0].block is True


def test_r67_only_an_available_source_takes_a_job(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name), machine("vm-2", f"{name}-b"))
    robot.register(machine("vm-2", f"{name}-b"))
    request = models.CreateReplicationJobRequest(region_id=REGION, source_id=ids[name])
    assert code(client, "create_replication_job", request) == "SourceServerState.Invalid"


def test_a_finding_that_blocks_the_source_is_the_reason(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    finding = Finding("D1", Severity.BLOCK, name, "its disk is shared", "detach the shared disk")
    cloud.plane.client(robot.membership).put_sources([machine("vm-1", name)], {"vm-1": [finding]})
    request = models.CreateReplicationJobRequest(region_id=REGION, source_id=ids[name])
    with pytest.raises(TeaException, match="its disk is shared") as refused:
        client.create_replication_job(request)
    assert refused.value.code == "SourceServer.Ineligible"
    assert refused.value.data["Recommend"] == "detach the shared disk"


def test_r73_an_added_disk_shows_after_a_rescan(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name, 1))
    robot.register(machine("vm-1", name, 2))
    assert [disk.index for disk in source_of(client, ids[name]).data_disks.data_disk] == [1]


def test_r76_r93_a_job_in_error_keeps_its_source_until_it_is_deleted(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    job = create(client, ids[name])
    start(client, job)
    appliance = cloud.plane.client(robot.membership)
    order = eventually(lambda: appliance.take(1.0), "the pass is offered")
    appliance.finish(order["pass_id"], "failed", None, {})
    failed = reach(client, job, "InError")
    assert failed.error_code
    assert failed.status_info
    request = models.CreateReplicationJobRequest(region_id=REGION, source_id=ids[name])
    refused = code(client, "create_replication_job", request)
    assert refused == "SourceServer.WithUnfinishedReplicationJob"
    client.delete_replication_job(models.DeleteReplicationJobRequest(job_id=job))
    create(client, ids[name])  # R92: while the other is being deleted


def test_r84_a_new_job_is_ready(cloud: Cloud, client: Client) -> None:
    job = job_of(client, create(client, cloud.source()))
    assert (job.status, job.business_status, job.progress) == ("Ready", "", 0.0)
    assert (job.start_time, job.end_time, job.replication_job_runs.replication_job_run) == ("", "", [])


def test_r91_a_waiting_job_may_be_stopped(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    with robot:
        job = create(client, ids[name], run_once=False, frequency=1, max_number_of_image_to_keep=1)
        start(client, job)
        reach(client, job, "Waiting")
        client.stop_replication_job(models.StopReplicationJobRequest(job_id=job))
        reach(client, job, "Stopped")


def test_r103_operating_system_migration_is_refused(cloud: Cloud, client: Client) -> None:
    assert refusal(cloud, client, job_type=1) == "InvalidParameter.JobType"


def test_r109_a_powered_off_machine_is_available(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    off = dataclasses.replace(machine("vm-1", name), power="poweredOff", guest_id="", guest_name="")
    source = cloud.sources(off)[1][name]
    assert (source_of(client, source).state, source_of(client, source).platform) == ("Available", "")


def test_x1_names_of_jobs_follow_the_rule(cloud: Cloud, client: Client) -> None:
    for name in ("a", "1a", "a b", "http://a", "a" * 129):
        assert refusal(cloud, client, name=name) == "InvalidParameter.Name"


def test_x2_incremental_jobs_need_an_interval_and_a_number_of_images(cloud: Cloud, client: Client) -> None:
    assert refusal(cloud, client, run_once=False) == "MissingParameter.Frequency"
    answer = refusal(cloud, client, run_once=False, frequency=1)
    assert answer == "MissingParameter.MaxNumberOfImageToKeep"
    for hours in (0, 169):
        assert refusal(cloud, client, run_once=False, frequency=hours) == "InvalidParameter.Frequency"


def test_x6_a_start_is_scheduled_at_most_30_days_ahead(cloud: Cloud, client: Client) -> None:
    answer = refusal(cloud, client, scheduled_start_time=iso(30.1 * 86400))
    assert answer == "InvalidParameter.ScheduledStartTime"
    when = iso(29.9 * 86400)
    job = create(client, cloud.source(), scheduled_start_time=when)
    assert job_of(client, job).scheduled_start_time == when


def test_x18_targets_are_no_smaller_than_their_sources(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    big = machine("vm-1", name, 1)
    big = dataclasses.replace(big, disks=(dataclasses.replace(big.disks[0], capacity=(30 << 30) + 512),))
    source = cloud.sources(big)[1][name]
    answer = refusal(cloud, client, source_id=source, system_disk_size=30)
    assert answer == "InvalidParameter.SystemDiskSize"
    create(client, source, system_disk_size=31)


def test_r68_a_silent_appliance_takes_its_sources_offline_until_it_is_back(
    silent: Cloud,
) -> None:
    client, name = silent.client(), fresh("vm")
    robot, ids = silent.sources(machine("vm-1", name))
    appliance = silent.plane.client(robot.membership)

    def is_back() -> bool:
        appliance.heartbeat([])
        return found(client, source_id=[ids[name]], state="Available") == [ids[name]]

    eventually(is_back, "its source is online")
    eventually(lambda: source_of(client, ids[name]).state == "Unavailable", "its source is offline")
    row = source_of(client, ids[name])
    assert row.error_code == "SourceServer.Offline"
    assert "SourceServer.Offline" in row.status_info
    eventually(is_back, "its source is back")


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A control plane that misses appliances after a second and a half."""
    (tmp_path / "gates").mkdir()
    monkeypatch.setenv("FAKE_GATES", str(tmp_path / "gates"))
    plane = Plane(tmp_path, grace=1.5)
    yield Cloud(plane)
    plane.kill()
