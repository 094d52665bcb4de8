"""The official SDKs, unmodified, on everything that a migration needs."""

from __future__ import annotations

import pytest
from Tea.exceptions import TeaException

from simulator.cloud import Quotas, Stock
from simulator.cloud.region import Timing
from tests.ecs.account import Account, code_of, read, settled, write
from tests.ecs.conftest import Clock, Open


def refused(
    code: str, status: int, account: Account, operation: str, vpc: bool = False, /, **given: object
) -> None:
    """The call is refused with exactly this."""
    with pytest.raises(TeaException) as failed:
        (account.vpc if vpc else account.ecs)(operation, **given)
    assert code_of(failed.value) == (code, status)


def test_an_instance_goes_through_all_its_states(open_region: Open) -> None:
    clock = Clock()
    account = Account(open_region(clock=clock, timing=Timing(pending=60, starting=60, lag=0, network=0)))
    (made,) = account.ecs("RunInstances", **account.order())["InstanceIdSets"]["InstanceIdSet"]
    seen = []
    for _ in range(3):
        seen.append(account.instance(made)["Status"])  # type: ignore[index]
        clock.ahead += 60
    assert seen == ["Pending", "Starting", "Running"]
    refused("IncorrectInstanceStatus", 403, account, "DeleteInstance", InstanceId=made)
    account.ecs("StopInstance", InstanceId=made)
    account.until(made, "Stopped")
    account.ecs("StartInstance", InstanceId=made)
    refused(
        "IncorrectInstanceStatus.Initializing", 403, account, "DeleteInstance", InstanceId=made, Force=True
    )
    clock.ahead += 60
    account.until(made, "Running")
    account.ecs("DeleteInstance", InstanceId=made, Force=True)
    assert account.instance(made) is None
    refused("InvalidInstanceId.NotFound", 404, account, "StopInstance", InstanceId=made)


def test_what_was_made_is_seen_only_after_a_moment(open_region: Open) -> None:
    clock = Clock()
    account = Account(open_region(clock=clock, timing=Timing(lag=60, pending=0, starting=0, network=0)))
    vpc = account.vpc("CreateVpc", CidrBlock="172.16.0.0/12")["VpcId"]
    assert account.vpc("DescribeVpcs")["Vpcs"]["Vpc"] == []
    refused("InvalidVpcId.NotFound", 404, account, "DeleteVpc", True, VpcId=vpc)
    clock.ahead += 60
    assert [row["VpcId"] for row in account.vpc("DescribeVpcs")["Vpcs"]["Vpc"]] == [vpc]


def test_disks_snapshots_and_an_image_that_makes_instances_with_the_same_bytes(account: Account) -> None:
    first = account.run(
        DataDisk=[
            {"Category": "cloud_essd", "Size": 20, "DiskName": "one"},
            {"Category": "cloud_auto", "Size": 1},
        ],
        Tag=[{"Key": "token", "Value": "t1"}],
    )
    system, one, two = account.disks(first)
    assert [row["Device"] for row in (system, one, two)] == ["/dev/xvda", "/dev/xvdb", "/dev/xvdc"]
    assert one["Tags"]["Tag"] == [{"TagKey": "token", "TagValue": "t1"}]
    paths = {row["DiskId"]: account.region.disks.get(row["DiskId"]).path for row in (one, two)}
    refused("IncorrectDiskStatus.NeverUsed", 403, account, "CreateSnapshot", DiskId=one["DiskId"])
    write(paths[one["DiskId"]], 1 << 20, b"bootable")
    write(paths[two["DiskId"]], 5, b"data")
    snapshots = [account.snapshot(row["DiskId"]) for row in (one, two)]
    write(paths[one["DiskId"]], 1 << 20, b"too late")
    image = account.ecs(
        "CreateImage",
        ImageName="web",
        BootMode="UEFI",
        Platform="Debian",
        DiskDeviceMapping=[
            {"SnapshotId": snapshots[0], "Device": "/dev/xvda", "DiskType": "system"},
            {"SnapshotId": snapshots[1], "Device": "/dev/xvdb", "DiskType": "data"},
        ],
    )["ImageId"]
    assert account.image(image) == []  # only what is available is listed
    assert (
        settled(lambda: account.image(image, Status="Creating,Available"), "Available")["BootMode"] == "UEFI"
    )
    refused("SnapshotCreatedImage", 403, account, "DeleteSnapshot", SnapshotId=snapshots[0])
    second = account.run(ImageId=image)
    copies = [account.region.disks.get(row["DiskId"]).path for row in account.disks(second)]
    assert read(copies[0], 0, (1 << 20) + 8) == bytes(1 << 20) + b"bootable"
    assert read(copies[1], 0, 9) == bytes(5) + b"data"
    assert account.image(image, Usage="none") == []
    assert len(account.image(image, Usage="instance")) == 1
    refused("ImageUsingByInstance", 403, account, "DeleteImage", ImageId=image)
    account.ecs("DeleteInstance", InstanceId=second, Force=True)
    account.ecs("DeleteImage", ImageId=image)
    for snapshot in snapshots:
        account.ecs("DeleteSnapshot", SnapshotId=snapshot)
    account.ecs("DeleteInstance", InstanceId=first, Force=True)
    assert list(account.region.disks) == []
    assert not list((account.region.directory / "files").iterdir())


def test_a_disk_is_made_plugged_unplugged_and_deleted(account: Account) -> None:
    instance = account.run()
    zone = account.region.stock.zones[0]
    disk = account.ecs("CreateDisk", ZoneId=zone, DiskCategory="cloud_essd", Size=20)["DiskId"]
    row = settled(lambda: account.ecs("DescribeDisks", DiskIds=f'["{disk}"]')["Disks"]["Disk"], "Available")
    assert row["SerialNumber"] == disk.removeprefix("d-")
    account.ecs("AttachDisk", InstanceId=instance, DiskId=disk, DeleteWithInstance=True)
    settled(lambda: account.ecs("DescribeDisks", DiskIds=f'["{disk}"]')["Disks"]["Disk"], "In_use")
    refused("IncorrectDiskStatus", 403, account, "DeleteDisk", DiskId=disk)
    account.ecs("DetachDisk", InstanceId=instance, DiskId=disk)
    account.ecs("DeleteDisk", DiskId=disk)
    refused("InvalidDiskId.NotFound", 404, account, "DeleteDisk", DiskId=disk)


def test_snapshots_take_time_and_one_at_a_time(open_region: Open) -> None:
    clock = Clock()
    timing = Timing(pending=0, starting=0, lag=0, network=0, snapshot=60)
    account = Account(open_region(clock=clock, timing=timing))
    disk = account.disks(account.run())[0]["DiskId"]
    made = account.ecs("CreateSnapshot", DiskId=disk)["SnapshotId"]
    refused("IncorrectDiskStatus.CreatingSnapshot", 403, account, "CreateSnapshot", DiskId=disk)
    mapping = [{"SnapshotId": made, "Device": "/dev/xvda", "DiskType": "system"}]
    refused(
        "InvalidSnapshotId.NotReady", 403, account, "CreateImage", ImageName="web", DiskDeviceMapping=mapping
    )
    rows = account.ecs("DescribeSnapshots", SnapshotIds=f'["{made}"]')["Snapshots"]["Snapshot"]
    assert rows[0]["Status"] == "progressing"
    assert rows[0]["Progress"].endswith("%")
    clock.ahead += 60
    account.ecs("CreateImage", ImageName="web", DiskDeviceMapping=mapping)


def test_image_names_are_unique_and_well_formed(account: Account) -> None:
    snapshot = account.snapshot(account.disks(account.run())[0]["DiskId"])
    account.ecs("CreateImage", ImageName="web", SnapshotId=snapshot)
    refused("InvalidImageName.Duplicated", 400, account, "CreateImage", ImageName="web", SnapshotId=snapshot)
    refused("InvalidImageName.Malformed", 400, account, "CreateImage", ImageName="1web", SnapshotId=snapshot)
    two = [{"SnapshotId": snapshot, "Device": "/dev/xvda", "DiskType": "system"}] * 2
    refused("InvalidDevice.InUse", 403, account, "CreateImage", ImageName="a-b", DiskDeviceMapping=two)
    none = [{"SnapshotId": snapshot, "Device": "/dev/xvdb", "DiskType": "data"}]
    refused("InvalidDevice.Malformed", 400, account, "CreateImage", ImageName="a-b", DiskDeviceMapping=none)
    small = [{"SnapshotId": snapshot, "Device": "/dev/xvda", "DiskType": "system", "Size": 5}]
    refused(
        "InvalidSize.ValueNotSupported", 400, account, "CreateImage", ImageName="a-b", DiskDeviceMapping=small
    )


def test_networks_are_taken_down_from_the_inside_out(open_region: Open) -> None:
    account = Account(open_region(quotas=Quotas(vpcs=1)))
    instance = account.run()
    refused("QuotaExceeded.Vpc", 400, account, "CreateVpc", True)
    refused("DependencyViolation", 403, account, "DeleteVSwitch", True, VSwitchId=account.vswitch)
    refused("DependencyViolation", 403, account, "DeleteSecurityGroup", SecurityGroupId=account.group)
    account.ecs("DeleteInstance", InstanceId=instance, Force=True)
    refused("DependencyViolation.SecurityGroup", 400, account, "DeleteVpc", True, VpcId=account.vpc_id)
    account.ecs("DeleteSecurityGroup", SecurityGroupId=account.group)
    refused("DependencyViolation.VSwitch", 400, account, "DeleteVpc", True, VpcId=account.vpc_id)
    account.vpc("DeleteVSwitch", VSwitchId=account.vswitch)
    account.vpc("DeleteVpc", VpcId=account.vpc_id)
    assert account.vpc("DescribeVpcs")["Vpcs"]["Vpc"] == []


def test_rules_of_a_security_group_are_there_once(account: Account) -> None:
    rule = {"IpProtocol": "tcp", "PortRange": "8080/8080", "SourceCidrIp": "10.0.0.0/8"}
    for _ in range(2):
        account.ecs("AuthorizeSecurityGroup", SecurityGroupId=account.group, Permissions=[rule])
    told = account.ecs("DescribeSecurityGroupAttribute", SecurityGroupId=account.group, Direction="ingress")
    (permission,) = told["Permissions"]["Permission"]
    assert (permission["IpProtocol"], permission["PortRange"], permission["SourceCidrIp"]) == (
        "TCP",
        "8080/8080",
        "10.0.0.0/8",
    )
    account.ecs("RevokeSecurityGroup", SecurityGroupId=account.group, Permissions=[rule])
    told = account.ecs("DescribeSecurityGroupAttribute", SecurityGroupId=account.group)
    assert told["Permissions"]["Permission"] == []


def test_the_stock_says_what_can_be_bought_and_where(open_region: Open) -> None:
    stock = Stock(sold_out=["ecs.t6-*@cn-hangzhou-h", "cloud_ssd"], not_offered=["ecs.g6.*@cn-hangzhou-i"])
    account = Account(open_region(stock=stock))
    told = account.ecs("DescribeAvailableResource", DestinationResource="InstanceType", Cores=2, Memory=2.0)
    by_zone = {
        row["ZoneId"]: {
            each["Value"]: each["Status"]
            for each in row["AvailableResources"]["AvailableResource"][0]["SupportedResources"][
                "SupportedResource"
            ]
        }
        for row in told["AvailableZones"]["AvailableZone"]
    }
    assert by_zone["cn-hangzhou-h"] == {"ecs.t6-c1m1.large": "SoldOut", "ecs.t5-c1m1.large": "Available"}
    assert by_zone["cn-hangzhou-i"]["ecs.t6-c1m1.large"] == "Available"
    disks = account.ecs(
        "DescribeAvailableResource",
        DestinationResource="DataDisk",
        InstanceType="ecs.c7.large",
        ZoneId="cn-hangzhou-h",
    )["AvailableZones"]["AvailableZone"][0]["AvailableResources"]["AvailableResource"][0]
    (essd, auto) = disks["SupportedResources"]["SupportedResource"]
    assert (essd["Value"], essd["Min"], essd["Max"], auto["Min"]) == ("cloud_essd", 20, 65536, 1)
    refused("OperationDenied.NoStock", 403, account, "RunInstances", **account.order())
    refused(
        "InvalidDiskCategory.NotSupported",
        403,
        account,
        "RunInstances",
        **account.order(InstanceType="ecs.t5-c1m1.large"),
    )
    arm = account.order(InstanceType="ecs.c6r.large")
    refused("ImageNotSupportInstanceType", 403, account, "RunInstances", **arm)
    unknown = account.order(InstanceType="ecs.none.large")
    refused("InvalidInstanceType.ValueNotSupported", 400, account, "RunInstances", **unknown)


def test_lists_come_in_pages_by_number_and_by_token(account: Account) -> None:
    for number in range(5):
        account.new_group(SecurityGroupName=f"g{number}")
    assert account.group
    pages = [
        account.ecs("DescribeSecurityGroups", PageNumber=number, PageSize=2)["SecurityGroups"][
            "SecurityGroup"
        ]
        for number in (1, 2, 3, 4)
    ]
    assert [len(page) for page in pages] == [2, 2, 2, 0]
    token, found = "", []
    while True:
        part = account.ecs("DescribeSecurityGroups", MaxResults=4, **({"NextToken": token} if token else {}))
        found += part["SecurityGroups"]["SecurityGroup"]
        if not (token := part.get("NextToken", "")):
            break
    assert found == [row for page in pages for row in page]
    refused("InvalidParameter", 400, account, "DescribeSecurityGroups", PageSize=101)


def test_tags_find_things_and_can_be_changed(account: Account) -> None:
    tags = [{"Key": "token", "Value": "a"}, {"Key": "job", "Value": "j"}]
    group = account.new_group(Tag=tags)

    def found(**given: object) -> list[str]:
        rows = account.ecs("DescribeSecurityGroups", **given)["SecurityGroups"]["SecurityGroup"]
        return [row["SecurityGroupId"] for row in rows]

    assert found(Tag=[{"Key": "token", "Value": "a"}]) == [group]
    assert found(Tag=[{"Key": "token"}]) == [group]
    assert found(Tag=[{"Key": "token", "Value": "b"}]) == []
    kind = {"ResourceType": "securitygroup", "ResourceId": [group]}
    account.ecs("TagResources", **kind, Tag=[{"Key": "token", "Value": "b"}])
    account.ecs("UntagResources", **kind, TagKey=["job"])
    rows = account.ecs("ListTagResources", **kind)["TagResources"]["TagResource"]
    assert [(row["TagKey"], row["TagValue"]) for row in rows] == [("token", "b")]
