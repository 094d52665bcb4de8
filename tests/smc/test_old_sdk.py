"""The older official SDK, unmodified, calls every operation and takes a job to its end."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.request import CommonRequest

from connector.control.domain.access import Role
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh
from tests.waiting import eventually


class Old:
    """`old.StartReplicationJob(JobId="j-1")` through the classes of the SDK; answers the JSON."""

    def __init__(self, cloud: Cloud) -> None:
        self._client = cloud.old(Role.ADMIN)
        self.called: set[str] = set()

    def __getattr__(self, action: str) -> Any:
        def call(**fields: Any) -> Any:
            module = importlib.import_module(f"aliyunsdksmc.request.v20190601.{action}Request")
            request = getattr(module, f"{action}Request")()
            request.set_endpoint("127.0.0.1")
            request.set_protocol_type("https")
            for name, value in fields.items():
                getattr(request, f"set_{name}")(value)
            self.called.add(action)
            return json.loads(self._client.do_action_with_exception(request))

        return call


def test_every_operation_through_the_old_sdk(cloud: Cloud) -> None:
    old, name = Old(cloud), fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    source = ids[name]

    def status() -> str:
        (row,) = old.DescribeReplicationJobs(JobIds=[job])["ReplicationJobs"]["ReplicationJob"]
        return str(row["Status"])

    code = old.CreateAccessToken(Name=name, Count="1", TimeToLiveInDays="1")
    (listed,) = old.ListAccessTokens(Name=name)["AccessTokens"]["AccessToken"]
    assert listed["AccessTokenId"] == code["AccessTokenId"]
    old.DisableAccessToken(AccessTokenId=code["AccessTokenId"])
    old.DeleteAccessToken(AccessTokenId=code["AccessTokenId"])
    group = old.CreateWorkgroup(Name=name, Description="wave")["WorkgroupId"]
    old.AssociateSourceServers(WorkgroupId=group, SourceIds=[source])
    old.ModifyWorkgroupAttribute(WorkgroupId=group, Description="a better wave")
    (row,) = old.DescribeWorkgroups(WorkgroupIds=[group])["Workgroups"]["Workgroup"]
    assert row["Description"] == "a better wave"
    old.ModifySourceServerAttribute(SourceId=source, Description="mine")
    (row,) = old.DescribeSourceServers(SourceIds=[source])["SourceServers"]["SourceServer"]
    assert (row["Description"], row["WorkgroupId"], row["State"]) == ("mine", group, "Available")
    with robot:
        job = old.CreateReplicationJob(
            SourceId=source,
            JobType=3,
            RunOnce=False,
            Frequency=12,
            MaxNumberOfImageToKeep=2,
            DataDisks=[{"Index": 1, "Size": 20, "Part": [{"Device": "1_0", "SizeBytes": 5}]}],
            Tags=[{"Key": "k", "Value": "v"}],
        )["JobId"]
        tags = old.ListTagResources(ResourceType="replicationjob", ResourceIds=[job])["TagResources"]
        assert [tag["TagKey"] for tag in tags["TagResource"]] == ["k"]
        old.UntagResources(ResourceType="replicationjob", ResourceIds=[job], All=True)
        old.TagResources(ResourceType="replicationjob", ResourceIds=[job], Tags=[{"Key": "l", "Value": ""}])
        old.ModifyReplicationJobAttribute(JobId=job, Frequency=24)
        old.StartReplicationJob(JobId=job)
        eventually(lambda: status() == "Waiting", "the job waits")
        old.StopReplicationJob(JobId=job)
        eventually(lambda: status() == "Stopped", "the job is stopped")
        old.StartReplicationJob(JobId=job)
        eventually(lambda: status() == "Waiting", "the job waits again")
        old.CutOverReplicationJob(JobId=job, SyncData=True)
        eventually(lambda: status() == "Finished", "the job is finished")
    old.DeleteReplicationJob(JobId=job)
    eventually(lambda: old.DescribeReplicationJobs(JobIds=[job])["TotalCount"] == 0, "the job is deleted")
    old.DisassociateSourceServers(WorkgroupId=group, SourceIds=[source])
    old.DeleteWorkgroup(WorkgroupId=group)
    old.DeleteSourceServer(SourceId=source, Force=True)
    with pytest.raises(ServerException) as refused:
        old.CreateCrossZoneMigrationJob(InstanceId="i-1")
    assert refused.value.get_error_code() == "UnsupportedOperation.CrossZone"
    assert "ECS instances" in refused.value.get_error_msg()
    assert len(old.called) == 24


def test_jobs_of_a_cloud_with_one_place_are_seen_from_every_region(cloud: Cloud) -> None:
    """The old SDK names its region with every request, and jobs of the command line are in the only one there is."""
    name = fresh("vm")
    cloud.sources(machine("vm-1", name))
    job = cloud.plane.jobs.create(name, name)["id"]
    (row,) = Old(cloud).DescribeReplicationJobs(JobIds=[job])["ReplicationJobs"]["ReplicationJob"]
    assert (row["JobId"], row["RegionId"]) == (job, "local")


def test_a_common_request_by_get_and_with_a_form(cloud: Cloud) -> None:
    source = cloud.source()
    for method in ("GET", "POST"):
        request = CommonRequest()
        request.set_accept_format("json")
        request.set_domain("127.0.0.1")
        request.set_method(method)
        request.set_protocol_type("https")
        request.set_version("2019-06-01")
        request.set_action_name("DescribeSourceServers")
        if method == "GET":
            request.add_query_param("SourceId.1", source)
        else:
            request.add_body_params("SourceId.1", source)
        body = json.loads(cloud.old().do_action_with_exception(request))
        assert body["TotalCount"] == 1
