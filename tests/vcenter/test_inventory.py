"""The inventory of a vCenter that others wrote, and of ours: names, paths, disks, trees, gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connector.errors import Ambiguous, NotFound
from connector.model import PowerState
from connector.vcenter import inventory
from connector.vcenter.answer import PropertyRow
from connector.vcenter.datastore_paths import datastore
from connector.vcenter.devices import disks
from connector.vcenter.machines import Context
from connector.vcenter.session import Session
from connector.vcenter.values import DataObject
from connector.vcenter.vmomi import vim
from simulator.estate.inventory import Folder, Inventory
from tests.vcenter.imaginary import World, change_vm, world


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    with world(machines=4) as made:
        first, second, third, fourth = sorted(made.estate.inventory.vms)
        made.estate.change(
            lambda old: replace(
                old, folders=old.folders | {"group-v9": Folder("group-v9", "a%2fb", "vm", "group-v3")}
            )
        )
        change_vm(made.estate, first, name="web")
        change_vm(made.estate, second, name="web", parent="group-v9")
        change_vm(made.estate, third, name="50%25 off")
        change_vm(made.estate, fourth, connection_state="inaccessible")
        yield made


@pytest.fixture
def opened(place: World) -> Iterator[Session]:
    with Session(place.settings()) as session:
        yield session


def test_every_way_to_name_a_machine(opened: Session) -> None:
    one = next(m for m in inventory.machines(opened) if m.name == "50% off")
    for wanted in (one.moref, one.instance_uuid, one.instance_uuid.upper(), one.path, "50% off", "50%25 off"):
        assert inventory.find(opened, wanted) == one


def test_vcsim_machines_answer_to_every_name(session: Session) -> None:
    for one in inventory.machines(session):
        for wanted in (one.moref, one.instance_uuid, one.path):
            assert inventory.find(session, wanted).moref == one.moref
        assert one.path.startswith("/DC0/") and one.disks and one.host


def test_a_port_group_that_nsx_made_is_told_from_others(place: World, opened: Session) -> None:
    def made(old: Inventory) -> Inventory:
        segment = replace(old.networks["dvportgroup-42"], segment=True)
        return replace(old, networks=old.networks | {"dvportgroup-42": segment})

    assert not any(one.segment for one in inventory.whole(opened).networks)
    place.estate.change(made)
    networks = inventory.whole(opened).networks
    assert [one.name for one in networks if one.segment] == ["DPG-Servers"] and len(networks) == 2
    assert all(one.build.isdecimal() for one in inventory.whole(opened).hosts)


@pytest.mark.parametrize(
    ("cards", "stacks", "card", "stack"),
    [
        ([], [{"ipAddress": ["192.0.2.53"]}], False, True),
        ([{"ipAddress": ["192.0.2.53"]}], [], True, False),
        ([{"hostName": "web"}], [{"hostName": "web"}], False, False),
        ([{"ipAddress": "192.0.2.53"}], [{"ipAddress": "192.0.2.54"}, {}], True, True),
    ],
)
def test_who_names_resolvers(cards: Any, stacks: Any, card: bool, stack: bool) -> None:
    told = {
        "guest.net": [
            DataObject("GuestNicInfo", {"macAddress": "00:50:56:00:00:01", "dnsConfig": DataObject("x", one)})
            for one in cards or [{}]
        ],
        "guest.ipStack": [
            DataObject("GuestStackInfo", {"dnsConfig": DataObject("x", one)}) for one in stacks
        ],
    }
    guest = inventory.machine(PropertyRow("VirtualMachine", "vm-1", told), Context()).traits.guest
    assert (guest.nics[0].dns, guest.dns) == (card, stack)


def test_an_ambiguous_name_lists_the_candidates_and_the_way_out(opened: Session) -> None:
    with pytest.raises(Ambiguous) as doubt:
        inventory.find(opened, "web")
    for part in ("/DC0/vm/web (vm-101)", "/DC0/vm/a%2fb/web (vm-102)", "use the moref or the inventory path"):
        assert part in str(doubt.value)
    assert inventory.find(opened, "/DC0/vm/a%2fb/web").moref == "vm-102"
    assert inventory.find(opened, "/DC0/vm/web/").moref == "vm-101"


@pytest.mark.parametrize("wanted", ["nothing", "", "/", "/DC0/vm", "vm-1", "group-v3"])
def test_nobody_answers(opened: Session, wanted: str) -> None:
    with pytest.raises(NotFound):
        inventory.find(opened, wanted)


def test_a_machine_out_of_reach_is_listed(opened: Session) -> None:
    found = {one.moref: one for one in inventory.machines(opened)}
    assert found["vm-104"].connection == "inaccessible"


def test_a_row_of_unset_properties_is_still_a_machine() -> None:
    bare = inventory.machine(PropertyRow("VirtualMachine", "vm-9", {}), Context())
    assert (bare.moref, bare.name, bare.power, bare.disks) == ("vm-9", "vm-9", PowerState.OFF, ())


def test_the_snapshot_tree_is_flat_parents_first(place: World, opened: Session) -> None:
    create = place.estate.snapshots.create
    for name in ("one", "two", "three"):
        create("vm-101", name, f"about {name}")
    nodes = inventory.refresh(opened, "vm-101").snapshots
    assert [(node.name, node.depth) for node in nodes] == [("one", 0), ("two", 1), ("three", 2)]
    assert nodes[0].description == "about one" and nodes[0].created > 1e9


def test_a_deep_tree_does_not_need_a_deep_stack() -> None:
    tree = vim.vm.SnapshotTree
    node = None
    for number in range(3000):
        node = tree(
            snapshot=vim.vm.Snapshot(f"snapshot-{number}", None),
            name="n",
            childSnapshotList=[node] if node else [],
        )
    info = vim.vm.SnapshotInfo(rootSnapshotList=[node])
    assert len(inventory.snapshot_nodes(info)) == 3000


def _device(controller: int, unit: int, key: int, backing: object) -> object:
    return vim.vm.device.VirtualDisk(
        key=key, controllerKey=controller, unitNumber=unit, capacityInBytes=1 << 20, backing=backing
    )


def test_disks_are_sorted_by_controller_and_unit() -> None:
    device, disk = vim.vm.device, vim.vm.device.VirtualDisk
    flat = disk.FlatVer2BackingInfo(fileName="[ds] a/a.vmdk", diskMode="persistent")
    listed = [
        device.VirtualNVMEController(key=31000, busNumber=0),
        device.ParaVirtualSCSIController(key=1001, busNumber=1, sharedBus="physicalSharing"),
        device.VirtualLsiLogicController(key=1000, busNumber=0, sharedBus="noSharing"),
        device.VirtualIDEController(key=200, busNumber=0),
        device.VirtualAHCIController(key=15000, busNumber=0),
        _device(31000, 0, 1, flat),
        _device(1001, 0, 2, flat),
        _device(1000, 1, 3, flat),
        _device(1000, 0, 4, flat),
        _device(200, 0, 5, flat),
        _device(15000, 3, 6, flat),
        _device(77777, 0, 7, flat),
    ]
    found = disks(listed)
    assert [one.key for one in found] == [5, 4, 3, 2, 6, 1, 7]
    assert [one.controller for one in found] == ["ide0", "scsi0", "scsi0", "scsi1", "sata0", "nvme0", ""]
    assert [one.bus_sharing for one in found][3] == "physicalSharing"


BACKINGS = {
    "FlatVer2": vim.vm.device.VirtualDisk.FlatVer2BackingInfo,
    "SparseVer2": vim.vm.device.VirtualDisk.SparseVer2BackingInfo,
    "SeSparse": vim.vm.device.VirtualDisk.SeSparseBackingInfo,
    "RawDiskMappingVer1": vim.vm.device.VirtualDisk.RawDiskMappingVer1BackingInfo,
    "RawDiskVer2": vim.vm.device.VirtualDisk.RawDiskVer2BackingInfo,
    "LocalPMem": vim.vm.device.VirtualDisk.LocalPMemBackingInfo,
    "FlatVer1": vim.vm.device.VirtualDisk.FlatVer1BackingInfo,
}


@pytest.mark.parametrize("name", BACKINGS)
def test_every_kind_of_backing_is_read(name: str) -> None:
    backing = BACKINGS[name]()
    for field, value in (("fileName", "[ds] a/a.vmdk"), ("uuid", "6000"), ("changeId", "52/1")):
        if field in {info.name for info in backing._GetPropertyList()}:
            setattr(backing, field, value)
    (found,) = disks([_device(1000, 0, 2000, backing)])
    assert found.backing == name
    has_id = name in {"FlatVer2", "SparseVer2", "SeSparse", "RawDiskMappingVer1", "RawDiskVer2"}
    assert found.change_id == ("52/1" if has_id else None)


def test_capacity_comes_in_bytes_and_only_else_in_kilobytes() -> None:
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName="[ds] a.vmdk")
    disk = vim.vm.device.VirtualDisk(key=1, backing=backing, capacityInKB=3, capacityInBytes=2048)
    assert disks([disk])[0].capacity == 2048
    disk.capacityInBytes = None
    assert disks([disk])[0].capacity == 3072


@pytest.mark.parametrize(
    ("path", "name"),
    [("[ds1] a/b.vmdk", "ds1"), ("[a [b]] c/d.vmdk", "a [b]"), ("", ""), ("/vmfs/x.vmdk", ""), ("[ds1]", "")],
)
def test_datastore_names(path: str, name: str) -> None:
    assert datastore(path) == name
