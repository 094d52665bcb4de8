"""What is wrong between us and a control plane is one line with what to do, and its exit code."""

from __future__ import annotations

import os
import re
import time
from email.utils import formatdate
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clients.refusal import KINDS, failure_of, kind_of, refused
from connector.clients.smc import Access, SmcClient
from connector.control.domain.access import Role
from connector.control.smc.catalogue import CODES
from connector.errors import EXIT_CODES, AuthenticationFailed, BadInput, ControlFailed, ReaderFailed
from tests.cli.conftest import Connector, Ran, Speaker
from tests.smc.conftest import Cloud
from tests.waiting import PATIENCE

EMPTY: dict[str, Any] = {"TotalCount": 0, "SourceServers": {"SourceServer": []}}


def one_line(ran: Ran) -> str:
    assert ran.err.startswith("connector: ")
    assert ran.err.count("\n") == 1
    assert ran.out == ""
    return ran.err


def test_a_wrong_secret(connector: Connector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_SECRET", "wrong")
    said = one_line(connector("source", "list", code=4))
    assert "the secret does not belong to this access key" in said
    assert "wrong" not in said


def test_an_unknown_key(connector: Connector) -> None:
    said = one_line(connector("source", "list", "--access-key-id", "AKnobody", code=4))
    assert "it knows no such access key (InvalidAccessKeyId.NotFound)" in said


def test_a_wrong_thumbprint_and_no_trust_at_all(
    cloud: Cloud, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = one_line(connector("source", "list", "--thumbprint", "AB" * 32, code=4))
    assert "--thumbprint" in said
    monkeypatch.delenv("CONNECTOR_CONTROL_THUMBPRINT")
    assert "not the trusted one" in one_line(connector("source", "list", code=4))
    connector("source", "list", "--ca", str(cloud.certificate))


def test_a_control_plane_that_is_down(connector: Connector) -> None:
    began = time.monotonic()
    said = one_line(connector("source", "list", "--endpoint", "https://127.0.0.1:1", code=12))
    assert "no answer (Connection refused)" in said
    assert time.monotonic() - began < PATIENCE


def test_a_clock_that_is_an_hour_late(cloud: Cloud) -> None:
    key, secret = cloud.keys[Role.READER]
    access = Access.of(cloud.plane.url, key, secret, cloud.plane.thumbprint, None)
    client = SmcClient(access, clock=lambda: time.time() - 3600)
    with pytest.raises(AuthenticationFailed, match="over 15 minutes apart"):
        client.call("DescribeSourceServers")
    client.close()


def test_a_clock_that_is_ahead_is_told_by_how_much(speaker: Speaker, run: Connector) -> None:
    body = {"Code": "InvalidTimeStamp.Expired", "Message": "Specified time stamp or date value is expired."}
    speaker.say(400, body, headers={"Date": formatdate(time.time() - 2000, usegmt=True)})
    said = one_line(run("source", "list", code=4))
    ahead = re.search(r"ours is (\d+) s ahead", said)
    assert ahead is not None
    assert 1990 < int(ahead[1]) < 2100
    assert re.search(r"ours shows 20\S+Z, its clock 20\S+Z; ", said)


def test_a_page_instead_of_the_api(speaker: Speaker, run: Connector) -> None:
    for status in (200, 404, 302):
        speaker.answers.clear()
        speaker.say(status, "<html>welcome</html>", "text/html; charset=utf-8")
        said = one_line(run("source", "list", code=12))
        assert f"it answered {status} with text/html" in said
        assert "welcome" not in said


def test_a_json_answer_that_is_no_answer_of_the_api(speaker: Speaker, run: Connector) -> None:
    for body in ([], {"error": "x"}, "7"):
        speaker.answers.clear()
        speaker.say(403, body)
        assert "instead of the API's JSON" in one_line(run("source", "list", code=12))


def test_a_look_is_repeated_with_a_fresh_nonce(speaker: Speaker, run: Connector) -> None:
    speaker.say(503, {"Code": "Throttling", "Message": "too many requests"})
    speaker.say(0, "")
    speaker.say(502, "<html>bad gateway</html>", "text/html")
    speaker.say(200, EMPTY)
    run("source", "list")
    nonces = {asked["x-acs-signature-nonce"] for asked in speaker.asked}
    assert len(nonces) == len(speaker.asked) == 4


def test_a_change_is_not_repeated_and_a_token_makes_it_harmless(speaker: Speaker) -> None:
    client = SmcClient(Access.of(speaker.url, "AK", "secret", speaker.thumbprint, None))
    speaker.say(0, "")
    with pytest.raises(ControlFailed, match="look whether StartReplicationJob was done"):
        client.call("StartReplicationJob", JobId="j-1")
    assert len(speaker.asked) == 1
    speaker.say(200, {"JobId": "j-1"})
    assert client.call("CreateReplicationJob", ClientToken="t")["JobId"] == "j-1"
    client.close()


def test_a_service_without_our_extensions_still_shows_its_jobs(speaker: Speaker, run: Connector) -> None:
    row = {"JobId": "j-1", "Name": "web", "Status": "Ready", "SourceId": "s-1"}
    listed = {"TotalCount": 1, "ReplicationJobs": {"ReplicationJob": [row]}}
    unknown = {"Code": "InvalidAction.NotFound", "Message": "Specified api is not found."}
    speaker.say(200, listed)
    speaker.say(404, unknown)
    assert "j-1" in run("job", "show", "j-1").out
    speaker.answers.clear()
    speaker.say(200, listed)
    speaker.say(404, unknown)
    said = run("job", "logs", "j-1", code=2).err
    assert "this control plane does not offer DescribeReplicationJobLog" in said


def test_what_a_server_says_does_not_reach_the_terminal_raw(speaker: Speaker, run: Connector) -> None:
    speaker.say(400, {"Code": "X\x1b[2J", "Message": "a\nb\x1b]0;title\x07c", "Recommend": "d\r\ne"})
    said = one_line(run("source", "list", code=2))
    assert said.rstrip("\n").isprintable()


def test_every_code_of_the_catalogue_has_its_kind_in_the_table() -> None:
    for code in CODES:
        name = code.name.replace("*", "Name")
        assert any(fnmatchcase(name, pattern) for pattern, _ in KINDS), name
        if code.status >= 500:
            assert kind_of(name, code.status) is ControlFailed
    assert {kind.exit_code for _, kind in KINDS} <= set(EXIT_CODES)


def test_a_code_that_nobody_knows_is_judged_by_its_status() -> None:
    codes = [kind_of("Unheard.Of", status).exit_code for status in (400, 401, 403, 404, 409, 500)]
    assert codes == [2, 4, 4, 3, 11, 12]


@given(
    st.dictionaries(
        st.sampled_from(["Code", "Message", "Recommend", "RequestId"]),
        st.none() | st.integers() | st.text(max_size=300) | st.lists(st.text(max_size=5), max_size=3),
    ),
    st.integers(400, 599),
    st.text(max_size=40),
)
def test_whatever_a_server_refuses_is_one_printable_line(
    body: dict[str, Any], status: int, date: str
) -> None:
    failed = refused("DescribeSourceServers", status, body, date, on="https://host")
    assert str(failed).isprintable()
    assert failed.exit_code in {2, 3, 4, 5, 11, 12}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://control.example", "control.example"),
        ("https://control.example:443/", "control.example"),
        ("control.example:8443", "control.example:8443"),
        ("https://[::1]:8443", "[::1]:8443"),
    ],
)
def test_urls_as_people_write_them(url: str, host: str) -> None:
    assert Access.of(url, "AK", "s", "", None).host == host


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "https://",
        "https://user:hunter2@host",
        "https://host/api",
        "https://host:x",
        "https://host?q=1",
    ],
)
def test_urls_that_cannot_be_signed_for(url: str) -> None:
    with pytest.raises(BadInput) as refused_:
        Access.of(url, "AK", "s", "", None)
    assert "hunter2" not in str(refused_.value)


@pytest.mark.parametrize(
    "given",
    [
        {"key_id": "a b"},
        {"key_id": "a\nb"},
        {"secret": ""},
        {"secret": "\udcff"},
        {"thumbprint": "AA:BB"},
        {"authority": Path("/nowhere/ca.pem")},
        {"authority": Path(os.devnull)},
        {"thumbprint": "AB" * 32, "authority": Path("/etc/hostname")},
    ],
    ids=str,
)
def test_access_that_cannot_work(given: dict[str, Any]) -> None:
    usual = {"url": "https://host", "key_id": "AK", "secret": "s", "thumbprint": "", "authority": None}
    with pytest.raises(BadInput) as refused_:
        Access.of(**(usual | given))
    assert len(str(refused_.value).splitlines()) == 1


def test_words_that_are_not_utf_8_are_refused(connector: Connector) -> None:
    assert "not UTF-8" in one_line(connector("source", "show", "web\udcff", code=2))


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("OperationDenied.NoStock", 9),
        ("QuotaExceed.ElasticQuota", 9),
        ("NotEnoughBalance", 9),
        ("InvalidVSwitchId.NotFound", 9),
        ("InvalidAccessKeyId.NotFound", 9),
        ("QuotaExceeded.Vpc", 9),
        ("TransitionInstance.Released", 9),
        ("ReaderFailed", ReaderFailed.exit_code),
        ("", ControlFailed.exit_code),
    ],
)
def test_a_job_that_fails_by_a_code_of_its_cloud_is_a_failure_of_the_target(
    code: str, exit_code: int
) -> None:
    """The same words mean something else in the control plane's own API: nobody's access key is wrong here."""
    assert failure_of(code).exit_code == exit_code
