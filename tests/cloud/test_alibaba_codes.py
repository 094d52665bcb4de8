"""Every code that the cloud is documented to answer leads where the table says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from connector.cloud.alibaba.codes import CODES, Refusal, Verdict, judge
from connector.errors import TargetFailed
from simulator.cloud import Region
from simulator.cloud.codes import CODES as KNOWN
from simulator.cloud.disks import destroy
from simulator.faults import Rule
from tests.cloud.alibaba import Calls, Cloud
from tests.cloud.conftest import image_for, request_for

T1 = "instance-j-1"
NEXT_TYPE = {
    "OperationDenied.NoStock": 403,
    "InvalidInstanceType.ZoneNotSupported": 403,
    "InvalidInstanceType.NotSupported": 403,
    "Zone.NotOnSale": 403,
    "Zone.NotOpen": 403,
    "InvalidInstanceType.ValueNotSupported": 400,
    "InvalidInstanceType.ValueUnauthorized": 400,
    "ImageNotSupportInstanceType": 403,
    "QuotaExceed.ElasticQuota": 403,
}
NEXT_DISK = {"InvalidDiskCategory.NotSupported": 403, "CategoryNotSupported": 403}
STOP = {
    "InvalidAccountStatus.NotEnoughBalance": 403,
    "InsufficientBalance": 403,
    "QuotaExceed.PostPaidDisk": 403,
    "QuotaExceed.AfterpayInstance": 400,
    "Forbidden.RiskControl": 403,
    "InvalidVSwitchId.NotFound": 404,
    "InvalidSecurityGroupId.NotFound": 404,
    "InvalidUser.PassRoleForbidden": 403,
}
STOP_IMAGE = {
    "QuotaExceed.Image": 403,
    "InvalidAccountStatus.SnapshotServiceUnavailable": 403,
    "InvalidDevice.Malformed": 400,
    "InvalidSize.ValueNotSupported": 400,
}
WAIT_IMAGE = {
    "InvalidSnapshotId.NotReady": 403,
    "IncorrectDiskStatus.CreatingSnapshot": 403,
    "IncorrectInstanceStatus": 400,
}
AGAIN = {
    "Throttling": 400,
    "Throttling.User": 400,
    "ServiceUnavailable": 503,
    "InternalError": 500,
    "Unheard.Of": 502,
}


def fault(call: str, code: str, status: int, times: int | None = 1) -> Rule:
    return Rule(call, "fault", fault=code, times=times, details={"status": status})


@pytest.mark.parametrize(("code", "status"), NEXT_TYPE.items())
def test_the_next_type_or_zone_is_tried(quiet: Cloud, code: str, status: int) -> None:
    quiet.calls.add(fault("RunInstances", code, status))
    quiet.provider(boots=False).create_instance(request_for(T1))
    (made,) = quiet.region.instances
    assert (made.type, made.zone) != ("ecs.n4.small", "cn-hangzhou-h")


@pytest.mark.parametrize(("code", "status"), NEXT_DISK.items())
def test_the_next_disk_category_is_tried(quiet: Cloud, code: str, status: int) -> None:
    quiet.calls.add(fault("RunInstances", code, status))
    quiet.provider(boots=False).create_instance(request_for(T1))
    (made,) = quiet.region.instances
    assert (made.type, made.zone) == ("ecs.n4.small", "cn-hangzhou-h")
    assert {disk.category for disk in quiet.region.disks} == {"cloud_efficiency"}


@pytest.mark.parametrize(("code", "status"), STOP.items())
def test_the_job_stops_with_the_clouds_code_and_says_what_to_do(quiet: Cloud, code: str, status: int) -> None:
    quiet.calls.add(fault("RunInstances", code, status))
    with pytest.raises(Refusal) as refused:
        quiet.provider(boots=False).create_instance(request_for(T1))
    told = refused.value.to_json()
    assert (told["code"], told["error"], told["retryable"]) == (code, "TargetFailed", False)
    assert told["remedy"]
    assert "\n" not in str(refused.value)
    assert quiet.census()["instances"] == 0
    quiet.provider(boots=False).create_instance(request_for(T1))
    assert quiet.census()["instances"] == 1


@pytest.mark.parametrize(("code", "status"), AGAIN.items())
def test_what_passes_by_itself_is_asked_again(quiet: Cloud, code: str, status: int) -> None:
    quiet.calls.add(fault("RunInstances", code, status))
    quiet.provider(boots=False, attempts=2).create_instance(request_for(T1))
    assert quiet.census()["instances"] == 1
    quiet.calls.add(fault("DescribeInstances", code, status, None))
    with pytest.raises(TargetFailed) as refused:
        quiet.provider(boots=False).find(T1)
    assert refused.value.retryable


@pytest.fixture
def ready(quiet: Cloud) -> Cloud:
    """With an instance whose disks hold something."""
    quiet.provider(boots=False).create_instance(request_for(T1))
    quiet.fill()
    return quiet


@pytest.mark.parametrize(("code", "status"), WAIT_IMAGE.items())
def test_an_image_waits_for_what_is_not_ready(ready: Cloud, code: str, status: int) -> None:
    ready.calls.add(fault("CreateImage", code, status, 2))
    assert ready.provider(boots=False).make_image(image_for(T1, "web")).name == "web"


@pytest.mark.parametrize(("code", "status"), STOP_IMAGE.items())
def test_an_image_that_cannot_be_made_stops_the_job(ready: Cloud, code: str, status: int) -> None:
    ready.calls.add(fault("CreateImage", code, status))
    with pytest.raises(Refusal) as refused:
        ready.provider(boots=False).make_image(image_for(T1, "web"))
    assert (refused.value.to_json()["code"], refused.value.retryable) == (code, False)
    assert ready.provider(boots=False).make_image(image_for(T1, "web")).name == "web"
    assert ready.census()["snapshots"] == 1


def test_a_snapshot_beyond_the_quota_stops_the_job(ready: Cloud) -> None:
    ready.calls.add(fault("CreateSnapshot", "QuotaExceed.Snapshot", 403))
    with pytest.raises(Refusal, match="higher quota"):
        ready.provider(boots=False).make_image(image_for(T1, "web"))


def test_a_name_that_is_taken_gets_a_suffix_and_a_mismatch_is_found(ready: Cloud) -> None:
    ready.calls.add(fault("CreateImage", "InvalidImageName.Duplicated", 400))
    assert ready.provider(boots=False).make_image(image_for(T1, "web")).name == f"web_job-{T1}"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("IncorrectInstanceStatus", 403),
        ("IncorrectInstanceStatus.Initializing", 403),
        ("IncorrectDiskStatus", 403),
    ],
)
def test_deleting_waits_for_an_instance_that_changes_its_state(ready: Cloud, code: str, status: int) -> None:
    ready.calls.add(fault("DeleteInstance", code, status, 2))
    ready.provider(boots=False).release(T1, keep_disks=False)
    assert set(ready.census().values()) == {0}


class Rival(Calls):
    """Somebody who deletes the same things, and is always a moment faster."""

    region: Region

    def consult(self, call: str, target: str = "") -> Rule | None:
        shelves = {
            "DeleteInstance": self.region.instances,
            "DeleteSnapshot": self.region.snapshots,
            "DeleteSecurityGroup": self.region.groups,
            "DeleteVSwitch": self.region.vswitches,
            "DeleteVpc": self.region.vpcs,
        }
        if call == "DeleteInstance":
            for disk in list(self.region.disks):
                destroy(self.region, disk)
        if call in shelves:
            shelves[call].drop(target)
        return super().consult(call, target)


def test_what_is_gone_is_as_good_as_deleted(make_cloud: Callable[..., Cloud]) -> None:
    rival = Rival()
    cloud = make_cloud(boot="", faults=rival)
    rival.region = cloud.region
    provider = cloud.provider(boots=False)
    provider.create_instance(request_for(T1))
    cloud.fill()
    provider.make_image(image_for(T1, "web"))
    provider.release(T1, keep_disks=False)
    provider.delete_image("web")
    assert set(cloud.census().values()) == {0}


@pytest.mark.parametrize("code", ["InvalidOperation.DeletionProtection", "ChargeTypeViolation"])
def test_an_instance_that_somebody_protects_is_told(ready: Cloud, code: str) -> None:
    ready.calls.add(fault("DeleteInstance", code, 403))
    with pytest.raises(Refusal) as refused:
        ready.provider(boots=False).release(T1, keep_disks=False)
    assert (refused.value.to_json()["code"], refused.value.retryable) == (code, False)
    assert ready.census()["instances"] == 1


def test_every_documented_code_is_in_the_table_and_leads_where_it_should() -> None:
    for codes, verdict in (
        (NEXT_TYPE, Verdict.NEXT_TYPE),
        (NEXT_DISK, Verdict.NEXT_DISK),
        (STOP | STOP_IMAGE, Verdict.STOP),
        (WAIT_IMAGE, Verdict.WAIT),
        (AGAIN, Verdict.AGAIN),
    ):
        for code, status in codes.items():
            assert judge(code, status).verdict is verdict, code
    assert len({code.name for code in CODES}) == len(CODES)


def test_who_is_told_to_act_is_told_how() -> None:
    assert not [code.name for code in CODES if code.verdict is Verdict.STOP and not code.remedy]
    assert judge("Never.Heard", 418).verdict is Verdict.STOP


def test_the_simulated_cloud_knows_the_status_of_each() -> None:
    listed = NEXT_TYPE | STOP | STOP_IMAGE
    assert {code: KNOWN[code][0] for code in listed if code in KNOWN} == {
        code: status for code, status in listed.items() if code in KNOWN
    }
    assert set(listed) <= set(KNOWN)


def test_the_operators_page_lists_this_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alibaba.md").read_text()
    for code in CODES:
        assert f"| `{code.name}` | {code.verdict} | {code.remedy or '-'} |" in page
