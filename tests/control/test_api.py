"""The outer doors: who may enter, with what, and what never comes out."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from connector.clients.agents import ControlClient, ControlConnection, Membership, enrol
from connector.clients.smc import Access
from connector.cloud import factory
from connector.errors import (
    AuthenticationFailed,
    BadInput,
    Conflict,
    ControlFailed,
    Ineligible,
    NotFound,
    TrustFailed,
)
from connector.model import Finding, Severity
from tests.control.conftest import DISK, Plane, Robot, machine, taken
from tests.people import People, access
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def plane(shared_plane: Plane) -> Plane:
    return shared_plane


@pytest.fixture(scope="module")
def member(plane: Plane) -> str:
    """What an appliance shows at the door."""
    found = plane.enrol("door", "https://door")
    return f"{found.appliance_id}.{found.secret}"


def _ask(plane: Plane, method: str, path: str, token: str | None = None, **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with pytest.warns(Warning):
        return requests.request(
            method, plane.url + path, headers=headers, verify=False, timeout=PATIENCE, **more
        )


@pytest.mark.parametrize("token", [None, "wrong", "a-1.secret"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/agents/v1/passes/take"),
        ("PUT", "/agents/v1/sources"),
        ("POST", "/agents/v1/heartbeat"),
    ],
)
def test_nobody_enters_without_the_right_token(plane: Plane, method: str, path: str, token: str) -> None:
    answer = _ask(plane, method, path, token)
    assert answer.status_code == 401
    assert answer.json()["error"] == "AuthenticationFailed"


def test_the_owners_key_opens_no_door_of_the_agents_and_the_reverse(plane: Plane) -> None:
    member = plane.enrol("two-doors", "https://doors")
    own = access(plane.ready)
    for token in (own.secret, f"{own.key_id}.{own.secret}"):
        assert _ask(plane, "POST", "/agents/v1/heartbeat", token, json={}).status_code == 401
    appliance = Access.of(plane.url, member.appliance_id, member.secret, plane.thumbprint, None)
    with pytest.raises(AuthenticationFailed):
        People(appliance).jobs()


def test_a_wrong_activation_code_enrols_nobody(plane: Plane) -> None:
    with pytest.raises(AuthenticationFailed, match="activation code"):
        enrol(plane.url, plane.thumbprint, "guess", name="x", vcenter="y", version="1")


def test_another_certificate_than_the_pinned_one_is_refused_before_a_byte_is_sent(plane: Plane) -> None:
    with pytest.raises(TrustFailed, match=r"another certificate .* than the pinned one \(00:00:"):
        People(replace(access(plane.ready), thumbprint="00" * 32)).jobs()


@pytest.mark.parametrize(("url", "thumbprint"), [("http://h", "00" * 32), ("https://h", "abc")])
def test_the_client_refuses_to_speak_unpinned(url: str, thumbprint: str) -> None:
    with pytest.raises(BadInput):
        ControlConnection(url, thumbprint)


def test_an_unreachable_control_plane_is_retryable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(ControlFailed) as failed:
            People(Access.of(f"https://127.0.0.1:{port}", "AK1", "t", "00" * 32, None)).jobs()
    assert failed.value.retryable


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "body"),
        (b'{"passes": [], "pases": []}', "pases: Extra inputs"),
        (b'{"passes": 5}', "passes"),
        (b'{"passes": ["a\\u0000b"]}', "passes"),
    ],
)
def test_a_wrong_body_is_one_line_that_names_the_field(
    plane: Plane, member: str, body: bytes, says: str
) -> None:
    answer = _ask(plane, "POST", "/agents/v1/heartbeat", member, data=body)
    assert answer.status_code == 400
    assert says in answer.json()["what"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("number", ["NaN", "-1", "1e9"])
def test_a_number_out_of_bounds_names_its_field(plane: Plane, member: str, number: str) -> None:
    answer = _ask(plane, "POST", "/agents/v1/passes/take", member, data=f'{{"wait": {number}}}')
    assert (answer.status_code, answer.json()["what"].partition(":")[0]) == (400, "wait")


def test_a_body_that_is_too_large_is_cut_off(plane: Plane, member: str) -> None:
    answer = _ask(plane, "POST", "/agents/v1/heartbeat", member, data=b" " * (2 << 20))
    assert answer.status_code == 400
    assert "larger than" in answer.json()["what"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/jobs"),
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs/x"),
        ("POST", "/v1/jobs/x/start"),
        ("GET", "/v1/sources"),
        ("PUT", "/v1/applications/x"),
        ("POST", "/v1/epoch/confirm"),
        ("POST", "/agents/v1/fly"),
    ],
)
def test_unknown_paths_answer_json_and_the_job_api_of_0_1_0_is_one(
    plane: Plane, method: str, path: str
) -> None:
    answer = _ask(plane, method, path, access(plane.ready).secret)
    assert (answer.status_code, answer.json()["error"]) == (404, "BadInput")
    gone = "the job API under /v1 is gone" in answer.json()["what"]
    assert gone is path.startswith("/v1/")
    if gone:
        assert "docs/smc-api.md" in answer.json()["remedy"]


def test_unknown_parameters_and_statuses_are_refused(plane: Plane, member: str) -> None:
    assert _ask(plane, "POST", "/agents/v1/heartbeat?limit=1", member).status_code == 400
    with pytest.raises(BadInput, match="Ready"):
        plane.jobs.jobs("Sleeping")


@pytest.mark.parametrize("job", ["nothing", "j-1", "../jobs", "a b", "x" * 5000])
def test_an_unknown_job_is_not_found(plane: Plane, job: str) -> None:
    with pytest.raises((NotFound, BadInput)):
        plane.jobs.job(job)


def test_a_machine_with_an_unknown_or_wrong_field_is_refused_whole(plane: Plane) -> None:
    member = plane.enrol("strict", "https://strict")
    connection = ControlConnection(plane.url, plane.thumbprint, f"{member.appliance_id}.{member.secret}")
    for wrong in ({"moref": "vm-1"}, {"surprise": 1}):
        with pytest.raises(BadInput, match="machines"):
            connection.call("PUT", "/agents/v1/sources", {"machines": [wrong]})


def test_sources_keep_their_ids_and_a_missing_machine_becomes_unavailable(plane: Plane) -> None:
    robot = Robot(plane, plane.enrol("keeper", "https://keeper"))
    ids = robot.register(machine("vm-8", "keep-8"), machine("vm-9", "keep-9"))
    again = robot.register(machine("vm-8", "keep-8-renamed", disks=3))
    assert again == {"vm-8": ids["vm-8"]}
    assert len(plane.jobs.source("keep-8-renamed")["disks"]) == 3
    gone = plane.jobs.source(ids["vm-9"])
    assert (gone["state"], gone["reason"]) == ("Unavailable", "no longer in vCenter's inventory")
    with pytest.raises(Conflict, match="no longer"):
        plane.jobs.create("keep-9", "keep-9")
    robot.register(machine("vm-8", "keep-8"), machine("vm-9", "keep-9"))
    assert plane.jobs.source("keep-9")["state"] == "Available"


def test_two_machines_of_one_name_need_an_id(plane: Plane) -> None:
    ids = Robot(plane, plane.enrol("twins", "https://twins")).register(
        machine("vm-1", "twin"), machine("vm-2", "twin")
    )
    assert plane.jobs.source(ids["vm-1"])["name"] == "twin"
    assert plane.jobs.create(ids["vm-2"], "twin-job")["source_name"] == f"twin_{ids['vm-2']}"


@pytest.mark.parametrize(
    ("severity", "refused"), [(Severity.BLOCK, True), (Severity.WARM_BLOCK, True), (Severity.WARN, False)]
)
def test_a_blocking_finding_refuses_the_job_with_its_remedy(
    plane: Plane, severity: Severity, refused: bool
) -> None:
    name = f"found-{severity.value}"
    member = plane.enrol(name, f"https://{name}")
    finding = Finding("D1", severity, name, "a shared disk", "unshare it")
    plane.client(member).put_sources([machine("vm-1", name)], {"vm-1": [finding]})
    if refused:
        with pytest.raises(Ineligible, match=r"a shared disk \(SourceServer.Ineligible\); unshare it"):
            plane.jobs.create(name, name)
    else:
        plane.jobs.create(name, name)


def test_the_same_client_token_is_the_same_job(plane: Plane) -> None:
    Robot(plane, plane.enrol("token", "https://token")).register(machine("vm-1", "tokened"))
    first = plane.jobs.create("tokened", "tokened", client_token="abc")
    assert plane.jobs.create("tokened", "tokened", client_token="abc")["id"] == first["id"]


def test_a_pass_belongs_to_its_appliance(plane: Plane) -> None:
    mine, other = plane.enrol("mine", "https://mine"), plane.enrol("other", "https://mine")
    Robot(plane, mine).register(machine("vm-1", "mine"))
    plane.jobs.create("mine", "mine")
    plane.jobs.start("mine")
    order = taken(plane.client(mine))
    stranger = plane.client(other)
    assert stranger.take(0.0) is None
    for call in (
        lambda: stranger.progress(order["pass_id"], "x", [DISK]),
        lambda: stranger.finish(order["pass_id"], "done", None, {}),
        lambda: stranger.record(order["pass_id"], "t", "snapshot", None),
    ):
        with pytest.raises(Conflict, match="not yours"):
            call()
    plane.jobs.stop("mine")
    assert plane.client(mine).heartbeat([order["pass_id"]]).stop == (order["pass_id"],)
    plane.client(mine).finish(order["pass_id"], "stopped", None, {})
    with pytest.raises(Conflict, match="ended as stopped"):
        plane.client(mine).finish(order["pass_id"], "done", None, {})


def test_a_pass_that_is_given_back_is_offered_again(plane: Plane) -> None:
    member = plane.enrol("back", "https://back")
    Robot(plane, member).register(machine("vm-1", "back"))
    plane.jobs.create("back", "back")
    plane.jobs.start("back")
    client = plane.client(member)
    first = taken(client)
    for _ in range(2):
        client.finish(first["pass_id"], "stopped", None, {})
    second = taken(client)
    assert second["pass_id"] != first["pass_id"]
    assert plane.status("back") == "Running/Syncing"


def test_an_appliance_takes_only_passes_of_its_own_vcenter(plane: Plane) -> None:
    here, there = plane.enrol("here", "https://here"), plane.enrol("there", "https://there")
    Robot(plane, here).register(machine("vm-1", "here"))
    plane.jobs.create("here", "here")
    plane.jobs.start("here")
    plane.reach("here", "Running/Syncing")
    assert plane.client(there).take(0.5) is None
    assert plane.client(here).take(0.5) is not None


def test_no_secret_is_stored_shown_or_logged(plane: Plane) -> None:
    member = plane.enrol("secret", "https://secret")
    Robot(plane, member).register(machine("vm-1", "secret"))
    plane.jobs.create("secret", "secret")
    plane.jobs.start("secret")
    order = taken(plane.client(member))
    code = Path(plane.ready["activation_code_file"]).read_text().strip()
    secrets = [
        member.secret,
        access(plane.ready).secret,
        code,
        order["credential"]["key"].splitlines()[1],
        "PRIVATE KEY",
    ]
    shown = json.dumps([plane.jobs.job("secret"), plane.jobs.appliances(), plane.jobs.sources()])
    shown += json.dumps(plane.jobs.client.call("DescribeReplicationJobs", PageSize=50))
    files = [f for f in (plane.root / "state").iterdir() if "sqlite" in f.name]
    stored = b"".join(file.read_bytes() for file in files).decode("latin-1")
    for secret in secrets:
        assert secret not in shown
        assert secret not in stored
        assert secret not in plane.log.read_text()
    assert "secret" not in repr(Membership("a", "secret"))
    private = ["control.pem", "access-key.toml", "activation-code", "vault-key"]
    assert {(plane.root / "state" / name).stat().st_mode & 0o777 for name in private} == {0o600}


def test_only_tls_is_spoken(plane: Plane) -> None:
    host, port = plane.url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in plain.recv(100)


def test_the_identity_survives_a_restart(plane: Plane) -> None:
    before = plane.ready
    member = plane.enrol("again", "https://again")
    plane.restart()
    ports = {"url", "console"}
    assert {k: v for k, v in plane.ready.items() if k not in ports} == {
        k: v for k, v in before.items() if k not in ports
    }
    heard = ControlClient(plane.url, plane.thumbprint, member).heartbeat([])
    assert (heard.stop, heard.limits) == ((), factory.limits("local"))
