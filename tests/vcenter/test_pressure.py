"""How full the datastores are, and how far our deltas have grown, as files and space really are."""

from __future__ import annotations

import pytest

from connector.errors import NotFound
from connector.vcenter.client import VCenter
from simulator.vcenter.hostile import Raw
from tests.vcenter.imaginary import MIB, World, change_vm, world
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


def test_only_the_datastores_of_the_disks_and_of_the_home_count(ledger: Memory) -> None:
    """vSphere lists the datastore of a mounted ISO too; no delta ever goes there."""
    with world() as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        home = place.estate.inventory.vm(place.vm).datastore
        stores = place.estate.inventory.datastores
        other = next(moref for moref in stores if moref != home)
        listed = "".join(
            f'<ManagedObjectReference type="Datastore">{moref}</ManagedObjectReference>'
            for moref in (home, other)
        )
        odd = {"datastore": Raw(' xsi:type="ArrayOfManagedObjectReference"', listed.encode())}
        place.server.center.hostile[place.vm] = dict(odd)
        assert [load.name for load in vcenter.pressure(place.vm, None).stores] == [stores[home].name]
        with vcenter.snapshot(place.vm, "p1") as taken:
            assert [load.name for load in vcenter.pressure(place.vm, taken).stores] == [stores[home].name]
        files = f"<snapshotDirectory>[{stores[other].name}] a</snapshotDirectory>"
        odd["config.files"] = Raw(' xsi:type="VirtualMachineFileInfo"', files.encode())
        place.server.center.hostile[place.vm] = odd
        assert len(vcenter.pressure(place.vm, None).stores) == 2
        nowhere = "<snapshotDirectory>[elsewhere] a</snapshotDirectory>"
        odd["config.files"] = Raw(' xsi:type="VirtualMachineFileInfo"', nowhere.encode())
        odd["config.hardware.device"] = Raw(' xsi:type="ArrayOfVirtualDevice"', b"")
        assert len(vcenter.pressure(place.vm, None).stores) == 2  # nothing matches: all are watched
        del odd["config.files"], odd["config.hardware.device"]
        change_vm(place.estate, place.vm, hidden=("config",))  # where it writes is not known now
        assert len(vcenter.pressure(place.vm, None).stores) == 2
