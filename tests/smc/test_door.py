"""The door: who is let in, what the answers look like, and that nothing makes it stumble."""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from alibabacloud_smc20190601 import models
from alibabacloud_tea_openapi.exceptions import ClientException
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdksmc.request.v20190601 import DescribeSourceServersRequest, ListTagResourcesRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from Tea.exceptions import TeaException

from connector.control.domain.access import Role
from connector.control.smc import enrolment, sources, tables, tags, workgroups
from connector.control.smc import tables as job_tables
from connector.control.smc.authenticator import Recent
from connector.control.smc.catalogue import code_of
from connector.control.state.access_keys import AccessKeys
from connector.control.state.vault import Vault
from connector.control.store import Store
from tests.control.conftest import Plane, gates, make_plane
from tests.smc.conftest import Cloud, fresh
from tests.waiting import PATIENCE, eventually

__all__ = ["gates", "make_plane"]

TABLES = {
    "DescribeSourceServers": sources.DESCRIBE,
    "ModifySourceServerAttribute": sources.MODIFY,
    "DeleteSourceServer": sources.DELETE,
    "DescribeReplicationJobs": job_tables.DESCRIBE,
    "CreateReplicationJob": job_tables.CREATE,
    "ModifyReplicationJobAttribute": job_tables.MODIFY,
    "StartReplicationJob": (job_tables.JOB_ID,),
    "CutOverReplicationJob": job_tables.CUT_OVER,
    "CreateCrossZoneMigrationJob": job_tables.CROSS_ZONE,
    "CreateAccessToken": enrolment.CREATE,
    "ListAccessTokens": enrolment.LIST,
    "CreateWorkgroup": workgroups.CREATE,
    "DescribeWorkgroups": workgroups.DESCRIBE,
    "ModifyWorkgroupAttribute": workgroups.MODIFY,
    "TagResources": tags.TAG,
    "UntagResources": tags.UNTAG,
    "ListTagResources": tags.LIST,
    "DescribeReplicationJobProgress": tables.PROGRESS,
    "DescribeReplicationJobLog": tables.LOG,
    "DescribeReplicationJobPasses": tables.PASSES,
    "DescribeReplicationJobResources": tables.RESOURCES,
    "DescribeSourceServerFindings": tables.FINDINGS,
    "DescribeMigrationAppliances": tables.APPLIANCES,
}


def iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def error(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    body = answer.json()
    assert (answer.status_code, body["Code"]) == (status, code)
    assert set(body) == {"RequestId", "HostId", "Code", "Message", "Recommend"}
    return dict(body)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_both_methods_and_the_media_type(cloud: Cloud, method: str) -> None:
    answer = cloud.raw("DescribeSourceServers", {"PageSize": "1"}, method=method)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json;charset=utf-8"
    body = answer.json()
    assert uuid.UUID(body["RequestId"])
    assert [type(body[name]) for name in ("TotalCount", "PageNumber", "PageSize")] == [int] * 3


@pytest.mark.parametrize(
    "changes, status, code",
    [
        ({"Action": "FlyToTheMoon"}, 404, "InvalidAction.NotFound"),
        ({"Action": "describesourceservers"}, 404, "InvalidAction.NotFound"),
        ({"Version": "2014-05-26"}, 404, "InvalidVersion"),
        ({"AccessKeyId": "nobody"}, 404, "InvalidAccessKeyId.NotFound"),
        ({"AccessKeyId": "a\x00b"}, 404, "InvalidAccessKeyId.NotFound"),
        ({"Timestamp": "yesterday"}, 400, "InvalidTimeStamp.Format"),
        ({"Timestamp": iso(-3600)}, 400, "InvalidTimeStamp.Expired"),
        ({"Timestamp": iso(3600)}, 400, "InvalidTimeStamp.Expired"),
        ({"SignatureNonce": "n" * 129}, 400, "IncompleteSignature"),
        ({"SignatureNonce": ""}, 400, "IncompleteSignature"),
        ({"SignatureMethod": "HMAC-MD5"}, 400, "IncompleteSignature"),
        ({"Signature": "wrong"}, 400, "SignatureDoesNotMatch"),
        ({"Format": "XML"}, 400, "InvalidParameter.Format"),
        ({"Nonsense": "1"}, 400, "UnknownParameter"),
    ],
)
def test_refusals_at_the_door(cloud: Cloud, changes: dict[str, str], status: int, code: str) -> None:
    error(cloud.raw("DescribeSourceServers", changes), status, code)


@pytest.mark.parametrize("seconds", [-14 * 60, 14 * 60])
def test_clocks_may_differ_by_almost_15_minutes(cloud: Cloud, seconds: float) -> None:
    assert cloud.raw("DescribeSourceServers", {"Timestamp": iso(seconds)}).status_code == 200


@pytest.mark.parametrize("action", ["DescribeSourceServers", "TagResources"])
def test_a_replayed_request_is_refused(cloud: Cloud, action: str) -> None:
    nonce = {"SignatureNonce": uuid.uuid4().hex}
    cloud.raw(action, nonce)
    error(cloud.raw(action, nonce), 400, "SignatureNonceUsed")
    assert cloud.raw(action, nonce, Role.READER).json().get("Code") != "SignatureNonceUsed"  # another key's


def test_a_request_is_not_replayed_to_the_next_process(make_plane: Callable[..., Plane]) -> None:
    plane = make_plane()
    cloud = Cloud(plane)
    nonce = {"SignatureNonce": uuid.uuid4().hex}
    signed = iso(0)
    assert cloud.raw("DescribeSourceServers", nonce, Timestamp=signed).status_code == 200
    plane.restart()
    error(cloud.raw("DescribeSourceServers", nonce, Timestamp=signed), 400, "SignatureNonceUsed")
    assert cloud.raw("DescribeSourceServers", {}).status_code == 200


def test_nonces_are_forgotten_when_their_request_would_be_too_old() -> None:
    recent = Recent()
    assert recent.first("n", 900.0, 0.0)
    assert not recent.first("n", 900.0, 899.0)
    assert recent.first("m", 2000.0, 1000.0)
    assert recent.first("n", 2000.0, 1001.0)


def _greet(cloud: Cloud, most: ssl.TLSVersion) -> str | None:
    """The version that a client gets who speaks nothing newer than `most`."""
    context = ssl.create_default_context(cafile=str(cloud.certificate))
    context.maximum_version = most
    host, _, port = cloud.host.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 20) as plain,
        context.wrap_socket(plain, server_hostname=host) as safe,
    ):
        return safe.version()


def test_the_port_speaks_tls_1_3_and_nothing_older(cloud: Cloud) -> None:
    assert _greet(cloud, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        _greet(cloud, ssl.TLSVersion.TLSv1_2)


def test_an_unsigned_request_is_refused(cloud: Cloud) -> None:
    certificate = str(cloud.certificate)
    error(requests.get(f"{cloud.plane.url}/", verify=certificate), 400, "IncompleteSignature")
    error(requests.post(f"{cloud.plane.url}/", verify=certificate), 400, "IncompleteSignature")
    assert requests.put(f"{cloud.plane.url}/", verify=certificate).status_code == 405


def test_a_disabled_key_is_refused(cloud: Cloud) -> None:
    cloud.keys[Role.READER] = key = cloud.new_key(Role.READER)
    assert cloud.raw("DescribeSourceServers", {}, Role.READER).status_code == 200
    store = Store(cloud.database)
    store.keys.disable(key[0])
    store.close()
    error(cloud.raw("DescribeSourceServers", {}, Role.READER), 403, "InvalidAccessKeyId.Inactive")
    cloud.keys[Role.READER] = cloud.new_key(Role.READER)


def test_a_wrong_secret_arrives_as_each_sdks_own_error(cloud: Cloud) -> None:
    client = cloud.client(access_key_secret="wrong")
    with pytest.raises(ClientException, match="server string to sign is:ACS3-HMAC-SHA256") as refused:
        client.describe_source_servers(models.DescribeSourceServersRequest())
    assert (refused.value.code, refused.value.status_code) == ("SignatureDoesNotMatch", 400)
    assert isinstance(refused.value, TeaException)
    assert refused.value.request_id
    assert refused.value.data["Recommend"]
    request = DescribeSourceServersRequest.DescribeSourceServersRequest()
    request.set_endpoint("127.0.0.1")
    request.set_protocol_type("https")
    with pytest.raises(ServerException) as old:
        cloud.old(secret="wrong").do_action_with_exception(request)
    assert (old.value.get_error_code(), old.value.get_http_status()) == ("InvalidAccessKeySecret", 400)


def test_what_fails_inside_stays_inside(cloud: Cloud, tmp_path: Path) -> None:
    """A key that another vault sealed cannot be opened; nobody outside learns which file is missing."""
    store = Store(cloud.database)
    key, _ = AccessKeys(store.keys, Vault(tmp_path / "other-vault-key")).create("foreign", Role.ADMIN)
    store.close()
    body = error(cloud.raw("DescribeSourceServers", {"AccessKeyId": key.id}), 503, "ServiceUnavailable")
    assert "vault" not in json.dumps(body)


def test_the_string_to_sign_is_told_by_v1_too(cloud: Cloud) -> None:
    body = error(cloud.raw("DescribeSourceServers", {"Signature": "x"}), 400, "SignatureDoesNotMatch")
    assert "server string to sign is:POST&%2F&AccessKeyId%3D" in body["Message"]


def test_both_dialects_of_the_current_sdk_and_temporary_credentials(cloud: Cloud) -> None:
    request = models.DescribeSourceServersRequest(name="a+b*c~d&e=f%g/h?i#j 名前 😀", page_size=1)
    for settings_ in ({}, {"signature_algorithm": "v2"}, {"security_token": "sts"}):
        body = cloud.client(**settings_).describe_source_servers(request).body
        assert body is not None
        assert body.total_count == 0


@pytest.mark.parametrize("text", ["", " ", "a+b", "\t", "名前", "😀", "%", "&=?#/"])
def test_every_text_survives_the_signature(cloud: Cloud, text: str) -> None:
    for method in ("GET", "POST"):
        answer = cloud.raw("DescribeSourceServers", {"Name": text, "PageSize": "1"}, method=method)
        assert answer.status_code == 200, answer.text


def test_the_old_sdk_lists_and_its_lists_are_numbered(cloud: Cloud) -> None:
    source = cloud.source()
    request = DescribeSourceServersRequest.DescribeSourceServersRequest()
    request.set_endpoint("127.0.0.1")
    request.set_protocol_type("https")
    request.set_SourceIds([source])
    for method in ("POST", "GET"):
        request.set_method(method)
        body = json.loads(cloud.old().do_action_with_exception(request))
        assert [row["SourceId"] for row in body["SourceServers"]["SourceServer"]] == [source]
    refused = ListTagResourcesRequest.ListTagResourcesRequest()
    refused.set_endpoint("127.0.0.1")
    refused.set_protocol_type("https")
    with pytest.raises(ServerException) as raised:
        cloud.old().do_action_with_exception(refused)
    assert raised.value.get_error_code() == "MissingParameter.ResourceType"
    assert raised.value.get_request_id()


def test_a_form_is_as_good_as_a_query_and_other_bodies_are_refused(cloud: Cloud) -> None:
    url, certificate = f"{cloud.plane.url}/", str(cloud.certificate)
    answer = requests.post(url, json={"Action": "x"}, verify=certificate)
    error(answer, 400, "MalformedRequest")
    error(requests.post(url, data=b"a" * (1 << 20) + b"b", verify=certificate), 400, "MalformedRequest")
    error(requests.post(url, data=b"a=%ff", verify=certificate), 400, "MalformedRequest")
    error(requests.post(f"{url}?a=1", data={"a": "1"}, verify=certificate), 400, "MalformedRequest")
    error(requests.post(f"{url}?a=1&a=2", verify=certificate), 400, "MalformedRequest")


def test_the_newer_dialect_takes_a_form_and_its_body_is_signed(cloud: Cloud) -> None:
    source = cloud.source()
    form = f"SourceId.1={source}&Name=".encode()
    answer = cloud.signed_v3("DescribeSourceServers", form)
    assert [row["SourceId"] for row in answer.json()["SourceServers"]["SourceServer"]] == [source]
    other = {"x-acs-content-sha256": "0" * 64}
    error(cloud.signed_v3("DescribeSourceServers", form, **other), 400, "SignatureDoesNotMatch")
    error(cloud.signed_v3("DescribeSourceServers", form, host="other"), 400, "SignatureDoesNotMatch")
    token = {"x-acs-security-token": "not signed"}
    error(cloud.signed_v3("DescribeSourceServers", form, **token), 400, "IncompleteSignature")


def test_every_change_is_in_the_audit_log_and_no_secret_is(cloud: Cloud) -> None:
    source, text = cloud.source(), fresh("text")
    cloud.raw("ModifySourceServerAttribute", {"SourceId": source, "Description": text})
    cloud.raw("ModifySourceServerAttribute", {"SourceId": source, "Description": "http://no"})
    made = cloud.raw("CreateAccessToken", {"Name": "audited"}).json()
    store = Store(cloud.database)
    entries = store.audit.page(subject=source).rows
    (code,) = store.audit.page(subject=made["AccessTokenId"]).rows
    store.close()
    assert [(e.who, e.origin, e.action, e.details["Description"]) for e in entries] == [
        (cloud.keys[Role.ADMIN][0], "127.0.0.1", "ModifySourceServerAttribute", text)
    ]
    assert made["AccessTokenCode"] not in json.dumps(code.details)


def _leaves(table: Any, prefix: str = "") -> list[str]:
    from connector.specification.value import ListOf, Struct

    found = []
    for parameter in table:
        name, kind = f"{prefix}{parameter.name}", parameter.kind
        if isinstance(kind, ListOf):
            name, kind = f"{name}.1", kind.item
        found += _leaves(kind.fields, f"{name}.") if isinstance(kind, Struct) else [name]
    return found


NAMES = {action: _leaves(table) for action, table in TABLES.items()}
VALUES = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
    st.sampled_from(
        [
            "true",
            "1",
            "0",
            "-1",
            "99999999999999999999",
            "3",
            "2147483648",
            "Image",
            "{}",
            "[]",
            "null",
            "2026-11-23T01:00:00Z",
            "sourceserver",
            "s-1",
            "Ready",
            "a\x00b",
            '{"checksum":NaN}',
            "WyJhIiwiYlx1ZDgwMCJd",
        ]
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_fuzz_no_parameter_makes_it_stumble(cloud: Cloud, data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(sorted(TABLES)))
    names = st.one_of(
        st.sampled_from(NAMES[action]), st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
    )
    given_ = data.draw(st.dictionaries(names, VALUES, max_size=6))
    answer = cloud.raw(action, {k: v for k, v in given_.items() if k not in ("Signature", "AccessKeyId")})
    check(answer.status_code, answer.text)


def test_the_last_page_that_can_be_asked_for_is_empty(cloud: Cloud) -> None:
    for action in sorted(
        name for name in TABLES if "PageNumber" in NAMES[name] and "JobId" not in NAMES[name]
    ):
        answer = cloud.raw(action, {"PageNumber": str(1 << 31), "PageSize": "50"})
        assert answer.status_code == 200, answer.text
        assert '"PageNumber":2147483648' in answer.text


def check(status: int, text: str) -> None:
    """A success, or a refusal from the catalogue; never a defect."""
    body = json.loads(text)
    assert "Traceback" not in text
    assert body["RequestId"]
    assert status < 500
    if status != 200:
        assert code_of(body["Code"]).status == status


def test_fuzz_no_bytes_make_it_stumble(cloud: Cloud) -> None:
    """Raw requests with arbitrary bytes in query, headers and body."""
    dice = random.Random(20190601)
    host, port = cloud.host.split(":")
    context = ssl.create_default_context(cafile=str(cloud.certificate))
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=PATIENCE)
    understood = 0
    for _ in range(100):
        junk = "".join(dice.choice("%&=+;?abcXYZ09.\xff\xe9-_~/") for _ in range(dice.randrange(60)))
        headers = {
            "x-acs-action": dice.choice(["DescribeSourceServers", junk.encode("latin-1"), ""]),
            "x-acs-date": dice.choice([iso(0), junk.encode("latin-1")]),
            "authorization": dice.choice(
                [
                    junk.encode("latin-1"),
                    b"ACS3-HMAC-SHA256 " + junk.encode("latin-1"),
                    f"ACS3-HMAC-SHA256 Credential={junk or 'a'},SignedHeaders=host;{junk},Signature={'0' * 64}".encode(
                        "latin-1"
                    ),
                    "ACS3-HMAC-SHA256 Credential=a,SignedHeaders=host;x-acs-content-sha256;x-acs-date;"
                    f"x-acs-signature-nonce,Signature={'0' * 64}",
                ]
            ),
        }
        query = junk.replace("\xff", "%ff").replace("\xe9", "%C3%A9")
        connection.putrequest(dice.choice(["GET", "POST"]), "/")
        connection._buffer[0] = connection._buffer[0].replace(b" / ", f" /?{query} ".encode("latin-1"))  # type: ignore[attr-defined]
        for name, value in headers.items():
            connection.putheader(name, value)
        body = junk.encode("latin-1") if dice.random() < 0.5 else b""
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read()
        if answer.getheader("content-type", "").startswith("application/json"):
            check(answer.status, text.decode())
            understood += 1
        else:
            assert answer.status == 400  # refused by the server before it is a request
            connection.close()
    assert understood > 30


def test_https_with_the_control_planes_certificate_is_verified(cloud: Cloud, tmp_path: Any) -> None:
    client = cloud.client()
    assert client.describe_source_servers(models.DescribeSourceServersRequest()).status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{cloud.plane.url}/")


def test_an_answer_does_not_wait_for_an_acknowledgement(cloud: Cloud) -> None:
    """Nagle's algorithm against delayed acknowledgements would cost each answer on a kept connection 40 ms."""

    def once() -> float:
        begin = time.monotonic()
        cloud.raw("ListAccessTokens", {})
        return time.monotonic() - begin

    eventually(lambda: once() < 0.035, "one answer comes without that delay")
