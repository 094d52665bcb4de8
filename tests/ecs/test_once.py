"""A client token makes repeating harmless, also when the first answer was lost; faults do what their rules say."""

from __future__ import annotations

from typing import Any

import pytest
from darabonba.exceptions import UnretryableException
from Tea.exceptions import TeaException

from simulator.faults import Rule
from tests.ecs.account import Account, code_of


def cases(account: Account) -> list[tuple[str, dict[str, Any], dict[str, Any], Any]]:
    """Operation, what it is given, what another call is given, and what counts what exists."""
    region = account.region
    snapshot = account.snapshot(account.disks(account.run())[0]["DiskId"])
    disk = account.disks(account.run())[0]["DiskId"]
    image = {"ImageName": "one", "SnapshotId": snapshot}
    zone = {"ZoneId": region.stock.zones[0], "DiskCategory": "cloud_essd"}
    return [
        ("RunInstances", account.order(), account.order(InstanceName="other"), region.instances),
        ("CreateDisk", zone | {"Size": 20}, zone | {"Size": 21}, region.disks),
        ("CreateSnapshot", {"DiskId": disk}, {"DiskId": disk, "SnapshotName": "x"}, region.snapshots),
        ("CreateImage", image, image | {"ImageName": "two"}, region.images),
        (
            "CreateSecurityGroup",
            {"VpcId": account.vpc_id},
            {"VpcId": account.vpc_id, "Description": "x"},
            region.groups,
        ),
    ]


def test_the_same_token_is_the_same_thing_and_other_parameters_are_refused(account: Account) -> None:
    for operation, given, other, shelf in cases(account):
        before = len(shelf)
        first = account.ecs(operation, ClientToken="t", **given)
        again = account.ecs(operation, ClientToken="t", **given)
        assert {**first, "RequestId": ""} == {**again, "RequestId": ""}
        assert len(shelf) == before + 1
        with pytest.raises(TeaException) as refused:
            account.ecs(operation, ClientToken="t", **other)
        assert code_of(refused.value) == ("IdempotenceParamNotMatch", 400)


def test_a_lost_answer_is_found_again_with_its_token(account: Account) -> None:
    order = account.order()
    account.region.faults.add(Rule("RunInstances", "cut"))
    with pytest.raises(UnretryableException):
        account.ecs("RunInstances", ClientToken="t", **order)
    (made,) = account.region.instances
    told = account.ecs("RunInstances", ClientToken="t", **order)
    assert told["InstanceIdSets"]["InstanceIdSet"] == [made.id]


def test_a_refusal_buys_nothing_so_the_token_can_be_used_again(account: Account) -> None:
    order = account.order()
    account.region.stock.sell_out("ecs.t6-*")
    with pytest.raises(TeaException):
        account.ecs("RunInstances", ClientToken="t", **order)
    account.region.stock.refill()
    account.ecs("RunInstances", ClientToken="t", **order)
    assert len(account.region.instances) == 1


def test_rules_name_calls_and_objects_and_count(account: Account) -> None:
    account.region.faults.add(
        Rule("RunInstances", "fault", object="ecs.t6-*", skip=1, times=1, fault="OperationDenied.NoStock"),
        Rule("Describe*", "fault", fault="Throttling.User"),
        Rule("StopInstance", "fault", fault="Made.Up", message="what I say", details={"status": 409}),
    )
    with pytest.raises(TeaException) as refused:
        account.ecs("DescribeZones")
    assert code_of(refused.value) == ("Throttling.User", 400)
    account.ecs("DescribeZones")
    order = account.order()
    account.ecs("RunInstances", **order)
    with pytest.raises(TeaException) as refused:
        account.ecs("RunInstances", **order)
    assert code_of(refused.value) == ("OperationDenied.NoStock", 403)
    account.ecs("RunInstances", **order)
    with pytest.raises(TeaException) as refused:
        account.ecs("StopInstance", InstanceId="i-any")
    assert code_of(refused.value) == ("Made.Up", 409)
    assert "what I say" in str(refused.value)
