"""The provider for Alibaba Cloud on a simulated region: what it makes, where, and what is left afterwards."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector.cloud.alibaba import guest
from connector.cloud.alibaba.codes import NoStock, Refusal
from connector.cloud.alibaba.provider import AlibabaProvider
from connector.cloud.provider import Health, Placement, TargetDisk
from connector.errors import BadInput, TargetFailed
from simulator.cloud import Stock
from simulator.cloud.resources import GIB, Instance
from tests.cloud.alibaba import KEY, Cloud
from tests.cloud.conftest import image_for, request_for
from tests.ecs.account import Account, read

T1 = "instance-j-1"
TWO = (
    TargetDisk(2000, "Hard disk 1", 3 * GIB + 512),
    TargetDisk(2001, "Hard disk 2", 1 << 20, size=25 * GIB),
)
Make = Callable[..., Cloud]


def only(cloud: Cloud) -> Instance:
    (found,) = cloud.region.instances
    return found


def account(cloud: Cloud) -> Account:
    return Account(cloud.server, KEY)


def test_r56_its_name_says_that_nobody_may_delete_it_and_tags_say_whose_it_is(quiet: Cloud) -> None:
    made = quiet.provider(boots=False, tags={"team": "migration"}).create_instance(request_for(T1))
    assert made.name == only(quiet).name == "No_Delete_SMC_Transition_Instance"
    assert only(quiet).tags["connector-token"] == T1
    assert only(quiet).tags["team"] == "migration"
    for resource in (*quiet.region.disks, *quiet.region.groups, *quiet.region.vpcs, *quiet.region.vswitches):
        assert resource.tags["connector-token"] == T1


def test_r58_exactly_two_ports_are_open_to_exactly_the_configured_addresses(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False, reachable_from=["198.51.100.7/32", "10.1.0.0/16", "10.1.0.0/16"])
    provider.create_instance(request_for(T1))
    (group,) = quiet.region.groups
    wanted = {(port, port, source) for port in (8080, 8703) for source in ("198.51.100.7/32", "10.1.0.0/16")}
    assert {(rule.first, rule.last, rule.source) for rule in group.rules} == wanted
    assert {rule.protocol for rule in group.rules} == {"tcp"}
    group.rules.pop()
    provider.create_instance(request_for(T1))
    assert len(group.rules) == 4


def test_a_security_group_and_vswitches_of_the_operator_are_used_and_left_alone(quiet: Cloud) -> None:
    theirs = account(quiet)
    settings = {"vswitches": [theirs.vswitch], "security_group": theirs.group}
    provider = quiet.provider(boots=False, **settings)
    provider.create_instance(request_for(T1))
    assert (only(quiet).vswitch, only(quiet).groups) == (theirs.vswitch, [theirs.group])
    assert only(quiet).zone == quiet.region.stock.zones[0]
    provider.release(T1, keep_disks=False)
    assert quiet.census() == {
        **dict.fromkeys(("instances", "disks", "snapshots", "images"), 0),
        **dict.fromkeys(("groups", "vpcs", "vswitches"), 1),
    }
    assert [rule.source for rule in next(iter(quiet.region.groups)).rules] == []


def test_r50_disks_are_whole_gibibytes_and_as_large_as_was_asked_for(quiet: Cloud) -> None:
    made = quiet.provider(boots=False).create_instance(request_for(T1, TWO))
    data = {disk.name: disk for disk in quiet.region.disks if not disk.system}
    assert {name: disk.size for name, disk in data.items()} == {"connector-2000": 20, "connector-2001": 25}
    assert all(disk.delete_with_instance for disk in data.values())
    assert {found.reference for found in made.resources} == {disk.id for disk in quiet.region.disks}
    (told,) = quiet.inside.told.values()
    assert told == {str(name[10:]): disk.serial for name, disk in data.items()}


def test_a_disk_that_the_machine_gets_later_is_made_and_attached_and_one_that_grew_is_enlarged(
    quiet: Cloud,
) -> None:
    provider = quiet.provider(boots=False)
    provider.create_instance(request_for(T1, TWO[:1]))
    grown = (replace(TWO[0], capacity=22 * GIB), TWO[1])
    made = provider.create_instance(request_for(T1, grown))
    assert provider.create_instance(request_for(T1, grown)) == made
    assert sorted(disk.size for disk in quiet.region.disks if not disk.system) == [22, 25]
    assert {disk.instance for disk in quiet.region.disks} == {only(quiet).id}
    provider.release(T1, keep_disks=False)
    assert set(quiet.census().values()) == {0}


def test_the_system_disk_has_room_for_the_digests_of_all_disks(quiet: Cloud) -> None:
    quiet.provider(boots=False).create_instance(request_for(T1, (TargetDisk(2000, "d", 4096 * GIB),)))
    (system,) = (disk for disk in quiet.region.disks if disk.system)
    assert system.size >= 20 + 2


def test_more_disks_than_an_instance_can_have_are_refused_before_anything_is_made(quiet: Cloud) -> None:
    many = tuple(TargetDisk(2000 + n, f"Hard disk {n}", GIB) for n in range(17))
    with pytest.raises(TargetFailed, match="16 data disks at most, the machine has 17"):
        quiet.provider(boots=False).create_instance(request_for(T1, many))
    assert quiet.calls.changes() == []


# --- where


def test_r61_the_first_type_that_has_stock_is_taken_in_the_documented_order(make_cloud: Make) -> None:
    for sold, bought in (
        ([], "ecs.t5-lc1m2.small"),  # n4 and t5 have no ESSD: the next category is taken
        (["ecs.n4.*", "ecs.mn4.*", "ecs.t5-*", "ecs.t6-*"], "ecs.c6.large"),
        (["ecs.n4.*", "ecs.mn4.*", "ecs.t5-*", "ecs.t6-*", "ecs.c*"], "ecs.g6.large"),
    ):
        cloud = make_cloud(boot="", stock=Stock(sold_out=[*sold, *(["ecs.n4.*"] if not sold else [])]))
        cloud.provider(boots=False).create_instance(request_for(T1))
        assert only(cloud).type == bought


def test_r62_a_machine_for_arm64_gets_an_instance_for_arm64(make_cloud: Make) -> None:
    cloud = make_cloud(boot="", stock=Stock(sold_out=["ecs.c6r.large"]))
    cloud.provider(boots=False).create_instance(request_for(T1, architecture="arm64"))
    assert (only(cloud).type, only(cloud).image) == ("ecs.g6r.large", "m-sim-arm")
    with pytest.raises(TargetFailed, match="no instance image for arm64"):
        cloud.provider(boots=False, images={"x86_64": "m-sim-x86"}).create_instance(
            request_for("instance-j-2", architecture="arm64")
        )


def test_r63_when_all_are_sold_out_anything_cheap_is_taken_and_then_the_job_is_told(make_cloud: Make) -> None:
    small = ["ecs.*.small", "ecs.*.large", "ecs.t*"]
    cloud = make_cloud(boot="", stock=Stock(sold_out=small))
    provider = cloud.provider(boots=False)
    provider.create_instance(request_for(T1))
    assert only(cloud).type == "ecs.c6.xlarge"
    provider.release(T1, keep_disks=False)
    cloud.region.stock.sell_out("ecs.*")
    with pytest.raises(NoStock, match="no instance type can be had") as none:
        provider.create_instance(request_for("instance-j-2"))
    assert (none.value.to_json()["code"], none.value.retryable) == ("OperationDenied.NoStock", False)
    provider.release("instance-j-2", keep_disks=False)
    assert set(cloud.census().values()) == {0}


def test_r63_stock_that_is_gone_when_we_come_leads_to_the_next_zone_then_the_next_type(quiet: Cloud) -> None:
    from simulator.faults import Rule

    quiet.calls.add(
        Rule(
            "RunInstances",
            "fault",
            object="ecs.n4.small@cn-hangzhou-h",
            times=None,
            fault="OperationDenied.NoStock",
        ),
        Rule(
            "RunInstances", "fault", object="ecs.n4.small@cn-hangzhou-i", times=None, fault="Zone.NotOnSale"
        ),
        Rule(
            "RunInstances",
            "fault",
            object="ecs.t5-lc1m2.small@cn-hangzhou-h",
            fault="InvalidDiskCategory.NotSupported",
        ),
    )
    quiet.provider(boots=False).create_instance(request_for(T1))
    assert (only(quiet).type, only(quiet).zone) == ("ecs.t5-lc1m2.small", "cn-hangzhou-h")
    categories = {disk.category for disk in quiet.region.disks}
    assert categories == {"cloud_efficiency"}  # cloud_ssd was refused, cloud_essd is not for this type
    assert quiet.census()["instances"] == 1


def test_x4_a_type_that_was_asked_for_and_cannot_be_had_is_refused_at_once_and_never_replaced(
    make_cloud: Make,
) -> None:
    cloud = make_cloud(boot="", stock=Stock(sold_out=["ecs.g6.large"]))
    provider = cloud.provider(boots=False)
    with pytest.raises(
        BadInput, match=r"ecs\.g6\.large cannot be had in cn-hangzhou-h, cn-hangzhou-i"
    ) as refused:
        provider.check(Placement(instance_type="ecs.g6.large"))
    assert refused.value.on == "instance_type"
    provider.check(Placement(instance_type="ecs.g7.large"))
    with pytest.raises(NoStock, match=r"instance type ecs\.g6\.large cannot be had"):
        provider.create_instance(request_for(T1, instance_type="ecs.g6.large"))
    assert cloud.census()["instances"] == 0


def test_what_a_job_names_must_be_there_and_fit_together(quiet: Cloud) -> None:
    theirs = account(quiet)
    provider = quiet.provider(boots=False)
    provider.check(Placement(vpc=theirs.vswitch and theirs.vpc_id, vswitch=theirs.vswitch))
    for placement, field in (
        (Placement(region="cn-beijing"), "region"),
        (Placement(vswitch="vsw-none"), "vswitch"),
        (Placement(vpc="vpc-other", vswitch=theirs.vswitch), "vpc"),
        (Placement(vpc="vpc-alone"), "vpc"),
    ):
        with pytest.raises(BadInput) as refused:
            provider.check(placement)
        assert refused.value.on == field


def test_a_refusal_that_names_no_object_of_the_job_is_not_a_wrong_parameter(quiet: Cloud) -> None:
    from simulator.faults import Rule

    quiet.calls.add(Rule("DescribeZones", "fault", times=None, fault="InvalidAccessKeyId.NotFound"))
    with pytest.raises(TargetFailed, match="InvalidAccessKeyId"):
        quiet.provider(boots=False).check(Placement())
    assert not Refusal("DeleteDisk", "InvalidAccessKeyId.NotFound", 404, "no such key", "-").gone


def test_a_job_may_name_its_vswitch_role_and_launch_template(quiet: Cloud) -> None:
    theirs = account(quiet)
    named: dict[str, Any] = {"vswitch": theirs.vswitch, "ram_role": "writer", "launch_template": "lt-1"}
    quiet.provider(boots=False).create_instance(request_for(T1, **named))
    assert (only(quiet).vswitch, only(quiet).role) == (theirs.vswitch, "writer")


# --- how it is reached


def test_r53_in_a_vpc_the_private_address_is_used_and_there_is_no_public_one(quiet: Cloud) -> None:
    theirs = account(quiet)
    made = quiet.provider(boots=False).create_instance(request_for(T1, net_mode=2, vswitch=theirs.vswitch))
    assert made.address.host == only(quiet).private
    assert (only(quiet).public, only(quiet).bandwidth) == ("", 0)
    other = quiet.provider(boots=False).create_instance(request_for("instance-j-2"))
    (public,) = (found for found in quiet.region.instances if found.tags["connector-token"] == "instance-j-2")
    assert other.address.host == public.public
    assert public.bandwidth == 100


def appear(us: Account, eip: str) -> None:
    while not us.vpc("DescribeEipAddresses", AllocationId=eip)["EipAddresses"]["EipAddress"]:
        pass


def test_r55_the_address_is_read_anew_after_an_eip_was_bound(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False)
    made = provider.create_instance(request_for(T1))
    us = account(quiet)
    us.ecs("ConvertNatPublicIpToEip", InstanceId=made.handle)
    before = us.instance(made.handle)
    assert before is not None
    appear(us, before["EipAddress"]["AllocationId"])
    us.vpc("UnassociateEipAddress", AllocationId=before["EipAddress"]["AllocationId"])
    eip = us.vpc("AllocateEipAddress")
    appear(us, eip["AllocationId"])
    us.vpc("AssociateEipAddress", AllocationId=eip["AllocationId"], InstanceId=made.handle)
    found = provider.find(T1)
    assert found is not None
    assert found.address.host == eip["EipAddress"]
    assert [one.address for one in provider.describe()] == [found.address]


# --- what somebody else does


def test_r57_an_instance_that_was_stopped_is_seen_and_started_with_a_fresh_credential(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False)
    made = provider.create_instance(request_for(T1))
    us = account(quiet)
    us.ecs("StopInstance", InstanceId=made.handle)
    us.until(made.handle, "Stopped")
    stopped = provider.find(T1)
    assert stopped is not None
    assert stopped.health is Health.STOPPED
    fresh = request_for(T1)
    assert provider.create_instance(fresh).handle == made.handle
    told = json.loads(only(quiet).user_data)
    assert told["credential"]["certificate"] == fresh.credential.certificate


def test_r57_one_that_cannot_be_started_again_is_told_with_the_clouds_own_code(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False, stopped_mode="StopCharging")
    provider.create_instance(request_for(T1))
    provider.release(T1, keep_disks=True)
    quiet.region.stock.sell_out("ecs.*")
    with pytest.raises(Refusal, match="NoStock") as refused:
        provider.create_instance(request_for(T1))
    assert refused.value.to_json()["code"] == "OperationDenied.NoStock"
    quiet.region.stock.refill()
    assert provider.create_instance(request_for(T1)).health is Health.RUNNING


def test_r35_an_instance_that_was_released_by_somebody_is_not_there(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False)
    made = provider.create_instance(request_for(T1))
    account(quiet).ecs("DeleteInstance", InstanceId=made.handle, Force=True)
    assert provider.find(T1) is None
    provider.release(T1, keep_disks=False)
    assert set(quiet.census().values()) == {0}


# --- images


def test_r42_the_image_is_what_the_machine_was_and_instances_can_be_made_from_it(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False)
    provider.create_instance(request_for(T1, TWO))
    by_name = {disk.name: disk for disk in quiet.region.disks}
    written = quiet.fill()
    wish = image_for(T1, "web", disks=TWO, firmware="efi", guest_id="windows2019srv_64Guest")
    kept = provider.make_image(wish)
    (image,) = (found for found in quiet.region.images if found.owner == "self")
    assert (kept.id, kept.location, kept.name) == (image.id, image.id, "web")
    assert (image.boot_mode, image.platform, image.architecture) == ("UEFI", "Windows Server 2019", "x86_64")
    assert [(disk.device, disk.system, disk.size) for disk in image.disks] == [
        ("/dev/xvda", True, 20),
        ("/dev/xvdb", False, 25),
    ]
    assert [row["disk"] for row in kept.details["disks"]] == ["2000", "2001"]  # type: ignore[attr-defined]
    us = account(quiet)
    copy = us.disks(us.run(ImageId=image.id, InstanceType="ecs.c6.large"))
    for row, name in zip(copy, ("connector-2000", "connector-2001"), strict=True):
        truth = written[by_name[name].id]
        assert read(quiet.region.disks.get(row["DiskId"]).path, 0, len(truth)) == truth
    with pytest.raises(TargetFailed, match="instances were made from the image"):
        provider.delete_image("web")


def test_x3_a_name_that_is_taken_gets_the_jobs_id(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False)
    for job in ("j-1", "j-2"):
        provider.create_instance(request_for(f"instance-{job}"))
        quiet.fill()
        kept = provider.make_image(replace(image_for(f"instance-{job}", "web"), job_id=job))
    assert kept.name == "web_j-2"
    assert {image.name for image in provider.list_images()} == {"web", "web_j-2"}


def test_a_name_that_the_cloud_does_not_allow_is_bent(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False)
    provider.create_instance(request_for(T1))
    quiet.fill()
    kept = provider.make_image(image_for(T1, "1.web-01.example.com"))
    assert kept.name == "m-1-web-01-example-com"
    provider.release(T1, keep_disks=False)
    provider.delete_image(kept.name)
    assert set(quiet.census().values()) == {0}


def test_an_image_that_the_cloud_could_not_make_is_made_once_more(quiet: Cloud) -> None:
    from simulator.faults import Rule

    provider = quiet.provider(boots=False)
    provider.create_instance(request_for(T1))
    quiet.fill()
    quiet.calls.add(Rule("image.make", "fault", times=1))
    assert provider.make_image(image_for(T1, "web")).name == "web"
    assert (quiet.census()["images"], quiet.census()["snapshots"]) == (1, 1)
    quiet.calls.add(Rule("image.make", "fault", times=None))
    with pytest.raises(TargetFailed, match="twice"):
        provider.make_image(image_for(T1, "other", run="r2"))
    assert quiet.census()["images"] == 1


def test_r1_r59_when_the_instance_is_released_only_images_and_their_snapshots_cost(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False)
    provider.create_instance(request_for(T1, TWO))
    quiet.fill()
    provider.make_image(image_for(T1, "web", disks=TWO))
    stray = account(quiet).snapshot(
        next(disk.id for disk in quiet.region.disks if disk.name == "connector-2000")
    )
    us = account(quiet)
    us.ecs(
        "TagResources",
        ResourceType="snapshot",
        ResourceId=[stray],
        Tag=[{"Key": "connector-token", "Value": T1}],
    )
    assert {entry.kind for entry in quiet.ledger.standing() if entry.reference} == {
        *("vpc", "vswitch", "security-group", "launch", "instance", "snapshot"),
    }
    provider.release(T1, keep_disks=False)
    provider.release(T1, keep_disks=False)
    nothing = dict.fromkeys(("instances", "disks", "groups", "vpcs", "vswitches"), 0)
    assert quiet.census() == {**nothing, "snapshots": 2, "images": 1}
    assert {entry.kind for entry in quiet.ledger.standing()} - {"instance"} == {"snapshot"}
    provider.delete_image("web")
    assert set(quiet.census().values()) == {0}
    assert not quiet.ledger.standing("snapshot")


def test_what_belongs_to_others_is_never_touched(quiet: Cloud) -> None:
    us = account(quiet)
    other = us.run(
        InstanceName="No_Delete_SMC_Transition_Instance", DataDisk=[{"Category": "cloud_essd", "Size": 20}]
    )
    snapshot = us.snapshot(us.disks(other)[0]["DiskId"])
    us.ecs("CreateImage", ImageName="web", SnapshotId=snapshot)
    before = quiet.census()
    provider = quiet.provider(boots=False)
    assert (provider.find(T1), list(provider.describe()), list(provider.list_images())) == (None, [], [])
    provider.create_instance(request_for(T1))
    provider.release(T1, keep_disks=False)
    provider.delete_image("web")
    assert quiet.census() == before


@pytest.mark.parametrize(
    ("guest_id", "platform"),
    [
        ("centos7_64Guest", "CentOS"),
        ("rhel8_64Guest", "RedHat"),
        ("ubuntu64Guest", "Ubuntu"),
        ("debian12_64Guest", "Debian"),
        ("sles15_64Guest", "SUSE"),
        ("rockylinux_64Guest", "Rocky Linux"),
        ("windows9Server64Guest", "Windows Server 2016"),
        ("windows2019srvNext_64Guest", "Windows Server 2022"),
        ("other5xLinux64Guest", "Others Linux"),
        ("", "Others Linux"),
    ],
)
def test_guests_have_the_clouds_names(guest_id: str, platform: str) -> None:
    assert guest.platform(guest_id) == platform


# --- secrets


def test_the_user_data_holds_one_jobs_credential_and_is_small(quiet: Cloud) -> None:
    request = request_for(T1, TWO)
    quiet.provider(boots=False).create_instance(request)
    given = only(quiet).user_data
    assert len(given) < 16 << 10
    assert len(base64.b64encode(given)) < 32 << 10
    assert json.loads(given) == {
        "version": 1,
        "credential": {
            "authority": request.credential.authority,
            "certificate": request.credential.certificate,
            "key": request.credential.key,
        },
    }


def test_invariant_12_no_secret_is_in_logs_or_errors(
    quiet: Cloud, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    request = request_for(T1)
    provider = quiet.provider(boots=False)
    quiet.server.region.faults.add(_cut("RunInstances"))
    with pytest.raises(TargetFailed) as cut:
        provider.create_instance(request)
    unreachable: AlibabaProvider = quiet.provider(boots=False, endpoint="127.0.0.1:9")
    with pytest.raises(TargetFailed, match="did not answer DescribeInstances") as refused:
        unreachable.find(T1)
    told = caplog.text + str(cut.value) + str(refused.value) + repr(provider) + "".join(capfd.readouterr())
    key = "".join(request.credential.key.splitlines()[1:2])
    for secret in (
        KEY.secret,
        key,
        base64.b64encode(request.credential.key.encode()).decode()[:40],
        "UserData",
    ):
        assert secret not in told


def _cut(call: str) -> Any:
    from simulator.faults import Rule

    return Rule(call, "cut")


def test_an_endpoint_that_is_not_trusted_is_told_so(quiet: Cloud, tmp_path: Path) -> None:
    provider = quiet.provider(boots=False, endpoint=f"localhost:{quiet.server.port}", authority=None)
    with pytest.raises(TargetFailed, match="its certificate is not trusted") as refused:
        provider.find(T1)
    assert not refused.value.retryable
