"""Who else works on a machine that `migrate --cutover` would shut down: jobs of a configured control plane, and snapshots."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from connector.appliance.membership import owner_of
from connector.cli.elsewhere import OPTION, refuse_others
from connector.errors import Conflict, ConnectorError
from connector.model import Machine, SnapshotNode
from connector.vcenter.naming import Ticket
from tests.cli.conftest import Connector
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh
from tests.smc.test_extensions import Reader
from tests.waiting import eventually

OURS = "AB:" * 31 + "AB"


def _machine(name: str) -> Machine:
    return replace(machine("vm-1", name), instance_uuid=str(uuid.uuid4()))


def _snapshot(owner: str) -> SnapshotNode:
    ticket = Ticket(owner, "p-1")
    return SnapshotNode("snapshot-1", ticket.name, ticket.token, 0.0, 0)


def test_an_unfinished_job_of_the_configured_control_plane_is_refused(
    cloud: Cloud, connector: Connector
) -> None:
    name = fresh("vm")
    ours, other = _machine(name), _machine(name)
    cloud.sources(ours)
    refuse_others([ours], OURS)  # known there, and nobody migrates it
    connector("job", "create", name, "--name", name)
    with pytest.raises(Conflict, match=f"an unfinished job for it: {name} .Ready.") as refused:
        refuse_others([ours], OURS)
    assert refused.value.on == name
    assert refused.value.remedy == f"connector job start {name} --watch; or delete that job, or give {OPTION}"
    refuse_others([other], OURS)  # the same id in another vCenter
    connector("job", "delete", name)
    refuse_others([ours], OURS)


def test_only_what_the_state_of_that_job_allows_is_offered(cloud: Cloud, connector: Connector) -> None:
    reader = Reader(cloud, run_once=False)
    ours = machine("vm-1", reader.name, 2)

    def offered() -> str:
        with pytest.raises(Conflict) as refused:
            refuse_others([ours], OURS)
        return refused.value.remedy

    reader.take()
    assert offered() == f"wait for it: connector job watch {reader.name}, or give {OPTION}"
    reader.done()
    eventually(lambda: reader.progress()["Status"] == "Waiting", "the job waits")
    assert offered().startswith(f"connector job cutover {reader.name} --sync; or delete that job")
    connector("job", "stop", reader.name)
    assert offered().startswith(f"connector job start {reader.name} --watch; or delete that job")


def test_a_control_plane_that_does_not_answer_is_no_permission(
    cloud: Cloud, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNECTOR_CONTROL_URL", "https://127.0.0.1:1")
    with pytest.raises(ConnectorError) as refused:
        refuse_others([_machine("vm")], OURS)
    assert OPTION in refused.value.remedy
    assert cloud and connector


@pytest.mark.usefixtures("bare_environment")
def test_a_snapshot_of_another_connector_is_refused_and_our_own_is_not() -> None:
    found = _machine("vm")
    refuse_others([replace(found, snapshots=(_snapshot(owner_of(OURS)),))], OURS)
    refuse_others([replace(found, snapshots=(SnapshotNode("s-1", "by hand", "before", 0.0, 0),))], OURS)
    with pytest.raises(Conflict, match="another connector has the snapshot 'connector-p-1' on it"):
        refuse_others([replace(found, snapshots=(_snapshot("somebody"),))], OURS)
