"""The way to a file, and what is said about the files under a disk, by the simulated vCenter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from connector.errors import Ineligible, VCenterFault
from connector.model import FileRoute, MachineDisk
from connector.vcenter.client import VCenter
from connector.vcenter.datastore_paths import within
from connector.vcenter.trust import PinnedConnection, VCenterTrust
from connector.vcenter.vmomi import vim
from simulator.faults import Rule
from tests.vcenter.imaginary import World, change_vm, world
from tests.vcenter.ledger import Memory


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def vcenter(place: World) -> Iterator[VCenter]:
    with VCenter(place.settings(), owner="site-a", ledger=Memory()) as opened:
        yield opened


def disk_of(vcenter: VCenter, vm: str) -> MachineDisk:
    return vcenter.find(vm).disks[1]


def fetched(route: FileRoute) -> bytes:
    connection = PinnedConnection(route.host, route.port, trust=VCenterTrust(route.pin, route.authority))
    with closing(connection):
        connection.request("GET", route.target, headers={"Cookie": route.cookie})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()


def rename(place: World, kind: str, moref: str, name: str) -> None:
    place.estate.change(
        lambda old: replace(
            old, **{kind: getattr(old, kind) | {moref: replace(getattr(old, kind)[moref], name=name)}}
        )
    )


def test_the_way_to_a_descriptor(place: World, vcenter: VCenter) -> None:
    disk = disk_of(vcenter, place.vm)
    route = vcenter.file_route(disk.path, disk)
    assert (route.host, route.port) == (place.server.host, place.server.port)
    assert fetched(route).startswith(b"# Disk DescriptorFile")
    secret = route.cookie.partition('"')[2].rstrip('"')
    assert secret and secret not in repr(route)


@pytest.mark.parametrize("name", ["a b&c=d", "Zürich #1", "x[1] y", "half/half", "50%", "a+b"])
def test_names_that_an_address_must_escape(place: World, vcenter: VCenter, name: str) -> None:
    moref = next(iter(place.estate.inventory.datacenters))
    before = place.estate.inventory.datacenters[moref].name
    rename(place, "datacenters", moref, name)
    try:
        disk = disk_of(vcenter, place.vm)
        assert fetched(vcenter.file_route(disk.path, disk)).startswith(b"# Disk DescriptorFile")
    finally:
        rename(place, "datacenters", moref, before)


def test_the_way_to_a_host_follows_the_machine(place: World, vcenter: VCenter) -> None:
    disk, hosts = disk_of(vcenter, place.vm), place.estate.inventory.hosts
    folders = place.server.center.host_folders
    assert folders is not None
    home = place.estate.inventory.vm(place.vm).host
    route = vcenter.host_file_route(place.vm, disk.path, disk, folders.port(home))
    assert fetched(route).startswith(b"# Disk DescriptorFile")
    assert (route.host, route.authority) == (place.server.host, None)
    assert route.pin == place.server.thumbprint.replace(":", "").lower()
    assert route.cookie.partition("=")[2] not in repr(route)
    other = next(moref for moref in hosts if moref != home)
    change_vm(place.estate, place.vm, host=other)
    try:
        moved = vcenter.host_file_route(place.vm, disk.path, disk, folders.port(other))
        assert fetched(moved).startswith(b"# Disk DescriptorFile")
    finally:
        change_vm(place.estate, place.vm, host=home)


def test_a_path_on_another_datastore(place: World, vcenter: VCenter) -> None:
    disk = disk_of(vcenter, place.vm)
    with pytest.raises(VCenterFault, match="not on its datastore"):
        vcenter.file_route("[elsewhere] web/web.vmdk", disk)
    with pytest.raises(Ineligible, match="on which datastore"):
        vcenter.file_route(disk.path, replace(disk, store=""))


@pytest.mark.parametrize(
    ("path", "store", "rest"),
    [
        ("[ds] web/web.vmdk", "ds", "web/web.vmdk"),
        ("[a] b] c/d.vmdk", "a] b", "c/d.vmdk"),
        ("[a] b] c/d.vmdk", "a", "b] c/d.vmdk"),
        ("[half%2fhalf] x%2fy/z.vmdk", "half/half", "x%2fy/z.vmdk"),
        ("[ds] web.vmdk", "other", ""),
        ("web.vmdk", "ds", ""),
    ],
)
def test_the_part_of_a_path_within_its_datastore(path: str, store: str, rest: str) -> None:
    assert within(path, store) == rest


def test_what_is_under_a_snapshot_stays_equal_until_snapshots_change(place: World, vcenter: VCenter) -> None:
    disk = disk_of(vcenter, place.vm)
    with vcenter.snapshot(place.vm, "p1") as snapshot:
        frozen = snapshot.disks[1]
        first = vcenter.backing(place.vm, snapshot.moref, frozen)
        assert first.files == (disk.path,) and first.live[-1] == disk.path and len(first.live) == 2
        assert (first.kind, first.store, first.encrypted, first.work) == ("FlatVer2", "VMFS", False, "")
        assert first.snapshots == ((snapshot.moref, ""),)
        place.estate.storage.disk(place.estate.inventory.vm(place.vm).disks[1].storage).write(0, b"x" * 512)
        assert vcenter.backing(place.vm, snapshot.moref, frozen) == first
        with vcenter.snapshot(place.vm, "p2") as second:
            upper = vcenter.backing(place.vm, second.moref, second.disks[1])
            assert len(upper.files) == 2 and upper.files[-1] == disk.path
            assert (second.moref, snapshot.moref) in upper.snapshots
            assert vcenter.backing(place.vm, snapshot.moref, frozen) != first
        again = vcenter.backing(place.vm, snapshot.moref, frozen)
        assert again.files == first.files and again.snapshots == first.snapshots
    assert vcenter.backing(place.vm, snapshot.moref, frozen).files == ()


def test_a_task_that_may_rewrite_the_files(place: World, vcenter: VCenter) -> None:
    with vcenter.snapshot(place.vm, "p1") as snapshot:
        place.estate.faults.replace([Rule("done:RemoveSnapshot_Task", "delay", seconds=0.5)])
        try:
            vcenter._session.managed(vim.vm.Snapshot, snapshot.moref).RemoveSnapshot_Task(False)
            backing = vcenter.backing(place.vm, snapshot.moref, snapshot.disks[1])
            assert "task" in backing.work
        finally:
            place.estate.faults.replace([])
