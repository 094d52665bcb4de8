"""Tickets for NFC from a simulated vCenter, by its own description of the service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from connector.errors import Conflict, NotPermitted, VCenterFault
from connector.vcenter.client import VCenter
from connector.vcenter.nfc_tickets import PRIVILEGE
from simulator.vcenter import host_calls
from tests.vcenter.imaginary import World, world
from tests.vcenter.ledger import Memory
from tests.vcenter.witness import Witness


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def vcenter(place: World, ledger: Memory) -> Iterator[VCenter]:
    with VCenter(place.settings(), owner="site-a", ledger=ledger) as opened:
        yield opened


def test_each_ticket_is_a_new_one_for_the_host_of_the_machine(place: World, vcenter: VCenter) -> None:
    first, second = vcenter.nfc_ticket(place.vm), vcenter.nfc_ticket(place.vm)
    assert first.session_id != second.session_id
    assert first.session_id not in repr(first)
    assert (first.host, first.port, first.service) == (second.host, second.port, "vpxa-nfc")
    assert first.thumbprint == place.server.thumbprint
    hosts = place.estate.inventory.hosts
    home = place.estate.inventory.vm(place.vm).host
    other = next(moref for moref in hosts if moref != home)
    place.estate.change(
        lambda old: replace(old, vms=old.vms | {place.vm: replace(old.vms[place.vm], host=other)})
    )
    assert vcenter.nfc_ticket(place.vm).port != first.port  # each host listens at a port of its own


def test_the_routes_of_a_disk_ask_for_tickets(place: World, vcenter: VCenter) -> None:
    machine = vcenter.find(place.vm)
    access = vcenter.disk_access(place.vm, None, machine.disks[0])
    assert access.routes is not None
    assert access.routes.nfc_ticket().session_id != access.routes.nfc_ticket().session_id
    assert access.capacity == machine.disks[0].capacity


def test_without_the_privilege(place: World, vcenter: VCenter) -> None:
    authority = place.server.center.authority
    authority.deny(PRIVILEGE, place.vm)
    try:
        with pytest.raises(NotPermitted, match=PRIVILEGE.replace(".", r"\.")):
            vcenter.nfc_ticket(place.vm)
    finally:
        authority.allow(PRIVILEGE, place.vm)


def test_a_host_in_maintenance(place: World, vcenter: VCenter) -> None:
    host = place.estate.inventory.vm(place.vm).host
    host_calls.change(place.server.center, host, in_maintenance=True)
    try:
        with pytest.raises(Conflict):
            vcenter.nfc_ticket(place.vm)
    finally:
        host_calls.change(place.server.center, host, in_maintenance=False)


def test_the_service_is_asked_for_by_the_name_that_the_vcenter_has_for_it(
    witness: Witness, ledger: Memory
) -> None:
    """vcsim names its NfcService otherwise than vCenter does, and then serves no call of it."""
    with VCenter(witness.settings(), owner="site-a", ledger=ledger) as vcenter:
        machine = vcenter.machines()[0].moref
        with pytest.raises(VCenterFault, match="no vmomi type defined for 'NfcGetVmFiles"):
            vcenter.nfc_ticket(machine)
