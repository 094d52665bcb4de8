"""Datastores are found by reference, and by their names whatever these hold; a full one stops the checks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.errors import VCenterFault
from connector.vcenter import inventory
from connector.vcenter.client import VCenter
from connector.vcenter.datastore_paths import datastore
from connector.vcenter.eligibility import survey
from connector.vcenter.session import Session
from simulator.estate.estate import Estate
from tests.vcenter.imaginary import change_vm, world
from tests.vcenter.ledger import Memory

NAMES = {  # as vCenter writes them: as they are
    "[SSD] tier1": "[SSD] tier1",
    "a%2fb": "a/b",
    "x%5cy z": "x\\y z",
    "100%25 full": "100% full",
    "50%252f": "50%2f",
    "a] b": "a] b",
    "[[": "[[",
}


@pytest.mark.parametrize(
    ("path", "known", "name"),
    [
        ("[[SSD] tier1] web/web.vmdk", (), "[SSD] tier1"),
        ("[a%2fb] web/web.vmdk", (), "a/b"),
        ("[a/b] web/web.vmdk", ("a/b",), "a/b"),
        ("[50%252f] web/web.vmdk", (), "50%2f"),
        ("[50%252f] web/web.vmdk", ("50%2f", "50/"), "50%2f"),
        ("[a] b] web/web.vmdk", ("a", "a] b"), "a] b"),
        ("[a] b] web/web.vmdk", ("a",), "a"),
        ("[ds1] b] c/web.vmdk", ("ds1", "other"), "ds1"),
        ("[a [b]] c/d.vmdk", (), "a [b]"),
        ("[[] c/d.vmdk", (), "["),
        ("[ds1] sub/a] b/d.vmdk", (), "ds1"),
        ("[ds1]", ("ds1",), ""),
        ("", ("ds1",), ""),
    ],
)
def test_where_a_name_ends(path: str, known: tuple[str, ...], name: str) -> None:
    assert datastore(path, known) == name


def _rename(estate: Estate, name: str) -> None:
    """The first machine's datastore, and the paths on it; it is full."""
    vm = estate.inventory.vms[min(estate.inventory.vms)]
    store = estate.inventory.datastores[vm.datastore]
    full = replace(store, name=name, other=store.capacity - (64 << 20))
    estate.change(lambda old: replace(old, datastores=old.datastores | {store.moref: full}))
    for moref, one in estate.inventory.vms.items():
        disks = tuple(
            replace(disk, path=disk.path.replace(f"[{store.name}]", f"[{name}]")) for disk in one.disks
        )
        change_vm(estate, moref, disks=disks)


@pytest.mark.parametrize("name", NAMES)
def test_a_full_datastore_of_any_name_is_found(name: str) -> None:
    with world(prepare=lambda estate: _rename(estate, name)) as place, Session(place.settings()) as session:
        seen = inventory.whole(session)
        machine = next(one for one in seen.machines if one.moref == place.vm)
        assert {disk.datastore for disk in machine.disks} == {NAMES[name]}
        assert {disk.store for disk in machine.disks} == {place.estate.inventory.vm(place.vm).datastore}
        assert inventory.refresh(session, place.vm).disks == machine.disks
        findings = [one for one in survey(seen)[place.vm] if one.check == "D13"]
        assert len(findings) == 2 and NAMES[name] in findings[0].message
        with VCenter(place.settings(), owner="a", ledger=Memory()) as vcenter:
            (load,) = vcenter.pressure(place.vm, None).stores
        assert load.name == NAMES[name]


def test_a_machine_moves_from_and_to_datastores_with_brackets() -> None:
    def prepare(estate: Estate) -> None:
        _rename(estate, "[SSD] tier1")

    with world(prepare=prepare) as place, Session(place.settings()) as session:
        stores = place.estate.inventory.datastores
        here = place.estate.inventory.vm(place.vm).datastore
        there = next(moref for moref in stores if moref != here)
        place.estate.hardware.relocate(place.vm, there)
        machine = inventory.refresh(session, place.vm)
        assert {disk.datastore for disk in machine.disks} == {stores[there].name}
        assert all(disk.path.startswith(f"[{stores[there].name}] ") for disk in machine.disks)


def test_files_and_datastores_out_of_sight_are_not_none() -> None:
    with world() as place, VCenter(place.settings(), owner="a", ledger=Memory()) as vcenter:
        with vcenter.snapshot(place.vm, "p1") as taken:
            assert vcenter.pressure(place.vm, taken).measured
            change_vm(place.estate, place.vm, hidden=("layoutEx",))
            assert not vcenter.pressure(place.vm, taken).measured
        change_vm(place.estate, place.vm, hidden=("datastore",))
        with pytest.raises(VCenterFault, match="on which datastores") as unknown:
            vcenter.pressure(place.vm, None)
        assert unknown.value.retryable
