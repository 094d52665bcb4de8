"""A certificate names its appliance, and the instance refuses those that the control plane has revoked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.errors import ConnectorError, NotPermitted, TransferFailed
from connector.instance.revoked import FILE
from connector.model import Credential
from connector.transfer.certificates import CertificateRole
from tests.transfer.conftest import Instance, Job
from tests.waiting import eventually


def issued(job: Job, name: str) -> Credential:
    return job.authority.issue(CertificateRole.APPLIANCE, appliance=name)


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except ConnectorError:
        return True
    return False


def test_a_revoked_appliance_is_refused_on_both_ports_and_others_are_not(
    start: Callable[..., Instance], job: Job
) -> None:
    instance = start()
    bad = InstanceEndpoint(instance.address, issued(job, "a-bad"))
    good = InstanceEndpoint(instance.address, issued(job, "a-good"))
    control = InstanceEndpoint(instance.address, job.control)
    assert not refused(bad.health)
    open_one = bad.connect_blocks()
    control.put_revoked(["a-bad", "a-other"])
    assert refused(bad.health)
    with pytest.raises(TransferFailed):
        open_one.receive_into(memoryview(bytearray(1)))
        raise TransferFailed("it ended cleanly", on="the open connection")
    assert eventually(lambda: refused(lambda: _hear(bad)), "blocks are refused")
    good.health()
    instance.stop()
    instance = start(instance.directory)
    again = InstanceEndpoint(instance.address, issued(job, "a-bad"))
    assert refused(again.health)
    InstanceEndpoint(instance.address, job.control).put_revoked([])
    assert not refused(again.health)


def _hear(endpoint: InstanceEndpoint) -> None:
    channel = endpoint.connect_blocks()
    try:
        if channel.receive_into(memoryview(bytearray(1))) == 0:
            raise TransferFailed("closed", on="it")
    finally:
        channel.close()


def test_only_the_control_plane_says_whom_to_refuse(start: Callable[..., Instance], job: Job) -> None:
    instance = start()
    InstanceEndpoint(instance.address, job.control).put_revoked(["a-bad"])
    with pytest.raises(NotPermitted):
        InstanceEndpoint(instance.address, issued(job, "a-good")).put_revoked([])
    assert refused(InstanceEndpoint(instance.address, issued(job, "a-bad")).health)


def test_with_a_damaged_list_every_appliance_is_refused_until_it_is_said_again(
    start: Callable[..., Instance], job: Job
) -> None:
    instance = start()
    control = InstanceEndpoint(instance.address, job.control)
    control.put_revoked(["a-bad"])
    instance.stop()
    (instance.directory / FILE).write_bytes(bytes(12))
    instance = start(instance.directory)
    good = InstanceEndpoint(instance.address, issued(job, "a-good"))
    assert refused(good.health)
    InstanceEndpoint(instance.address, job.control).put_revoked(["a-bad"])
    assert not refused(good.health)
