"""Who may act for which vCenter: codes, approval, revocation, rotation; over real HTTP, by whoever has a right key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from connector.clients.agents import Membership
from connector.control.domain.access import Role
from connector.errors import AuthenticationFailed, Conflict, ControlFailed, NotPermitted
from tests.control.conftest import machine
from tests.control.honest import new_signer
from tests.smc.conftest import Cloud, fresh
from tests.smc.test_extensions import Reader, ask
from tests.waiting import eventually


@pytest.fixture
def vcenter() -> str:
    return fresh("50")


def change(cloud: Cloud, action: str, **parameters: str) -> dict[str, Any]:
    answer = cloud.raw(action, parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def group(cloud: Cloud) -> str:
    return str(change(cloud, "CreateWorkgroup", Name=fresh("tenant"))["WorkgroupId"])


def new_code(cloud: Cloud, vcenter: str, **more: str) -> str:
    made = change(cloud, "CreateEnrolmentCode", Name=fresh("code"), VCenter=vcenter, **more)
    return str(made["AccessTokenCode"])


def row(cloud: Cloud, member: Membership) -> Any:
    body = ask(cloud, "DescribeMigrationAppliances", ApplianceId__1=member.appliance_id)
    (found,) = body["Appliances"]["Appliance"]
    return found


def waits(cloud: Cloud, member: Membership) -> bool:
    """It may call in, and nothing else."""
    client = cloud.plane.client(member)
    waiting = client.heartbeat([]).waiting
    calls: list[Callable[[], Any]] = [
        lambda: client.take(0.0),
        lambda: client.put_sources([machine("vm-1", fresh("vm"))], {}),
        client.leftovers,
        client.remembered,
    ]
    for call in calls if waiting else ():
        with pytest.raises(Conflict, match="waits for approval") as refused:
            call()
        assert refused.value.retryable
    assert row(cloud, member)["State"] == ("waiting" if waiting else "approved")
    return waiting


def test_a_code_that_names_no_vcenter_brings_in_what_waits(cloud: Cloud, vcenter: str) -> None:
    made = change(cloud, "CreateAccessToken", Name=fresh("code"))
    member = cloud.plane.enrol("sdk", vcenter, made["AccessTokenCode"])
    assert waits(cloud, member)
    change(cloud, "ApproveMigrationAppliance", ApplianceId=member.appliance_id)
    assert not waits(cloud, member)
    second = cloud.plane.enrol("sdk 2", vcenter, made["AccessTokenCode"])
    assert waits(cloud, second)


def test_the_first_of_a_vcenter_is_approved_and_others_join(cloud: Cloud, vcenter: str) -> None:
    code = new_code(cloud, vcenter)
    first = cloud.plane.enrol("first", vcenter, code)
    assert waits(cloud, first)
    change(cloud, "ApproveMigrationAppliance", ApplianceId=first.appliance_id)
    assert not waits(cloud, cloud.plane.enrol("second", vcenter, code))


def test_a_code_may_say_that_the_first_one_joins_by_itself(cloud: Cloud, vcenter: str) -> None:
    code = new_code(cloud, vcenter, JoinsByItself="true")
    assert not waits(cloud, cloud.plane.enrol("first", vcenter, code))


def test_a_code_is_for_one_vcenter(cloud: Cloud, vcenter: str) -> None:
    code = new_code(cloud, vcenter, JoinsByItself="true")
    with pytest.raises(NotPermitted, match="for another vCenter"):
        cloud.plane.enrol("elsewhere", fresh("50"), code)


def test_another_tenants_code_does_not_reach_a_vcenter(cloud: Cloud, vcenter: str) -> None:
    """B of the report: enrolled for one tenant, it declares the other's vCenter."""
    mine, theirs = group(cloud), group(cloud)
    member = cloud.plane.enrol("a", vcenter, new_code(cloud, vcenter, WorkgroupId=mine, JoinsByItself="true"))
    assert row(cloud, member)["WorkgroupId"] == mine
    ids = cloud.plane.client(member).put_sources([machine("vm-1", fresh("vm"))], {})
    with pytest.raises(NotPermitted, match="belongs to another tenant"):
        cloud.plane.enrol("b", vcenter, new_code(cloud, vcenter, WorkgroupId=theirs, JoinsByItself="true"))
    body = ask(cloud, "DescribeSourceServerFindings", SourceId__1=ids["vm-1"])
    assert body["SourceServers"]["SourceServer"][0]["State"] == "Available"


def test_a_revoked_appliance_is_out_at_once(cloud: Cloud) -> None:
    reader = Reader(cloud)
    pass_id, member = reader.take(), reader.robot.membership
    change(cloud, "RevokeMigrationAppliance", ApplianceId=member.appliance_id)
    for call in (
        lambda: reader.client.heartbeat([pass_id]),
        lambda: reader.client.finish(pass_id, "done", None, {}),
        lambda: reader.client.put_sources([], {}),
    ):
        with pytest.raises(NotPermitted, match="was revoked"):
            call()
    assert row(cloud, member)["State"] == "revoked"
    folders = (cloud.plane.root / "store" / "instances").iterdir()
    instance = next(f for f in folders if json.loads((f / "instance.json").read_text())["job"] == reader.job)
    assert member.appliance_id in json.loads((instance / "revoked").read_text())
    vcenter = cloud.plane.members[member.appliance_id][0]
    other = cloud.plane.enrol(
        "other", vcenter
    )  # the administrator's code, and one was just revoked that used it
    assert waits(cloud, other)
    change(cloud, "ApproveMigrationAppliance", ApplianceId=other.appliance_id)
    order = eventually(lambda: cloud.plane.client(other).take(0.2), "the pass is offered again")
    assert order["attempts"] == [pass_id]
    cloud.plane.done(other, order)
    cloud.plane.reach(reader.name, "Finished")


@pytest.mark.parametrize("action", ["DisableAccessToken", "DeleteAccessToken"])
def test_what_enrolled_with_a_code_that_is_withdrawn_waits_again(
    cloud: Cloud, vcenter: str, action: str
) -> None:
    made = change(cloud, "CreateEnrolmentCode", Name=fresh("code"), VCenter=vcenter, JoinsByItself="true")
    member = cloud.plane.enrol("a", vcenter, made["AccessTokenCode"])
    assert not waits(cloud, member)
    name = fresh("vm")
    cloud.plane.client(member).put_sources([machine("vm-1", name)], {})
    cloud.plane.jobs.create(name, name)
    cloud.plane.jobs.start(name)
    order = eventually(lambda: cloud.plane.client(member).take(0.2), "a pass is offered")
    change(cloud, action, AccessTokenId=made["AccessTokenId"])
    assert waits(cloud, member)
    assert cloud.plane.client(member).heartbeat([order["pass_id"]]).stop == (order["pass_id"],)
    change(cloud, "ApproveMigrationAppliance", ApplianceId=member.appliance_id)
    again = eventually(lambda: cloud.plane.client(member).take(0.2), "the pass is offered again")
    cloud.plane.done(member, again)
    cloud.plane.reach(name, "Finished")


def test_a_rotation_replaces_secret_and_key_and_the_old_ones_end(cloud: Cloud) -> None:
    reader = Reader(cloud)
    pass_id, member = reader.take(), reader.robot.membership
    old = reader.client
    with pytest.raises(NotPermitted, match="nobody asked"):
        old.rotate(new_signer().public_pem)
    change(cloud, "RotateMigrationAppliance", ApplianceId=member.appliance_id)
    assert old.heartbeat([pass_id]).rotate
    fresh_signer, plane = new_signer(), cloud.plane
    lost = Membership(member.appliance_id, old.rotate(fresh_signer.public_pem))  # this answer gets lost
    kept = Membership(member.appliance_id, old.rotate(fresh_signer.public_pem))
    assert old.heartbeat([pass_id]).rotate  # the old secret is good until the new one is used
    with pytest.raises(AuthenticationFailed):
        plane.client(lost).heartbeat([])
    new = plane.client(kept)
    assert not new.heartbeat([pass_id]).rotate
    new.heartbeat([pass_id])
    with pytest.raises(AuthenticationFailed):
        old.heartbeat([pass_id])
    plane.show(reader.order)  # the old key is good for this pass, which was taken before
    new.evidence(pass_id, plane.evidence(member, reader.order))
    new.finish(pass_id, "done", None, {})
    plane.reach(reader.name, "Finished")


def test_after_a_rotation_the_old_key_signs_nothing_new(cloud: Cloud) -> None:
    reader = Reader(cloud, run_once=False)
    member, plane = reader.robot.membership, cloud.plane
    reader.take()
    reader.done()
    plane.reach(reader.name, "Waiting")
    change(cloud, "RotateMigrationAppliance", ApplianceId=member.appliance_id)
    kept = Membership(member.appliance_id, reader.client.rotate(new_signer().public_pem))
    reader.client = plane.client(kept)
    reader.client.heartbeat([])
    pass_id = reader.take()
    with pytest.raises(Exception, match="replaced before this pass was taken"):
        reader.client.evidence(pass_id, plane.evidence(member, reader.order))
    with pytest.raises(ControlFailed, match="no evidence"):
        reader.client.finish(pass_id, "done", None, {})


@pytest.mark.parametrize("role", [Role.READER, Role.OPERATOR])
def test_only_an_administrator_decides(cloud: Cloud, role: Role, vcenter: str) -> None:
    member = cloud.plane.enrol("a", vcenter)
    for action in ("Approve", "Revoke", "Rotate"):
        answer = cloud.raw(f"{action}MigrationAppliance", {"ApplianceId": member.appliance_id}, role)
        assert answer.json()["Code"] == "Forbidden.Unauthorized"
    unknown = cloud.raw("RevokeMigrationAppliance", {"ApplianceId": "a-nobody"})
    assert unknown.json()["Code"] == "MigrationAppliance.NotFound"
