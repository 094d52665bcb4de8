"""Signatures: captured vectors, and what must not pass."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clients import signature
from connector.clients.signature import Request, sign
from connector.control.smc.catalogue import Denied
from connector.control.smc.signature_claim import claim, pairs

QUERY = (
    b"DataDisk.1.Index=1&DataDisk.1.Size=20&Frequency=12&JobType=3&MaxNumberOfImageToKeep=3&Name=job+one"
    b"&RegionId=cn-hangzhou&ReplicationParameters=%7B%22bandwidth_limit%22%3A0%7D&RunOnce=False&SourceId=s-0001"
)
SIGNED = (
    "accept;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;"
    "x-acs-signature-nonce;x-acs-version"
)
HEADERS = {
    "accept-encoding": "identity",
    "host": "127.0.0.1:18703",
    "x-acs-version": "2019-06-01",
    "x-acs-action": "CreateReplicationJob",
    "user-agent": "test-agent",
    "x-acs-date": "2026-11-23T01:00:00Z",
    "x-acs-signature-nonce": "00000000000000000000000000000001",
    "accept": "application/json",
    "x-acs-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "x-acs-credentials-provider": "static_ak",
    "authorization": f"ACS3-HMAC-SHA256 Credential=testak,SignedHeaders={SIGNED},"
    "Signature=8f6565a5aa9371961ce21a4ab8aa2841f7f4d9aad1715271d943b2ca81737b57",
}
V1_QUERY = (
    b"Action=CreateReplicationJob&Format=json&Version=2019-06-01&Timestamp=2026-11-23T01%3A00%3A00Z"
    b"&SignatureNonce=00000000000000000000000000000001&" + QUERY + b"&SignatureMethod=HMAC-SHA1"
    b"&SignatureVersion=1.0&AccessKeyId=testak&Signature=XhlMeOaPILuXoVH8f6ItGJLndE4%3D"
)
TEXTS = st.dictionaries(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    max_size=6,
)


def v3(**changes: str) -> Request:
    return Request("POST", "/", pairs(QUERY), {}, HEADERS | changes)


def v1(query: bytes = V1_QUERY, method: str = "POST") -> Request:
    return Request(method, "/", pairs(query), {}, {"x-acs-action": "DeleteReplicationJob"})


def test_the_captured_v3_request_verifies() -> None:
    found = claim(v3())
    found.verify("testsecret")
    assert (found.key_id, found.action, found.version) == ("testak", "CreateReplicationJob", "2019-06-01")


def test_the_captured_v1_request_verifies_and_its_action_is_the_signed_one() -> None:
    found = claim(v1())
    found.verify("testsecret")
    assert found.string_to_sign.startswith(
        "POST&%2F&AccessKeyId%3Dtestak%26Action%3DCreateReplicationJob%26DataDisk.1.Index%3D1%26"
    )
    assert found.action == "CreateReplicationJob"


@pytest.mark.parametrize("request_", [v3(), v1()])
def test_a_wrong_secret_is_told_the_string_to_sign(request_: Request) -> None:
    found = claim(request_)
    with pytest.raises(Denied) as refused:
        found.verify("testsecre")
    assert refused.value.code == "SignatureDoesNotMatch"
    assert refused.value.message.endswith(f"server string to sign is:{found.string_to_sign}")


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "elsewhere"},
        {"x-acs-action": "StopReplicationJob"},
        {"x-acs-date": "2026-11-23T01:00:01Z"},
        {"x-acs-signature-nonce": "2"},
        {"x-acs-version": "2019-06-02"},
    ],
)
def test_a_changed_header_breaks_v3(changes: dict[str, str]) -> None:
    with pytest.raises(Denied, match="not matched"):
        claim(v3(**changes)).verify("testsecret")


@pytest.mark.parametrize("method, query", [("GET", V1_QUERY), ("POST", V1_QUERY + b"&Force=true")])
def test_a_changed_request_breaks_v1(method: str, query: bytes) -> None:
    with pytest.raises(Denied, match="not matched"):
        claim(v1(query, method)).verify("testsecret")


@pytest.mark.parametrize("name", ["host", "x-acs-action", "x-acs-date", "x-acs-content-sha256"])
def test_what_decides_the_meaning_must_be_signed(name: str) -> None:
    names = ";".join(n for n in SIGNED.split(";") if n != name)
    header = HEADERS["authorization"].replace(SIGNED, names)
    with pytest.raises(Denied) as refused:
        claim(v3(authorization=header))
    assert refused.value.code == "IncompleteSignature"


def test_another_body_than_the_signed_one_is_refused() -> None:
    with pytest.raises(Denied, match="digest"):
        claim(Request("POST", "/", pairs(QUERY), {"Force": "true"}, HEADERS, b"Force=true"))


def test_an_unsigned_request_is_refused() -> None:
    with pytest.raises(Denied) as refused:
        claim(Request("GET", "/", {}, {}, {}))
    assert refused.value.code == "IncompleteSignature"


def test_parameters_are_sorted_by_name_alone() -> None:
    text = signature.string_to_sign_v1("GET", {"Id.10": "b", "Id.1": "a", "Id.1.Key": "c"})
    assert text == "GET&%2F&Id.1%3Da%26Id.1.Key%3Dc%26Id.10%3Db"


def test_a_form_joins_the_signed_set_of_v1() -> None:
    whole = pairs(V1_QUERY)
    form = {"Frequency": whole.pop("Frequency")}
    claim(Request("POST", "/", whole, form, {})).verify("testsecret")


@pytest.mark.parametrize("encoded", [b"a=1&a=2", b"a=%ff", b"%ff=1"])
def test_ambiguous_or_undecodable_parameters_are_refused(encoded: bytes) -> None:
    with pytest.raises(Denied) as refused:
        pairs(encoded)
    assert refused.value.code == "MalformedRequest"


@given(TEXTS)
def test_every_way_of_encoding_decodes_to_the_same(values: dict[str, str]) -> None:
    for way in (quote_plus, lambda t: quote(t, safe="-_.~"), lambda t: quote(t, safe="/-_.~!*'()")):
        encoded = "&".join(f"{way(name)}={way(value)}" for name, value in values.items())
        assert pairs(encoded.encode()) == values


@given(TEXTS, st.sampled_from([signature.V1, signature.V3]))
def test_signatures_differ_as_soon_as_one_value_does(values: dict[str, str], dialect: str) -> None:
    one = signature.string_to_sign_v1("GET", values)
    other = signature.string_to_sign_v1("GET", values | {"Extra": ""})
    assert sign(dialect, "s", one) != sign(dialect, "s", other)
