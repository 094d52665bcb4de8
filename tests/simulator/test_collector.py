"""Reading: paths, traversal, pages, what is missing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import Disconnect
from pyVmomi import vim, vmodl

from simulator.estate.estate import Estate
from simulator.vcenter import Options, Server, serve
from simulator.vcenter.api import fields_of
from simulator.vcenter.encode import Encoder, Typed
from tests.simulator.conftest import ACCOUNTS, PC, all_machines, connect, machine, opened_estate, sweep_spec


def read(instance: Any, spec: Any, size: int | None = None) -> list[Any]:
    """Every object, page after page."""
    collector = instance.content.propertyCollector
    answer = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions(maxObjects=size))
    found: list[Any] = []
    while answer is not None:
        found += answer.objects
        if not answer.token:
            return found
        answer = collector.ContinueRetrievePropertiesEx(answer.token)
    return found


def one(instance: Any, target: Any, *paths: str) -> Any:
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=target)],
        propSet=[PC.PropertySpec(type=type(target), pathSet=list(paths))],
    )
    return read(instance, spec)[0]


def test_pages_of_any_size_give_every_object_once_in_the_same_order(client: Any) -> None:
    spec = sweep_spec(all_machines(client), vim.VirtualMachine, ["name"])
    whole = [found.obj._moId for found in read(client, spec)]
    assert len(whole) == 3
    for size in (1, 2, 3, 4):
        assert [found.obj._moId for found in read(client, spec, size)] == whole


def test_tokens_can_be_cancelled_and_are_good_once(client: Any) -> None:
    collector = client.content.propertyCollector
    spec = sweep_spec(all_machines(client), vim.VirtualMachine, ["name"])
    token = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions(maxObjects=1)).token
    collector.CancelRetrievePropertiesEx(token)
    with pytest.raises(vmodl.fault.InvalidArgument):
        collector.ContinueRetrievePropertiesEx(token)


def test_nested_paths_and_array_keys(client: Any) -> None:
    vm = machine(client)
    paths = [
        "config.hardware.device[2000].backing.fileName",
        "config.hardware.device[2000].capacityInBytes",
        'config.extraConfig["no.such.key"].value',
        "runtime.powerState",
        "snapshot",
        "parentVApp",
    ]
    found = {entry.name: entry.val for entry in one(client, vm, *paths).propSet}
    assert found == {
        paths[0]: "[datastore-1] idle-00001/idle-00001.vmdk",
        paths[1]: 64 << 20,
        "runtime.powerState": "poweredOn",
    }


@pytest.mark.parametrize(
    "path",
    ["nonsense", "config.nonsense", "name.length", "config..name", "config.hardware.device[2000]x", "", "."],
)
def test_a_path_that_does_not_exist_is_named_in_the_fault(client: Any, path: str) -> None:
    with pytest.raises(vmodl.query.InvalidProperty) as caught:
        one(client, machine(client), "name", path)
    assert caught.value.name == path


def test_recursive_named_selection_walks_the_whole_tree(client: Any) -> None:
    """The classic traversal: folders into folders by name, datacenters and compute resources."""
    names = ["folders", "dcVm", "dcHost", "crHost", "crPool", "poolVm"]
    again = [PC.SelectionSpec(name=name) for name in names]

    def step(name: str, kind: Any, path: str) -> Any:
        return PC.TraversalSpec(name=name, type=kind, path=path, skip=False, selectSet=again)

    specs = [
        step("folders", vim.Folder, "childEntity"),
        step("dcVm", vim.Datacenter, "vmFolder"),
        step("dcHost", vim.Datacenter, "hostFolder"),
        step("crHost", vim.ComputeResource, "host"),
        step("crPool", vim.ComputeResource, "resourcePool"),
        step("poolVm", vim.ResourcePool, "vm"),
    ]
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=client.content.rootFolder, selectSet=specs)],
        propSet=[PC.PropertySpec(type=vim.ManagedEntity, pathSet=["name"])],
    )
    found = read(client, spec)
    assert len({entry.obj._moId for entry in found}) == len(found), "each object once"
    names_found = sorted(entry.propSet[0].val for entry in found)
    machines = [f"idle-0000{number}" for number in (1, 2, 3)]
    places = ["Datacenters", "DC0", "vm", "host", "Cluster-1", "Resources"]
    assert names_found == sorted([*places, "esx-01.lab.example", "esx-02.lab.example", *machines])


def test_a_selection_that_names_nothing_is_refused(client: Any) -> None:
    spec = sweep_spec(client.content.rootFolder, vim.Folder, ["name"])
    spec.objectSet[0].selectSet = [PC.SelectionSpec(name="nobody")]
    with pytest.raises(vmodl.fault.InvalidArgument):
        read(client, spec)


def test_all_gives_what_is_set_and_pyvmomi_can_read_each_property(client: Any) -> None:
    vm = machine(client)
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=vm)], propSet=[PC.PropertySpec(type=vim.VirtualMachine, all=True)]
    )
    names = {entry.name for entry in read(client, spec)[0].propSet}
    assert {"name", "config", "runtime", "summary", "guest", "layoutEx", "storage", "datastore"} <= names
    assert "snapshot" not in names
    for name in names:
        getattr(vm, name)
    assert vm.snapshot is None


def test_a_vanished_object_is_a_managed_object_not_found(client: Any) -> None:
    ghost = vim.VirtualMachine("vm-4711", client._stub)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound) as caught:
        one(client, ghost, "name")
    assert caught.value.obj._moId == "vm-4711"
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = vim.HostSystem(machine(client)._moId, client._stub).name


def test_every_property_of_every_object_can_be_encoded(server: Server, estate: Estate) -> None:
    """What a table promises can be computed and sent, in the oldest and the newest version served."""
    center = server.center
    estate.snapshots.create("vm-101", "one")
    targets = [center.locate(center.reference(moref)) for moref in center.index.entities]
    snapshot = center.find(vim.vm.Snapshot("snapshot-1"))
    assert snapshot is not None
    for version in ("vim.version.v8_0_3_0", "vim.version.version5"):
        encoder = Encoder(version)
        for target in [*targets, snapshot, *center._singletons.values()]:
            for name in target.kind.properties:
                value = center.read(target, name, None)
                declared = fields_of(target.kind.type)[name].type
                encoder.element("value", Typed(value, declared), object)


def test_an_old_client_gets_no_newer_fields(server: Server) -> None:
    encoder = Encoder("vim.version.version5")
    target = server.center.locate(vim.VirtualMachine("vm-101"))
    text = encoder.element("c", server.center.read(target, "config", None), vim.vm.ConfigInfo)
    assert "<changeTrackingEnabled>" in text
    assert "sevEnabled" not in text
    assert "sevEnabled" in Encoder("vim.version.v8_0_3_0").element(
        "c", server.center.read(target, "config", None), vim.vm.ConfigInfo
    )


def test_search_finds_what_there_is(client: Any) -> None:
    index, vm = client.content.searchIndex, machine(client)
    assert index.FindByUuid(None, vm.config.uuid.upper(), True, False) == vm
    assert index.FindByUuid(None, vm.config.instanceUuid, True, True) == vm
    assert index.FindByUuid(None, vm.config.uuid, True, True) is None
    assert index.FindByIp(None, vm.guest.ipAddress, True) == vm
    assert index.FindByDnsName(None, "esx-01.lab.example", False) == vm.runtime.host
    assert index.FindByDatastorePath(vm.parent.parent, vm.config.files.vmPathName) == vm
    assert index.FindChild(vm.parent, "idle-00001") == vm
    assert index.FindByInventoryPath("/DC0/vm/") == vm.parent
    assert index.FindByInventoryPath("DC0/vm/nobody") is None


def test_five_hundred_machines_in_one_sweep(tmp_path: Path) -> None:
    """Half a second here; the bound is for quadratic behaviour, which would take minutes."""
    paths = ["name", "config.uuid", "runtime.powerState", "summary.config.numCpu", "guest.ipAddress"]
    with opened_estate(tmp_path / "e", machines=500) as estate, serve(estate, accounts=ACCOUNTS) as server:
        instance = connect(server)
        spec = sweep_spec(all_machines(instance), vim.VirtualMachine, paths)
        began = time.process_time()  # of this process, which is client and server
        found = read(instance, spec, 100)
        seconds = time.process_time() - began
        Disconnect(instance)
    assert len({entry.obj._moId for entry in found}) == len(found) == 500
    assert seconds < 12.0


def test_the_server_may_page_although_nobody_asked(estate: Estate) -> None:
    with serve(estate, accounts=ACCOUNTS, options=Options(page=2)) as server:
        instance = connect(server)
        spec = sweep_spec(all_machines(instance), vim.VirtualMachine, ["name"])
        first = instance.content.propertyCollector.RetrievePropertiesEx([spec], PC.RetrieveOptions())
        assert (len(first.objects), bool(first.token)) == (2, True)
        assert len(read(instance, spec)) == len(read(instance, spec, 100)) == 3
        Disconnect(instance)
