"""How full the datastores are, and how far our deltas have grown, as files and space really are."""

from __future__ import annotations

import pytest

from connector.errors import NotFound
from connector.vcenter.client import VCenter
from tests.vcenter.imaginary import MIB, World, world
from tests.vcenter.ledger import Memory


def _write(place: World, mib: int) -> None:
    for at in range(mib):
        place.estate.power.write(place.vm, 2001, at * MIB, b"\1" * MIB)


def test_the_delta_grows_with_the_guests_writes_and_other_snapshots_do_not_count(ledger: Memory) -> None:
    with world(machines=4) as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        machines = place.estate.inventory.vms
        beside = [m for m, vm in machines.items() if vm.datastore == machines[place.vm].datastore]
        assert 1 < len(beside) < 4
        place.estate.snapshots.create(place.vm, "by hand")
        _write(place, 3)
        for moref in machines:
            place.estate.snapshots.create(moref, "by hand")
        with vcenter.snapshot(place.vm, "p1") as taken:
            before = vcenter.pressure(place.vm, taken)
            _write(place, 2)
            after = vcenter.pressure(place.vm, taken)
        (store,) = after.stores
        datastore = place.estate.inventory.datastores[machines[place.vm].datastore]
        assert (store.name, store.capacity) == (datastore.name, datastore.capacity)
        assert store.snapshots == len(beside)
        assert before.delta < MIB and 2 * MIB <= after.delta < 3 * MIB
        assert before.stores[0].free - after.stores[0].free == after.delta - before.delta
        assert vcenter.pressure(place.vm, None).delta == 0


def test_a_machine_that_is_gone(ledger: Memory) -> None:
    with (
        world() as place,
        VCenter(place.settings(), owner="a", ledger=ledger) as vcenter,
        pytest.raises(NotFound),
    ):
        vcenter.pressure("vm-99999", None)


def test_who_may_not_ask_vcenter_to_look_again_gets_what_it_knows(ledger: Memory) -> None:
    with world() as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        for privilege in ("System.View",):
            place.server.center.authority.deny(privilege)
        assert vcenter.pressure(place.vm, None).stores[0].free > 0


def test_a_datastore_that_may_not_be_read_is_not_taken_for_a_full_one(ledger: Memory) -> None:
    with world() as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        store = place.estate.inventory.vm(place.vm).datastore
        place.server.center.authority.deny("System.Read", store)
        seen = vcenter.pressure(place.vm, None)
        assert (seen.stores, seen.unread) == ((), (store,))
