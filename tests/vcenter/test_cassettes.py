"""The same conversations, word by word, without a vCenter; and no secret on any tape."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml
from pydantic import SecretStr
from vcr.request import Request

from connector.errors import AuthenticationFailed, ConnectorError, NotFound
from connector.vcenter import inventory
from connector.vcenter.client import VCenter
from connector.vcenter.eligibility import check
from connector.vcenter.session import Session
from connector.vcenter.snapshots import Snapshot
from tests.vcenter.cassettes import FOLDER, MIB, conversation, request_filter, response_filter
from tests.vcenter.imaginary import PASSWORD
from tests.vcenter.ledger import Memory
from tests.vcenter.witness import PASSWORD as WITNESS

BOTH = ("simulator", "vcsim")
TAPES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
MACHINE = {"simulator": "/DC0/vm/idle-00001", "vcsim": "/DC0/vm/DC0_H0_VM0"}


@pytest.mark.parametrize("source", BOTH)
def test_session(source: str) -> None:
    with conversation("session", source) as (settings, _), Session(settings) as session:
        assert session.about.api_type == "VirtualCenter"
        assert session._stub.version.startswith("vim.version.v8")
        assert session.cookie


@pytest.mark.parametrize("source", BOTH)
def test_refused(source: str) -> None:
    with conversation("refused", source) as (settings, _):
        wrong = settings.model_copy(update={"password": SecretStr("wrong")})
        with pytest.raises(AuthenticationFailed, match="accounts lock"), Session(wrong):
            pass


@pytest.mark.parametrize("source", BOTH)
def test_expiry(source: str) -> None:
    """The session ends behind the client's back, twice; the sweep and the read that follow log in again."""
    with conversation("expiry", source) as (settings, _), Session(settings) as session:
        session.content.sessionManager.Logout()
        (first, *_) = inventory.machines(session)
        session.content.sessionManager.Logout()
        assert inventory.refresh(session, first.moref) == first
        assert session.generation == 3


@pytest.mark.parametrize("source", BOTH)
def test_faults(source: str, ledger: Memory) -> None:
    with (
        conversation("faults", source) as (settings, _),
        VCenter(settings, owner="tape", ledger=ledger) as vcenter,
    ):
        with pytest.raises(NotFound, match="vm-4711"):
            vcenter.find("vm-4711")
        one = vcenter.find(MACHINE[source])
        gone = Snapshot(one.moref, "snapshot-4711", "", ())
        now, base = (replace(one.disks[0], change_id=f"52 de/{sequence}") for sequence in (2, 1))
        with pytest.raises(ConnectorError) as fault:  # the simulator: no such snapshot; vcsim: no such call
            vcenter.changed(one.moref, gone, now, base)
        assert ("ManagedObjectNotFound" if source == "simulator" else "MethodNotFound") in str(fault.value)


def test_inventory(ledger: Memory) -> None:
    with (
        conversation("inventory") as (settings, _),
        VCenter(settings, owner="tape", ledger=ledger) as vcenter,
    ):
        first, second = vcenter.machines()
        assert [first.path, second.path] == ["/DC0/vm/idle-00001", "/DC0/vm/idle-00002"]
        assert [disk.capacity for disk in first.disks] == [4 * MIB, 8 * MIB]
        assert vcenter.find("idle-00002") == second
        assert [finding.check for finding in check(first)] == ["V9", "D7", "D7"]


def test_inventory_of_vcsim(ledger: Memory) -> None:
    with (
        conversation("inventory", "vcsim") as (settings, _),
        VCenter(settings, owner="tape", ledger=ledger) as vcenter,
    ):
        seen = vcenter.inventory()
        assert [one.path for one in seen.machines] == ["/DC0/vm/DC0_C0_RP0_VM0", "/DC0/vm/DC0_H0_VM0"]
        assert [one.traits.cluster for one in seen.machines] == ["DC0_C0", ""]
        assert [one.name for one in seen.datastores] == ["LocalDS_0"]
        assert all(one.disks and one.traits.nics and one.networks for one in seen.machines)


def test_snapshot(ledger: Memory) -> None:
    with conversation("snapshot") as (settings, _), VCenter(settings, owner="tape", ledger=ledger) as vcenter:
        with vcenter.snapshot("vm-101", "p1") as taken:
            assert [node.moref for node in vcenter.find("vm-101").snapshots] == [taken.moref]
            assert taken.untracked == (2000, 2001)
        assert vcenter.find("vm-101").snapshots == ()
    assert ledger.steps == ["planned", "created", "removed"]


def test_snapshot_and_tracking_of_vcsim(ledger: Memory) -> None:
    with (
        conversation("snapshot", "vcsim") as (settings, _),
        VCenter(settings, owner="tape", ledger=ledger) as vcenter,
    ):
        one = vcenter.find(MACHINE["vcsim"])
        assert vcenter.ensure_tracking(one.moref, "p0").turned_on
        with vcenter.snapshot(one.moref, "p1") as taken:
            assert [node.moref for node in vcenter.find(one.moref).snapshots] == [taken.moref]
        assert vcenter.find(one.moref).snapshots == ()
    assert ledger.steps[-3:] == ["planned", "created", "removed"]


def test_cbt(ledger: Memory) -> None:
    with conversation("cbt") as (settings, write), VCenter(settings, owner="tape", ledger=ledger) as vcenter:
        tracking = vcenter.ensure_tracking("vm-101", "p0")
        assert tracking.turned_on and not tracking.was_enabled
        with vcenter.snapshot("vm-101", "p1") as base:
            assert base.untracked == ()
        write(2001, 5 * MIB)
        with vcenter.snapshot("vm-101", "p2") as taken:
            assert vcenter.changed("vm-101", taken, taken.disks[0], base.disks[0]) == ()
            (area,) = vcenter.changed("vm-101", taken, taken.disks[1], base.disks[1])
            assert area.start <= 5 * MIB < area.end


def test_the_filter_takes_every_secret() -> None:
    body = b"<Login><userName>u</userName><password versionId='8.0'>s3cret\n&amp;</password></Login>"
    request = Request("POST", "https://10.0.0.9:8443/sdk", body, {"Cookie": 'vmware_soap_session="s3cret"'})
    kept = request_filter(request)
    assert b"s3cret" not in kept.body and kept.headers == {} and "10.0.0.9" not in kept.uri
    assert b"s3cret" in request.body, "the request itself must still work"
    answer = {
        "status": {"code": 200, "message": "OK"},
        "headers": {"Set-Cookie": ['vmware_soap_session="s3cret"; Path=/'], "X-Token": ["s3cret"]},
        "body": {"string": b"<LoginResponse><returnval><key>s3cret</key></returnval></LoginResponse>"},
    }
    assert "s3cret" not in repr(response_filter(answer))
    assert "scrubbed" in repr(response_filter(answer))


@pytest.mark.parametrize("tape", TAPES)
def test_no_secret_is_on_a_tape(tape: str) -> None:
    """Looks at the values, not at the file: YAML folds long lines, right through a password."""
    text = "\n".join(_strings(yaml.load((FOLDER / f"{tape}.yaml").read_text(), yaml.CSafeLoader)))
    escaped = PASSWORD.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert "Login" in text
    for secret in (PASSWORD, WITNESS, escaped, base64.b64encode(PASSWORD.encode()).decode(), "127.0.0.1"):
        assert secret not in text
    assert set(re.findall(r"vmware_soap_session=([^;\s]*)", text)) <= {"scrubbed"}
    assert set(re.findall(r"<password[^>]*>(.*?)</password>", text)) == {"scrubbed"}


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for part in (*value, *value.values()):
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    else:
        yield value.decode() if isinstance(value, bytes) else str(value)
