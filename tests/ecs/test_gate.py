"""Who comes in: both signatures, both SDK families, clocks, nonces, temporary keys, permissions."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import requests
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from Tea.exceptions import TeaException

from simulator.cloud import AccessKey, Server
from tests.ecs.account import KEY, Account, code_of
from tests.ecs.conftest import Clock, Open
from tests.waiting import PATIENCE


def older(action: str, version: str = "2014-05-26", method: str = "POST", **given: Any) -> CommonRequest:
    request = CommonRequest()
    request.set_action_name(action)
    request.set_version(version)
    request.set_method(method)
    request.set_protocol_type("https")
    for name, value in given.items():
        request.add_query_param(name.replace("_", "."), value)
    return request


def ask(server: Server, request: CommonRequest, key: AccessKey = KEY) -> dict[str, Any]:
    client = AcsClient(
        key.id, key.secret, server.region.name, verify=str(server.certificate), port=server.port
    )
    request.set_domain("127.0.0.1")
    answer: dict[str, Any] = json.loads(client.do_action_with_exception(request))
    return answer


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_older_sdk_comes_in_by_get_and_post(open_region: Open, method: str) -> None:
    server = open_region()
    told = ask(server, older("DescribeImages", method=method, ImageOwnerAlias="system"))
    assert {row["ImageId"] for row in told["Images"]["Image"]} == {"m-sim-x86", "m-sim-arm"}
    vpc = ask(
        server,
        older("CreateVpc", "2016-04-28", method, CidrBlock="10.0.0.0/8", Tag_1_Key="a b", Tag_1_Value="ü*~"),
    )
    (row,) = Account(server).vpc("DescribeVpcs", VpcId=seen(server, vpc["VpcId"]))["Vpcs"]["Vpc"]
    assert row["Tags"]["Tag"] == [{"Key": "a b", "Value": "ü*~"}]


def seen(server: Server, vpc: str) -> str:
    while not Account(server).vpc("DescribeVpcs", VpcId=vpc)["Vpcs"]["Vpc"]:
        pass
    return vpc


def test_the_older_sdk_gets_codes_with_their_status(open_region: Open) -> None:
    with pytest.raises(ServerException) as refused:
        ask(open_region(), older("StopInstance", InstanceId="i-none"))
    assert (refused.value.get_error_code(), refused.value.get_http_status()) == (
        "InvalidInstanceId.NotFound",
        404,
    )


def test_the_newer_sdk_may_sign_the_older_way(open_region: Open) -> None:
    account = Account(open_region(), signature_algorithm="v2")
    assert account.ecs("DescribeZones")["Zones"]["Zone"]


def test_a_wrong_secret_and_an_unknown_key_stay_outside(open_region: Open) -> None:
    server = open_region()
    cases = [
        (AccessKey(KEY.id, "wrong"), ("SignatureDoesNotMatch", 400)),
        (AccessKey("nobody", "x"), ("InvalidAccessKeyId.NotFound", 404)),
    ]
    for key, told in cases:
        with pytest.raises(TeaException) as refused:
            Account(server, key).ecs("DescribeZones")
        assert code_of(refused.value) == told


def test_a_temporary_key_needs_its_token(open_region: Open) -> None:
    temporary = AccessKey("STS.x", "secret", "the-token")
    server = open_region(keys=(temporary,))
    assert Account(server, temporary).ecs("DescribeZones")["Zones"]["Zone"]
    for wrong in (AccessKey("STS.x", "secret"), AccessKey("STS.x", "secret", "another")):
        with pytest.raises(TeaException) as refused:
            Account(server, wrong).ecs("DescribeZones")
        assert code_of(refused.value) == ("InvalidSecurityToken.Malformed", 400)


def test_a_key_may_only_do_what_it_is_allowed_to(open_region: Open) -> None:
    limited = AccessKey("limited", "secret", denied=("Create*",))
    account = Account(open_region(keys=(limited,)), limited)
    account.ecs("DescribeZones")
    with pytest.raises(TeaException) as refused:
        account.vpc("CreateVpc")
    assert code_of(refused.value) == ("Forbidden.RAM", 403)


def test_a_clock_that_is_wrong_by_more_than_a_quarter_of_an_hour_is_told_so(open_region: Open) -> None:
    clock = Clock()
    account = Account(open_region(clock=clock))
    clock.ahead = 1000
    with pytest.raises(TeaException) as refused:
        account.ecs("DescribeZones")
    assert code_of(refused.value) == ("InvalidTimeStamp.Expired", 400)


def test_other_regions_actions_and_versions_do_not_exist(open_region: Open) -> None:
    server = open_region()
    cases = [
        (older("DescribeZones", RegionId="mars-1"), "InvalidRegionId.NotFound"),
        (older("Nothing"), "InvalidAction.NotFound"),
        (older("DescribeZones", "2000-01-01"), "InvalidVersion"),
    ]
    for request, code in cases:
        with pytest.raises(ServerException) as refused:
            ask(server, request)
        assert refused.value.get_error_code() == code


def signed(method: str, parameters: dict[str, str], secret: str = KEY.secret) -> dict[str, str]:
    """RPC V1, written down once more from its description."""

    def plain(text: str) -> str:
        return quote(text, safe="-_.~")

    joined = "&".join(f"{plain(name)}={plain(parameters[name])}" for name in sorted(parameters))
    text = f"{method}&%2F&{plain(joined)}"
    digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
    return parameters | {"Signature": base64.b64encode(digest).decode()}


def around(action: str) -> dict[str, str]:
    return {
        "Action": action,
        "Version": "2014-05-26",
        "Format": "JSON",
        "AccessKeyId": KEY.id,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": uuid.uuid4().hex,
        "Timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def test_a_request_is_accepted_once(open_region: Open) -> None:
    server = open_region()
    parameters = signed("POST", around("DescribeRegions"))
    send = send_to(server)
    assert send(parameters).status_code == 200
    again = send(parameters)
    assert (again.status_code, again.json()["Code"]) == (400, "SignatureNonceUsed")


def send_to(server: Server) -> Callable[[dict[str, str]], requests.Response]:
    session = requests.Session()
    session.trust_env = False

    def send(parameters: dict[str, str]) -> requests.Response:
        url = f"https://{server.endpoint}/?{urlencode(parameters)}"
        return session.post(url, verify=str(server.certificate), timeout=PATIENCE)

    return send


def test_nobody_comes_in_unsigned_or_with_half_a_signature(open_region: Open) -> None:
    server = open_region()
    send = send_to(server)
    whole = signed("POST", around("DescribeRegions"))
    for name in ("Signature", "AccessKeyId", "Timestamp", "SignatureNonce"):
        answer = send({key: value for key, value in whole.items() if key != name})
        assert (answer.status_code, answer.json()["Code"]) == (400, "IncompleteSignature")


_TEXT = st.text(st.characters(blacklist_categories=["Cs"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=_TEXT.filter(bool), value=_TEXT)
def test_any_text_can_be_signed_and_any_change_is_noticed(shared: Server, name: str, value: str) -> None:
    parameters = around("DescribeRegions")
    if name in parameters or name == "Signature":
        return
    whole = signed("POST", parameters | {name: value})
    send = send_to(shared)
    changed = send(whole | {name: value + "x"})
    assert (changed.status_code, changed.json()["Code"]) == (400, "SignatureDoesNotMatch")
    assert send(whole).status_code == 200


@pytest.fixture
def shared(open_region: Open) -> Server:
    return open_region()
