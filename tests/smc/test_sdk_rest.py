"""The current official SDK, unmodified: sources, activation codes, workgroups, tags."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alibabacloud_smc20190601 import models
from alibabacloud_smc20190601.client import Client
from Tea.exceptions import TeaException

from connector.clients.agents import enrol
from connector.clients.heartbeat import HEARTBEAT
from connector.control.domain.access import Role
from connector.errors import AuthenticationFailed, Conflict
from tests.control.conftest import machine
from tests.smc.conftest import REGION, Cloud, fresh
from tests.smc.test_sdk_jobs import code, create
from tests.waiting import eventually


@pytest.fixture
def client(cloud: Cloud) -> Client:
    return cloud.client(Role.ADMIN)


def source_of(client: Client, source: str) -> Any:
    request = models.DescribeSourceServersRequest(source_id=[source])
    body = client.describe_source_servers(request).body
    assert body is not None
    assert body.total_count == 1
    return body.source_servers.source_server[0]


def found(client: Client, **fields: Any) -> list[str]:
    body = client.describe_source_servers(models.DescribeSourceServersRequest(**fields)).body
    assert body is not None
    return [row.source_id for row in body.source_servers.source_server]


def test_a_source_shows_its_disks_and_its_system(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    source = cloud.sources(machine("vm-1", name, 3))[1][name]
    row = source_of(client, source)
    assert (row.name, row.state, row.status_info, row.error_code) == (name, "Available", "", "")
    assert (row.platform, row.architecture, row.replication_driver) == ("Debian 12", "x86_64", "SMT")
    assert (row.heartbeat_rate, row.agent_version, row.system_disk_size) == (HEARTBEAT, "1", 10)
    (part,) = row.system_disk_parts.system_disk_part
    assert (part.device, part.size_bytes, part.can_block, part.need) == ("0_0", 10 << 30, True, True)
    assert [(d.index, d.size) for d in row.data_disks.data_disk] == [(1, 10), (2, 10)]
    assert row.data_disks.data_disk[1].parts.part[0].device == "2_0"
    assert (row.disks.system.offset, row.disks.system.size) == (0, 10)
    assert [d.parts.part[0].size_bytes for d in row.disks.data.data] == [10 << 30] * 2
    info = json.loads(row.system_info)
    assert (info["hostname"], info["cores"], info["memory"]) == (name, 2, 2 << 30)
    assert len(row.system_info) <= 1024


def test_r72_a_source_without_data_disks_has_no_data_disk_section(cloud: Cloud, client: Client) -> None:
    row = source_of(client, cloud.source(disks=1))
    assert row.data_disks.data_disk == []
    assert row.disks.data.data == []


@pytest.mark.parametrize("field", ["name", "source_id", "state", "job_id"])
def test_r2_r3_the_four_search_items_match_exactly(cloud: Cloud, client: Client, field: str) -> None:
    source = cloud.source()
    job = create(client, source)
    name = source_of(client, source).name
    right = {"name": name, "source_id": [source], "state": "InUse", "job_id": job}
    assert found(client, **right) == [source]
    assert source in found(client, **{field: right[field]}, page_size=50)
    if field == "state":
        assert found(client, **(right | {"state": "Available"})) == []
        return
    value = right[field] if field != "source_id" else source
    for other in (value[:-1], value[1:], value.swapcase(), f" {value}", f"{value}%"):
        assert found(client, **(right | {field: [other] if field == "source_id" else other})) == []


def test_pages_of_sources(cloud: Cloud, client: Client) -> None:
    group = client.create_workgroup(models.CreateWorkgroupRequest(name=fresh("g"))).body.workgroup_id
    machines = [machine(f"vm-{n}", fresh("vm")) for n in range(5)]
    ids = set(cloud.sources(*machines)[1].values())
    client.associate_source_servers(
        models.AssociateSourceServersRequest(workgroup_id=group, source_id=list(ids))
    )
    pages = []
    for number in (1, 2, 3, 4):
        request = models.DescribeSourceServersRequest(workgroup_id=group, page_number=number, page_size=2)
        body = client.describe_source_servers(request).body
        assert (body.total_count, body.page_number, body.page_size) == (5, number, 2)
        pages.append([row.source_id for row in body.source_servers.source_server])
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert {source for page in pages for source in page} == ids


def test_x7_page_sizes_and_lists_have_bounds(client: Client) -> None:
    def refusal(**fields: Any) -> str:
        return code(client, "describe_source_servers", models.DescribeSourceServersRequest(**fields))

    assert refusal(page_size=51) == refusal(page_size=0) == "InvalidParameter.PageSize"
    assert refusal(page_number=0) == "InvalidParameter.PageNumber"
    assert refusal(source_id=["s"] * 51) == "NumberExceed.SourceId"
    assert refusal(state="Active") == "InvalidParameter.State"


def test_modify_a_source_and_its_name_stays_unique(cloud: Cloud, client: Client) -> None:
    one, other, name = cloud.source(), cloud.source(), fresh("renamed")
    client.modify_source_server_attribute(
        models.ModifySourceServerAttributeRequest(source_id=one, name=name, description="The first one")
    )
    row = source_of(client, one)
    assert (row.name, row.description) == (name, "The first one")
    request = models.ModifySourceServerAttributeRequest(source_id=other, name=name)
    assert code(client, "modify_source_server_attribute", request) == "SourceServerName.Duplicate"
    request = models.ModifySourceServerAttributeRequest(source_id=other, description="http://x")
    assert code(client, "modify_source_server_attribute", request) == "InvalidParameter.Description"
    request = models.ModifySourceServerAttributeRequest(source_id="s-nobody", name="nobody")
    assert code(client, "modify_source_server_attribute", request) == "SourceServer.NotFound"


def test_r6_r7_x8_a_source_with_a_job_is_deleted_only_with_force(cloud: Cloud, client: Client) -> None:
    source = cloud.source()
    job = create(client, source)
    request = models.DeleteSourceServerRequest(source_id=source)
    assert code(client, "delete_source_server", request) == "ReplicationJob.Related"
    client.delete_source_server(models.DeleteSourceServerRequest(source_id=source, force=True))
    eventually(lambda: found(client, source_id=[source]) == [], "the source is gone")
    request = models.StartReplicationJobRequest(job_id=job)
    assert code(client, "start_replication_job", request).startswith("ReplicationJob.")


def test_r7_a_source_with_a_running_job_is_not_deleted_even_with_force(cloud: Cloud, client: Client) -> None:
    source = cloud.source()
    job = create(client, source)
    client.start_replication_job(models.StartReplicationJobRequest(job_id=job))
    request = models.DeleteSourceServerRequest(source_id=source, force=True)
    assert code(client, "delete_source_server", request) == "SourceServer.WithRunningReplicationJob"


def test_r5_a_deleted_source_is_registered_anew_by_a_rescan(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    client.delete_source_server(models.DeleteSourceServerRequest(source_id=ids[name]))
    eventually(lambda: found(client, source_id=[ids[name]]) == [], "the source is gone")
    new = robot.register(machine("vm-1", name))["vm-1"]
    assert new != ids[name]
    assert source_of(client, new).state == "Available"


def test_r69_a_source_that_nobody_sees_is_unavailable_and_says_why(cloud: Cloud, client: Client) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name), machine("vm-2", f"{name}-b"))
    robot.register(machine("vm-2", f"{name}-b"))
    row = source_of(client, ids[name])
    assert row.state == "Unavailable"
    assert row.error_code
    assert json.loads(row.status_info)["error_code"] == row.error_code
    request = models.CreateReplicationJobRequest(region_id=REGION, source_id=ids[name])
    assert code(client, "create_replication_job", request) == "SourceServerState.Invalid"  # R67


def test_x15_activation_codes_are_shown_once_counted_and_disabled(cloud: Cloud, client: Client) -> None:
    name = fresh("code")
    request = models.CreateAccessTokenRequest(name=name, description="d", count="2", time_to_live_in_days="7")
    made = client.create_access_token(request).body

    def token() -> Any:
        body = client.list_access_tokens(models.ListAccessTokensRequest(name=name)).body
        assert body.total_count == 1
        return body.access_tokens.access_token[0]

    row = token()
    assert (row.access_token_id, row.description, row.count) == (made.access_token_id, "d", "2")
    assert (row.registered_count, row.status, row.time_to_live_in_days) == ("0", "activated", "7")
    assert made.access_token_code not in json.dumps(row.to_map())
    plane = cloud.plane
    member = enrol(
        plane.url, plane.thumbprint, made.access_token_code, name=name, vcenter=f"https://{name}", version="1"
    )
    approval = {"ApplianceId": member.appliance_id}
    assert cloud.raw("ApproveMigrationAppliance", approval).status_code == 200
    plane.client(member).put_sources([machine("vm-1", fresh("vm"))], {})
    assert token().registered_count == "1"
    client.disable_access_token(models.DisableAccessTokenRequest(access_token_id=made.access_token_id))
    assert token().status == "unactivated"
    with pytest.raises(AuthenticationFailed):
        enrol(
            plane.url,
            plane.thumbprint,
            made.access_token_code,
            name=name,
            vcenter=f"https://{name}",
            version="1",
        )
    with pytest.raises(Conflict, match="waits for approval"):
        plane.client(member).put_sources([machine("vm-1", fresh("vm"))], {})
    assert token().registered_count == "1"  # what it brought in stays
    client.delete_access_token(models.DeleteAccessTokenRequest(access_token_id=made.access_token_id))
    body = client.list_access_tokens(
        models.ListAccessTokensRequest(access_token_id=[made.access_token_id])
    ).body
    assert body.access_tokens.access_token == []


@pytest.mark.parametrize(
    "fields, refusal",
    [
        ({"count": "0"}, "InvalidParameter.Count"),
        ({"count": "1001"}, "InvalidParameter.Count"),
        ({"time_to_live_in_days": "91"}, "InvalidParameter.TimeToLiveInDays"),
        ({"time_to_live_in_days": "x"}, "InvalidParameter.TimeToLiveInDays"),
        ({"name": "1"}, "InvalidParameter.Name"),
        ({"name": None}, "MissingParameter.Name"),
    ],
)
def test_x15_bounds_of_activation_codes(client: Client, fields: dict[str, Any], refusal: str) -> None:
    request = models.CreateAccessTokenRequest(**({"name": "code"} | fields))
    assert code(client, "create_access_token", request) == refusal


def test_unknown_activation_codes(client: Client) -> None:
    request = models.DisableAccessTokenRequest(access_token_id="at-nobody")
    assert code(client, "disable_access_token", request) == "AccessToken.NotFound"
    request = models.DeleteAccessTokenRequest(access_token_id="at-nobody")
    assert code(client, "delete_access_token", request) == "AccessToken.NotFound"


def test_x17_workgroups_from_creation_to_deletion(cloud: Cloud, client: Client) -> None:
    name, source, token = fresh("wave"), cloud.source(), fresh("token")
    Tag = models.CreateWorkgroupRequestTag
    request = models.CreateWorkgroupRequest(
        name=name, description="Saturday", client_token=token, tag=[Tag(key="k", value=name)]
    )
    group = client.create_workgroup(request).body.workgroup_id
    assert client.create_workgroup(request).body.workgroup_id == group
    again = models.CreateWorkgroupRequest(name=name)
    assert code(client, "create_workgroup", again) == "WorkgroupName.Duplicate"

    def described(**fields: Any) -> list[Any]:
        body = client.describe_workgroups(models.DescribeWorkgroupsRequest(**fields)).body
        assert body is not None
        return list(body.workgroups.workgroup)

    (row,) = described(workgroup_id=[group])
    assert (row.name, row.description, row.status) == (name, "Saturday", "NotStarted")
    assert [(t.key, t.value) for t in row.tags.tag] == [("k", name)]
    assert row.warnings.warning == []
    members = {"workgroup_id": group, "source_id": [source]}
    client.associate_source_servers(models.AssociateSourceServersRequest(**members))
    assert source_of(client, source).workgroup_id == group
    (row,) = described(name=name, status="NotStarted", tag=[models.DescribeWorkgroupsRequestTag(key="k")])
    assert [(w.warning_type, w.source_ids.source_id) for w in row.warnings.warning] == [
        ("UnRelated", [source])
    ]
    other = client.create_workgroup(models.CreateWorkgroupRequest(name=fresh("wave"))).body.workgroup_id
    request = models.AssociateSourceServersRequest(workgroup_id=other, source_id=[source])
    assert code(client, "associate_source_servers", request) == "SourceServer.InOtherWorkgroup"
    request = models.DeleteWorkgroupRequest(workgroup_id=group)
    assert code(client, "delete_workgroup", request) == "Workgroup.NotEmpty"
    job = create(client, source)
    body = client.describe_replication_jobs(models.DescribeReplicationJobsRequest(job_id=[job])).body
    assert body.replication_jobs.replication_job[0].workgroup_id == group
    client.disassociate_source_servers(models.DisassociateSourceServersRequest(**members))
    client.modify_workgroup_attribute(
        models.ModifyWorkgroupAttributeRequest(workgroup_id=group, name=f"{name}-2", description="Sunday")
    )
    (row,) = described(workgroup_id=[group])
    assert (row.name, row.description) == (f"{name}-2", "Sunday")
    client.delete_workgroup(request)
    assert described(workgroup_id=[group]) == []


def test_unknown_workgroups_and_sources(client: Client) -> None:
    nobody = models.DeleteWorkgroupRequest(workgroup_id="wg-nobody")
    assert code(client, "delete_workgroup", nobody) == "Workgroup.NotFound"
    group = client.create_workgroup(models.CreateWorkgroupRequest(name=fresh("g"))).body.workgroup_id
    request = models.AssociateSourceServersRequest(workgroup_id=group, source_id=["s-nobody"])
    assert code(client, "associate_source_servers", request) == "SourceServer.NotFound"
    request = models.AssociateSourceServersRequest(workgroup_id=group)
    assert code(client, "associate_source_servers", request) == "MissingParameter.SourceId"


def test_x16_tags_from_attaching_to_taking_off(cloud: Cloud, client: Client) -> None:
    one, other = cloud.source(), cloud.source()
    Tag = models.TagResourcesRequestTag
    kind = "sourceserver"
    client.tag_resources(
        models.TagResourcesRequest(
            resource_type=kind,
            resource_id=[one, other],
            tag=[Tag(key="a", value="1"), Tag(key=one, value="")],
        )
    )

    def listed(**fields: Any) -> list[tuple[str, str, str]]:
        body = client.list_tag_resources(models.ListTagResourcesRequest(resource_type=kind, **fields)).body
        assert body is not None
        assert body.next_token == ""
        rows = body.tag_resources.tag_resource
        assert {row.resource_type for row in rows} <= {"ALIYUN::SMC::SOURCESERVER"}
        return sorted((row.resource_id, row.tag_key, row.tag_value) for row in rows)

    filters = models.ListTagResourcesRequestTag
    assert listed(resource_id=[one]) == sorted([(one, "a", "1"), (one, one, "")])
    assert len(listed(tag=[filters(key=one)])) == 4
    assert listed(tag=[filters(key=one), filters(key="a", value="2")]) == []
    wanted = models.DescribeSourceServersRequestTag(key=one)
    assert sorted(found(client, tag=[wanted])) == sorted([one, other])
    client.untag_resources(
        models.UntagResourcesRequest(resource_type=kind, resource_id=[other], tag_key=["A", one])
    )
    assert listed(resource_id=[other]) == [(other, "a", "1")]
    client.untag_resources(
        models.UntagResourcesRequest(resource_type=kind, resource_id=[one, other], all=True)
    )
    assert listed(resource_id=[one, other]) == []


def test_lists_of_tags_go_on_with_the_next_token(cloud: Cloud, client: Client) -> None:
    sources = [cloud.source() for _ in range(3)]
    tags = [models.TagResourcesRequestTag(key=f"k{n}", value="v") for n in range(20)]
    client.tag_resources(
        models.TagResourcesRequest(resource_type="sourceserver", resource_id=sources, tag=tags)
    )
    seen, token = [], None
    while token != "":
        request = models.ListTagResourcesRequest(
            resource_type="sourceserver", resource_id=sources, next_token=token
        )
        body = client.list_tag_resources(request).body
        seen += [(row.resource_id, row.tag_key) for row in body.tag_resources.tag_resource]
        token = body.next_token
    assert len(seen) == len(set(seen)) == 60
    more = [models.TagResourcesRequestTag(key="one-more", value="v")]
    request = models.TagResourcesRequest(resource_type="sourceserver", resource_id=sources[:1], tag=more)
    assert code(client, "tag_resources", request) == "NumberExceed.Tags"


@pytest.mark.parametrize(
    "fields, refusal",
    [
        ({"resource_type": None}, "MissingParameter.ResourceType"),
        ({"resource_type": "disk"}, "InvalidResourceType.NotFound"),
        ({"resource_id": ["s-nobody"]}, "InvalidResourceId.NotFound"),
        ({"resource_id": ["s-1", "s-1"]}, "Duplicate.ResourceId"),
        ({"resource_id": [f"s-{n}" for n in range(51)]}, "NumberExceed.ResourceIds"),
        ({"tag": [models.TagResourcesRequestTag(key=f"k{n}") for n in range(21)]}, "NumberExceed.Tags"),
        ({"tag": None}, "MissingParameter.Tag"),
    ],
)
def test_refusals_of_tags(client: Client, fields: dict[str, Any], refusal: str) -> None:
    usual = {
        "resource_type": "sourceserver",
        "resource_id": ["s-1"],
        "tag": [models.TagResourcesRequestTag(key="k", value="v")],
    }
    assert code(client, "tag_resources", models.TagResourcesRequest(**(usual | fields))) == refusal


def test_a_tag_value_without_its_key(client: Client) -> None:
    tag = models.ListTagResourcesRequestTag(value="v")
    request = models.ListTagResourcesRequest(resource_type="sourceserver", tag=[tag])
    assert code(client, "list_tag_resources", request) == "InvalidParameter.TagValue"
    both = models.UntagResourcesRequest(
        resource_type="sourceserver", resource_id=["s-1"], tag_key=["k"], all=True
    )
    assert code(client, "untag_resources", both) == "InvalidParameter.All"
    forged = models.ListTagResourcesRequest(resource_type="sourceserver", next_token="nonsense")
    assert code(client, "list_tag_resources", forged) == "InvalidParameter.NextToken"


def test_roles_decide_what_a_key_may_do(cloud: Cloud) -> None:
    reader, operator = cloud.client(Role.READER), cloud.client(Role.OPERATOR)
    source = cloud.source()
    request = models.ModifySourceServerAttributeRequest(source_id=source, description="mine")
    with pytest.raises(TeaException) as refused:
        reader.modify_source_server_attribute(request)
    assert (refused.value.code, refused.value.statusCode) == ("Forbidden.Unauthorized", 403)
    assert source_of(reader, source).description == ""
    operator.modify_source_server_attribute(request)
    token = models.CreateAccessTokenRequest(name="code")
    assert code(operator, "create_access_token", token) == "Forbidden.Unauthorized"
