"""The current official SDK, unmodified, drives jobs from their creation to their end."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from typing import Any

import pytest
from alibabacloud_smc20190601 import models
from alibabacloud_smc20190601.client import Client
from Tea.exceptions import TeaException

from connector.control.domain.access import Role
from tests.control.conftest import machine
from tests.smc.conftest import REGION, Cloud, fresh
from tests.waiting import eventually


def create(client: Client, source: str, **fields: Any) -> str:
    request = models.CreateReplicationJobRequest(
        region_id=REGION, source_id=source, job_type=3, **{"target_type": "Image"} | fields
    )
    return str(client.create_replication_job(request).body.job_id)


def job_of(client: Client, job: str) -> Any:
    body = client.describe_replication_jobs(models.DescribeReplicationJobsRequest(job_id=[job])).body
    assert body is not None
    assert body.total_count == 1
    return body.replication_jobs.replication_job[0]


def reach(client: Client, job: str, status: str) -> Any:
    return eventually(lambda: (found := job_of(client, job)).status == status and found, f"{job} is {status}")


def code(client: Client, call: str, request: Any) -> str:
    with pytest.raises(TeaException) as refused:
        getattr(client, call)(request)
    assert 400 <= refused.value.statusCode < 500
    return str(refused.value.code)


def start(client: Client, job: str) -> None:
    client.start_replication_job(models.StartReplicationJobRequest(job_id=job))


def iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


@pytest.fixture
def client(cloud: Cloud) -> Client:
    return cloud.client(Role.OPERATOR)


def test_a_job_from_import_to_finished(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    with robot:
        job = create(client, ids[name], name=name, image_name=f"{name}-image")
        assert job_of(client, job).status == "Ready"
        start(client, job)
        done = reach(client, job, "Finished")
    assert (done.progress, done.error_code, done.job_type, done.run_once) == (100.0, "", 3, True)
    assert (done.region_id, done.target_type, done.image_name) == (REGION, "Image", f"{name}-image")
    (run,) = done.replication_job_runs.replication_job_run
    assert (run.type, run.image_id) == ("Manual", done.image_id)
    assert done.image_id.startswith("m-")
    assert run.start_time <= run.end_time == done.end_time
    assert client.delete_replication_job(models.DeleteReplicationJobRequest(job_id=job)).body.request_id


def test_r98_an_incremental_job_waits_between_runs_and_ends_with_cut_over(
    cloud: Cloud, client: Client
) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    with robot:
        job = create(
            client, ids[name], name=name, run_once=False, frequency=12, max_number_of_image_to_keep=3
        )
        for _ in range(2):
            start(client, job)
            waits = reach(client, job, "Waiting")
        assert (waits.run_once, waits.frequency, waits.max_number_of_image_to_keep) == (False, 12, 3)
        assert len(waits.replication_job_runs.replication_job_run) == 2
        client.cut_over_replication_job(models.CutOverReplicationJobRequest(job_id=job, sync_data=True))
        done = reach(client, job, "Finished")
    assert len(done.replication_job_runs.replication_job_run) == 3
    assert [order["final"] for order in robot.orders] == [False, False, True]


def test_x9_x23_cut_over_without_a_last_run_is_the_default(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    with robot:
        job = create(client, ids[name], run_once=False, frequency=1, max_number_of_image_to_keep=1)
        request = models.CutOverReplicationJobRequest(job_id=job)
        assert code(client, "cut_over_replication_job", request) == "ReplicationJob.InvalidStatus"
        start(client, job)
        reach(client, job, "Waiting")
        client.cut_over_replication_job(request)
        reach(client, job, "Finished")
    assert len(robot.orders) == 1


def test_r87_r88_stop_while_syncing_pauses_and_start_resumes(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    robot.pause.set()
    with robot:
        job = create(client, ids[name])
        stop = models.StopReplicationJobRequest(job_id=job)
        delete = models.DeleteReplicationJobRequest(job_id=job)
        assert code(client, "stop_replication_job", stop) == "ReplicationJob.InvalidStatus"
        start(client, job)
        eventually(lambda: robot.orders, "the pass is taken")
        running = job_of(client, job)
        assert (running.status, running.business_status) == ("Running", "Syncing")
        assert code(client, "delete_replication_job", delete) == "ReplicationJob.InvalidStatus"  # R86
        request = models.StartReplicationJobRequest(job_id=job)
        assert code(client, "start_replication_job", request) == "ReplicationJob.InvalidStatus"
        client.stop_replication_job(stop)
        reach(client, job, "Stopped")
        client.delete_replication_job(delete)
        source = models.DescribeSourceServersRequest(source_id=[ids[name]])
        body = client.describe_source_servers(source).body
        assert body.source_servers.source_server[0].state == "Available"


def test_every_field_of_the_definition_is_echoed(cloud: Cloud, client: Client) -> None:
    source = cloud.source(disks=3)
    part = models.CreateReplicationJobRequestSystemDiskPart(device="0_0", size_bytes=1 << 30, block=True)
    data_part = models.CreateReplicationJobRequestDataDiskPart(device="2_0", size_bytes=1 << 30)
    asked = {
        "name": fresh("job"),
        "description": "Wave one, night shift",
        "image_name": fresh("image"),
        "instance_ram_role": "role",
        "instance_type": "ecs.t6-c1m2.large",
        "launch_template_id": "lt-1",
        "launch_template_version": "2",
        "license_type": "BYOL",
        "net_mode": 2,
        "vpc_id": "vpc-1",
        "v_switch_id": "vsw-1",
        "replication_parameters": '{"bandwidth_limit":100,"compress_level":7,"checksum":0}',
        "resource_group_id": "rg-1",
        "scheduled_start_time": iso(86400),
        "valid_time": iso(10 * 86400),
        "system_disk_size": 40,
    }
    job = create(
        client,
        source,
        **asked,
        system_disk_part=[part],
        data_disk=[models.CreateReplicationJobRequestDataDisk(index=2, size=50, part=[data_part])],
        tag=[models.CreateReplicationJobRequestTag(key="wave", value="1")],
        disks=models.CreateReplicationJobRequestDisks(
            system=models.CreateReplicationJobRequestDisksSystem(size=40),
            data=[models.CreateReplicationJobRequestDisksData(disk_id="1", size=60, lvm=False)],
        ),
    )
    found = job_of(client, job)
    assert {name: getattr(found, name) for name in asked} == asked
    (system,) = found.system_disk_parts.system_disk_part
    assert (system.device, system.size_bytes, system.block) == ("0_0", 1 << 30, True)
    (data,) = found.data_disks.data_disk
    assert (data.index, data.size, data.parts.part[0].device) == (2, 50, "2_0")
    assert found.disks.system.size == 40
    assert [(d.disk_id, d.size, d.lvm) for d in found.disks.data.data] == [("1", 60, False)]
    assert [(t.key, t.value) for t in found.tags.tag] == [("wave", "1")]


@pytest.mark.parametrize(
    "days, taken",
    [(7 - 1 / 24, False), (7 + 1 / 24, True), (90 - 1 / 24, True), (90 + 1 / 24, False)],
)
def test_r79_valid_time_is_7_to_90_days(cloud: Cloud, client: Client, days: float, taken: bool) -> None:
    source, when = cloud.source(), iso(days * 86400)
    if taken:
        assert job_of(client, create(client, source, valid_time=when)).valid_time == when
        return
    request = models.CreateReplicationJobRequest(region_id=REGION, source_id=source, valid_time=when)
    assert code(client, "create_replication_job", request) == "InvalidParameter.ValidTime"


def test_r77_without_a_valid_time_a_job_lives_30_days(cloud: Cloud, client: Client) -> None:
    found = job_of(client, create(client, cloud.source()))
    created = time.mktime(time.strptime(found.creation_time, "%Y-%m-%dT%H:%M:%SZ"))
    assert time.mktime(time.strptime(found.valid_time, "%Y-%m-%dT%H:%M:%SZ")) - created == 30 * 86400


def test_x5_the_same_client_token_answers_the_same_job(cloud: Cloud, client: Client) -> None:
    source, token = cloud.source(), fresh("token")
    first = create(client, source, client_token=token)
    assert create(client, source, client_token=token) == first
    other = models.CreateReplicationJobRequest(
        region_id=REGION, source_id=cloud.source(), client_token=token, job_type=3
    )
    assert code(client, "create_replication_job", other) == "IdempotentParameterMismatch"


def test_x5_many_creates_with_one_token_at_once_make_one_job(cloud: Cloud) -> None:
    source, token = cloud.source(), fresh("token")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        jobs = set(pool.map(lambda _: create(cloud.client(), source, client_token=token), range(6)))
    assert len(jobs) == 1


@pytest.mark.parametrize(
    "fields, refusal",
    [
        ({"job_type": 0}, "InvalidParameter.JobType"),
        ({"job_type": 1}, "InvalidParameter.JobType"),  # R103
        ({"job_type": 2}, "InvalidParameter.JobType"),
        ({"job_type": 4}, "InvalidParameter.JobType"),
        ({"target_type": "ContainerImage"}, "InvalidParameter.TargetType"),  # R44
        ({"container_namespace": "n"}, "InvalidParameter.ContainerNamespace"),
        ({"target_type": "TargetInstance"}, "MissingParameter.InstanceId"),
        ({"target_type": "Instance", "instance_id": "i-1"}, "InvalidParameter.InstanceId"),
        (
            {
                "target_type": "TargetInstance",
                "instance_id": "i-1",
                "run_once": False,
                "frequency": 1,
                "max_number_of_image_to_keep": 1,
            },
            "InvalidParameter.TargetType",  # R43, X20
        ),
        ({"run_once": False}, "MissingParameter.Frequency"),  # X2
        ({"run_once": False, "frequency": 1}, "MissingParameter.MaxNumberOfImageToKeep"),
        ({"run_once": False, "frequency": 169}, "InvalidParameter.Frequency"),
        ({"max_number_of_image_to_keep": 11}, "InvalidParameter.MaxNumberOfImageToKeep"),
        ({"net_mode": 2}, "MissingParameter.VSwitchId"),
        ({"net_mode": 1}, "InvalidParameter.NetMode"),
        ({"license_type": "OEM"}, "InvalidParameter.LicenseType"),  # R23
        ({"system_disk_size": 19}, "InvalidParameter.SystemDiskSize"),
        ({"system_disk_size": 2049}, "InvalidParameter.SystemDiskSize"),
        ({"scheduled_start_time": iso(31 * 86400)}, "InvalidParameter.ScheduledStartTime"),  # X6
        ({"scheduled_start_time": iso(-86400)}, "InvalidParameter.ScheduledStartTime"),
        ({"name": "1st"}, "InvalidParameter.Name"),  # X1
        ({"name": "a"}, "InvalidParameter.Name"),
        ({"image_name": "http://x"}, "InvalidParameter.ImageName"),
        ({"description": "x"}, "InvalidParameter.Description"),
        ({"client_token": "t" * 65}, "InvalidParameter.ClientToken"),
        ({"client_token": "tökén"}, "InvalidParameter.ClientToken"),
        ({"replication_parameters": "{"}, "InvalidParameter.ReplicationParameters"),
        ({"region_id": None}, "MissingParameter.RegionId"),
        ({"source_id": None}, "MissingParameter.SourceId"),
        ({"source_id": "s-nobody"}, "SourceServer.NotFound"),
    ],
)
def test_what_cannot_be_created_says_so(
    cloud: Cloud, client: Client, fields: dict[str, Any], refusal: str, idle_source: str
) -> None:
    request = models.CreateReplicationJobRequest(
        **({"region_id": REGION, "source_id": idle_source, "job_type": 3} | fields)
    )
    assert code(client, "create_replication_job", request) == refusal


@pytest.fixture(scope="module")
def idle_source(cloud: Cloud) -> str:
    return cloud.source()


def test_disks_that_do_not_fit_are_refused(cloud: Cloud, client: Client, idle_source: str) -> None:
    Disk, Part = models.CreateReplicationJobRequestDataDisk, models.CreateReplicationJobRequestSystemDiskPart
    System = models.CreateReplicationJobRequestDisksSystem

    def refusal(**fields: Any) -> str:
        request = models.CreateReplicationJobRequest(region_id=REGION, source_id=idle_source, **fields)
        return code(client, "create_replication_job", request)

    assert refusal(data_disk=[Disk(index=2, size=20)]) == "ReplicationJobDataDiskIndex.Invalid"
    assert refusal(data_disk=[Disk(index=1), Disk(index=1)]) == "DataDisk.DuplicateIndex"
    assert refusal(data_disk=[Disk(index=17)]) == "InvalidParameter.DataDisk.1.Index"
    assert refusal(system_disk_part=[Part(device="0_0")]) == "InvalidParameter.SystemDiskPart"  # X18
    many = [Part(device=f"0_{n}", size_bytes=6 << 30) for n in range(2)]
    assert refusal(system_disk_part=many) == "InvalidParameter.SystemDiskPart"  # X18
    block = [Part(device="0_0", size_bytes=1, block=False)]
    assert refusal(system_disk_part=block) == "InvalidParameter.SystemDiskPart.Block"  # R64, R65
    lvm = models.CreateReplicationJobRequestDisks(system=System(lvm=True))
    assert refusal(disks=lvm) == "InvalidParameter.Disks.System.LVM"


def test_r75_a_source_takes_one_unfinished_job(cloud: Cloud, client: Client) -> None:
    source = cloud.source()
    create(client, source)
    request = models.CreateReplicationJobRequest(region_id=REGION, source_id=source)
    assert code(client, "create_replication_job", request) == "SourceServer.WithUnfinishedReplicationJob"


def test_two_creates_race_for_one_source_and_one_wins(cloud: Cloud) -> None:
    source = cloud.source()

    def attempt(_: int) -> str:
        try:
            return create(cloud.client(), source)
        except TeaException as refused:
            return str(refused.code)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(attempt, range(6)))
    assert sum(answer.startswith("j-") for answer in answers) == 1
    assert answers.count("SourceServer.WithUnfinishedReplicationJob") == 5


def test_x1_names_of_jobs_are_unique(cloud: Cloud, client: Client) -> None:
    name = fresh("job")
    create(client, cloud.source(), name=name)
    request = models.CreateReplicationJobRequest(region_id=REGION, source_id=cloud.source(), name=name)
    assert code(client, "create_replication_job", request) == "ReplicationJobName.Duplicate"
    other = create(client, cloud.source())
    change = models.ModifyReplicationJobAttributeRequest(job_id=other, name=name)
    assert code(client, "modify_replication_job_attribute", change) == "ReplicationJobName.Duplicate"


def test_modify_before_the_first_run_changes_everything_it_may(cloud: Cloud, client: Client) -> None:
    job = create(client, cloud.source(), run_once=False, frequency=12, max_number_of_image_to_keep=3)
    changes = {
        "name": fresh("renamed"),
        "description": "A better one",
        "frequency": 1,
        "max_number_of_image_to_keep": 5,
        "image_name": fresh("image"),
        "net_mode": 2,
        "v_switch_id": "vsw-2",
        "valid_time": iso(20 * 86400),
        "scheduled_start_time": iso(86400),
        "replication_parameters": '{"bandwidth_limit":5}',
        "system_disk_size": 30,
    }
    client.modify_replication_job_attribute(
        models.ModifyReplicationJobAttributeRequest(job_id=job, **changes)
    )
    found = job_of(client, job)
    assert {name: getattr(found, name) for name in changes} == changes


def test_a_change_is_checked_together_with_what_stays(cloud: Cloud, client: Client) -> None:
    part = models.CreateReplicationJobRequestSystemDiskPart(device="0_0", size_bytes=35 << 30)
    job = create(client, cloud.source(), v_switch_id="vsw-1", system_disk_size=40, system_disk_part=[part])

    def change(**fields: Any) -> models.ModifyReplicationJobAttributeRequest:
        return models.ModifyReplicationJobAttributeRequest(job_id=job, **fields)

    client.modify_replication_job_attribute(change(net_mode=2))
    answer = code(client, "modify_replication_job_attribute", change(system_disk_size=30))
    assert answer == "InvalidParameter.SystemDiskPart"
    for fields in ({"target_type": "ContainerImage"}, {"container_tag": "t"}, {"instance_id": "i-1"}):
        assert code(client, "modify_replication_job_attribute", change(**fields)).startswith(
            "InvalidParameter."
        )
    assert (job_of(client, job).net_mode, job_of(client, job).system_disk_size) == (2, 40)


def test_modify_after_the_first_run_changes_little(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    with robot:
        job = create(client, ids[name], run_once=False, frequency=12, max_number_of_image_to_keep=3)
        start(client, job)
        reach(client, job, "Waiting")

        def change(**fields: Any) -> models.ModifyReplicationJobAttributeRequest:
            return models.ModifyReplicationJobAttributeRequest(job_id=job, **fields)

        client.modify_replication_job_attribute(change(frequency=6, name=fresh("renamed")))
        for fields in ({"image_name": "other"}, {"net_mode": 0}, {"system_disk_size": 30}):
            refusal = code(client, "modify_replication_job_attribute", change(**fields))
            assert refusal == "ReplicationJob.InvalidStatus"
        assert job_of(client, job).frequency == 6


def test_x2_run_once_cannot_be_modified(cloud: Cloud) -> None:
    answer = cloud.raw("ModifyReplicationJobAttribute", {"JobId": "j-1", "RunOnce": "false"})
    assert (answer.status_code, answer.json()["Code"]) == (400, "UnknownParameter")


@pytest.mark.parametrize("call", ["start", "stop", "cut_over", "delete"])
def test_unknown_jobs_are_not_found_and_names_are_not_ids(cloud: Cloud, client: Client, call: str) -> None:
    name = fresh("job")
    create(client, cloud.source(), name=name)
    kind = "".join(part.title() for part in call.split("_"))
    for job in ("j-nobody", name):
        request = getattr(models, f"{kind}ReplicationJobRequest")(job_id=job)
        assert code(client, f"{call}_replication_job", request) == "ReplicationJob.NotFound"


def test_filters_of_jobs_are_exact_and_anded(cloud: Cloud, client: Client) -> None:
    name, source = fresh("job"), cloud.source()
    tag = models.CreateReplicationJobRequestTag(key="only", value=name)
    job = create(client, source, name=name, tag=[tag], resource_group_id=name)

    def found(**fields: Any) -> list[str]:
        body = client.describe_replication_jobs(models.DescribeReplicationJobsRequest(**fields)).body
        return [row.job_id for row in body.replication_jobs.replication_job]

    Tag = models.DescribeReplicationJobsRequestTag
    everything = {
        "name": name,
        "source_id": [source],
        "job_id": [job],
        "status": "Ready",
        "job_type": 3,
        "region_id": REGION,
        "resource_group_id": name,
        "tag": [Tag(key="only", value=name)],
    }
    assert found(**everything) == found(name=name) == found(tag=[Tag(key="only", value=name)]) == [job]
    wrong = {
        "name": name.upper(),
        "source_id": ["s-other"],
        "job_id": ["j-other"],
        "status": "Running",
        "job_type": 1,
        "region_id": "cn-beijing",
        "resource_group_id": name[:-1],
        "tag": [Tag(key="only", value="x")],
    }
    for field, value in wrong.items():
        assert found(**(everything | {field: value})) == []
    assert found(business_status="Syncing", name=name) == []
    assert found(instance_id=["i-1"]) == []


def test_r25_a_windows_licence_of_ones_own_is_warned_of(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    windows = dataclasses.replace(machine("vm-1", name), guest_id="windows2019srv_64Guest")
    job = create(client, cloud.sources(windows)[1][name], license_type="BYOL")
    log = [entry["text"] for entry in cloud.plane.jobs.job(job)["events"]]
    assert any("dedicated host" in line for line in log)


def test_cross_zone_migration_is_refused_with_its_reason(client: Client) -> None:
    request = models.CreateCrossZoneMigrationJobRequest(region_id=REGION, instance_id="i-1")
    with pytest.raises(TeaException, match="ECS instances") as refused:
        client.create_cross_zone_migration_job(request)
    assert refused.value.code == "UnsupportedOperation.CrossZone"


def test_r89_start_on_an_offline_source_is_refused(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name), machine("vm-2", f"{name}-b"))
    job = create(client, ids[name])
    robot.register(machine("vm-2", f"{name}-b"))  # the machine has left the inventory
    request = models.StartReplicationJobRequest(job_id=job)
    assert code(client, "start_replication_job", request) == "SourceServerState.Invalid"
    assert job_of(client, job).status == "Ready"
