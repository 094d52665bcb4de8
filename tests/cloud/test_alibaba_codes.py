"""Every code that the cloud is documented to answer leads where the table says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from connector.cloud.alibaba.api import Api
from connector.cloud.alibaba.codes import CODES, Refusal, RefusalEffect, judge
from connector.cloud.alibaba.credentials import Credentials
from connector.errors import TargetFailed
from simulator.cloud import Region
from simulator.cloud.codes import CODES as KNOWN
from simulator.cloud.disks import destroy
from simulator.faults import Rule
from tests.cloud.alibaba import Calls, Cloud, access_key_file
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
    "LastTokenProcessing": 403,
}
AGAIN_TOO = {
    "IdempotentProcessing": 403,
    "OperationFailed.LastTokenProcessing": 400,
    "Throttling.Api": 400,
    "Throttling.Unheard.Of": 403,
    "ServiceUnavailable.Zone": 403,
    "InternalError.Storage": 400,
    "UnknownError": 500,
    "SystemBusy": 400,
    "ServiceTimeout": 400,
    "RequestTimeout": 400,
    "Unheard.TooManyRequests": 400,
    "Unheard.Limit": 429,
}
#: Tried in whole lives: each code at each call.
TRANSIENT = (
    "LastTokenProcessing",
    "IdempotentProcessing",
    "OperationFailed.LastTokenProcessing",
    "Throttling",
    "Throttling.User",
    "Throttling.Api",
    "ServiceUnavailable",
    "InternalError",
    "UnknownError",
    "SystemBusy",
    "ServiceTimeout",
    "RequestTimeout",
)


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


def _life(cloud: Cloud, token: str, name: str, **more: int) -> None:
    """An instance, an image of it, and nothing left of either."""
    provider = cloud.provider(boots=False, **more)
    provider.create_instance(request_for(token))
    cloud.fill()
    assert provider.make_image(image_for(token, name)).name == name
    provider.release(token, keep_disks=False)
    provider.delete_image(name)
    assert set(cloud.census().values()) == {0}


@pytest.mark.slow  # each refusal is waited for
@pytest.mark.parametrize("shift", range(len(TRANSIENT)))
def test_each_transient_code_at_each_call_fails_nothing(make_cloud: Callable[..., Cloud], shift: int) -> None:
    """Every call of a whole life is refused once before it works; over all shifts each of them with each code."""
    cloud = make_cloud(boot="", faults=Calls())
    _life(cloud, T1, "plain")
    operations = sorted({call for call in cloud.calls.seen if not call.startswith("image.")})
    assert len(operations) >= 15
    codes = {call: TRANSIENT[(number + shift) % len(TRANSIENT)] for number, call in enumerate(operations)}
    for call, code in codes.items():
        cloud.calls.add(fault(call, code, KNOWN[code][0]))
    _life(cloud, "instance-j-2", "refused", attempts=3)


def test_a_list_without_end_ends(quiet: Cloud) -> None:
    """Fifty rows on every page, for ever."""
    page = {"Images": {"Image": [{"ImageId": f"m-{n}", "Tags": {"Tag": []}} for n in range(50)]}}
    quiet.calls.add(Rule("DescribeImages", "answer", times=None, answer=page))
    with pytest.raises(TargetFailed, match="does not end") as endless:
        quiet.provider(boots=False).list_images()
    assert not endless.value.retryable


def test_pages_that_always_differ_end_too(quiet: Cloud) -> None:
    class Endless(Api):
        pages = 0

        def ecs(
            self, operation: str, given: Mapping[str, Any], *, patience: float = 0.0, on: str = ""
        ) -> dict[str, Any]:
            self.pages += 1
            return {"Things": {"Thing": [{"Id": f"{self.pages}/{n}"} for n in range(50)]}}

    api = Endless(quiet.settings(), Credentials(access_key_file(quiet.files)))
    with pytest.raises(TargetFailed, match="DescribeThings does not end"):
        for _row in api.rows("ecs", "DescribeThings", ("Things", "Thing"), {}):
            pass
    assert api.pages < 1000


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
    for codes, effect in (
        (NEXT_TYPE, RefusalEffect.NEXT_TYPE),
        (NEXT_DISK, RefusalEffect.NEXT_DISK),
        (STOP | STOP_IMAGE, RefusalEffect.STOP),
        (WAIT_IMAGE, RefusalEffect.WAIT),
        (AGAIN | AGAIN_TOO, RefusalEffect.AGAIN),
    ):
        for code, status in codes.items():
            assert judge(code, status).effect is effect, code
    assert len({code.name for code in CODES}) == len(CODES)


def test_who_is_told_to_act_is_told_how() -> None:
    assert not [code.name for code in CODES if code.effect is RefusalEffect.STOP and not code.remedy]
    assert judge("Never.Heard", 418).effect is RefusalEffect.STOP


def test_the_simulated_cloud_knows_the_status_of_each() -> None:
    listed = NEXT_TYPE | STOP | STOP_IMAGE
    assert {code: KNOWN[code][0] for code in listed if code in KNOWN} == {
        code: status for code, status in listed.items() if code in KNOWN
    }
    assert set(listed) <= set(KNOWN)


def test_the_operators_page_lists_this_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alibaba.md").read_text()
    for code in CODES:
        assert f"| `{code.name}` | {code.effect} | {code.remedy or '-'} |" in page
