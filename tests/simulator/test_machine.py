"""Machines: power, configuration, snapshots, changed areas, and the faults for what does not fit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import Disconnect
from pyVmomi import vim, vmodl

from simulator.estate.estate import Estate, Policy
from simulator.vcenter import Options, Server, serve
from tests.simulator.conftest import (
    ACCOUNTS,
    MIB,
    connect,
    eventually,
    finished,
    machine,
    opened_estate,
)

BLOCK = 64 << 10


def disks(of: Any) -> list[Any]:
    return [device for device in of.config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)]


def track(vm: Any) -> None:
    """Turn change tracking on and make it act by a stun."""
    finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    finished(finished(vm.CreateSnapshot_Task("stun", "", False, False)).RemoveSnapshot_Task(False, True))


def changed(vm: Any, snapshot: Any, key: int, capacity: int, since: str) -> tuple[list[tuple[int, int]], int]:
    """All changed areas by the covered length of each answer, and how many answers it took."""
    position, areas, answers = 0, [], 0
    while position < capacity:
        window = vm.QueryChangedDiskAreas(snapshot, key, position, since)
        assert window.startOffset == position
        assert window.length > 0
        for area in window.changedArea:
            assert position <= area.start < area.start + area.length <= position + window.length
            areas.append((area.start, area.length))
        position += window.length
        answers += 1
    assert position == capacity
    return areas, answers


def covered(areas: list[tuple[int, int]]) -> set[int]:
    """Numbers of the 64 KiB blocks that areas touch."""
    return {
        block for start, length in areas for block in range(start // BLOCK, -(-(start + length) // BLOCK))
    }


def test_power_cycle_with_its_faults(client: Any) -> None:
    vm = machine(client)
    with pytest.raises(vim.fault.InvalidPowerState) as caught:
        vm.PowerOnVM_Task()
    assert (caught.value.existingState, caught.value.requestedState) == ("poweredOn", "poweredOff")
    finished(vm.SuspendVM_Task())
    assert vm.runtime.powerState == "suspended"
    finished(vm.PowerOnVM_Task())
    finished(vm.ResetVM_Task())
    vm.ShutdownGuest()
    assert eventually(lambda: vm.runtime.powerState == "poweredOff")
    assert vm.guest.toolsRunningStatus == "guestToolsNotRunning"
    for refused in (vm.PowerOffVM_Task, vm.ResetVM_Task, vm.SuspendVM_Task, vm.ShutdownGuest):
        with pytest.raises(vim.fault.InvalidPowerState):
            refused()


def test_shutdown_needs_running_tools(client: Any, estate: Estate) -> None:
    vm = machine(client)
    guest = estate.inventory.vm(vm._moId).guest
    estate.hardware.edit(vm._moId, guest=type(guest)(host_name="h", tools_installed=False))
    with pytest.raises(vim.fault.ToolsUnavailable):
        vm.ShutdownGuest()
    task = vm.CreateSnapshot_Task("q", "", False, True)
    with pytest.raises(vim.fault.ToolsUnavailable):
        finished(task)


def test_a_guest_that_cannot_be_quiesced(client: Any) -> None:
    vm = machine(client)
    option = vim.option.OptionValue(key="simulator.quiesce", value="fail")
    finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[option])))
    task = vm.CreateSnapshotEx_Task("q", "", False, vim.vm.GuestQuiesceSpec(timeout=1))
    with pytest.raises(vim.fault.ApplicationQuiesceFault):
        finished(task)
    assert task.info.state == "error"
    assert isinstance(task.info.error, vim.fault.ApplicationQuiesceFault)
    assert finished(vm.CreateSnapshot_Task("plain", "", False, False)).config is not None


def test_tasks_say_what_they_did(client: Any) -> None:
    vm = machine(client)
    task = vm.CreateSnapshot_Task("one", "why", False, False)
    snapshot = finished(task)
    info = task.info
    assert (info.state, info.descriptionId, info.entityName) == (
        "success",
        "VirtualMachine.createSnapshot",
        "idle-00001",
    )
    assert info.entity == vm
    assert info.result == snapshot
    assert info.queueTime <= info.startTime <= info.completeTime
    assert task in vm.recentTask
    assert task in client.content.taskManager.recentTask
    history = client.content.taskManager.CreateCollectorForTasks(vim.TaskFilterSpec())
    assert [entry.key for entry in history.ReadNextTasks(10)] == [task._moId]
    history.DestroyCollector()


def test_change_tracking_acts_only_after_a_stun(client: Any) -> None:
    vm = machine(client)
    finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    assert vm.config.changeTrackingEnabled is True
    assert [disk.backing.changeId for disk in disks(vm)] == [None, None], "configured, not yet active"
    snapshot = finished(vm.CreateSnapshot_Task("one", "", False, False))
    ids = [disk.backing.changeId for disk in disks(snapshot)]
    assert all(ids)
    assert len({text.split("/")[0] for text in ids}) == 2, "each disk has its own"
    keys = {option.key.lower() for option in vm.config.extraConfig}
    assert {"ctkenabled", "scsi0:0.ctkenabled", "scsi0:1.ctkenabled"} <= keys


def test_snapshots_have_files_chains_and_trees(client: Any) -> None:
    vm = machine(client)
    base = disks(vm)[0].backing.fileName
    one = finished(vm.CreateSnapshot_Task("one", "first", False, False))
    two = finished(vm.CreateSnapshot_Task("two", "second", False, False))
    assert disks(one)[0].backing.fileName == base
    first, second = disks(two)[0].backing, disks(vm)[0].backing
    assert first.fileName == "[datastore-1] idle-00001/idle-00001-000001.vmdk"
    assert first.parent.fileName == base
    assert second.fileName == "[datastore-1] idle-00001/idle-00001-000002.vmdk"
    assert (second.parent.fileName, second.parent.parent.fileName) == (first.fileName, base)
    root = vm.snapshot.rootSnapshotList[0]
    assert (root.name, root.description, root.childSnapshotList[0].name) == ("one", "first", "two")
    assert vm.snapshot.currentSnapshot == two
    assert (one.vm, list(one.childSnapshot)) == (vm, [two])
    assert [layout.key for layout in vm.layoutEx.snapshot] == [one, two]
    finished(one.RemoveSnapshot_Task(removeChildren=False, consolidate=True))
    assert vm.snapshot.rootSnapshotList[0].snapshot == two
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = one.config
    finished(vm.RevertToCurrentSnapshot_Task())
    assert vm.runtime.powerState == "poweredOff", "a snapshot without memory"
    finished(vm.RemoveAllSnapshots_Task())
    assert vm.snapshot is None
    assert disks(vm)[0].backing.fileName == base
    with pytest.raises(vim.fault.NotFound):
        finished(vm.RevertToCurrentSnapshot_Task())


def chain_of(disk: Any) -> list[str]:
    """The files of a disk by its backing and the parents of it, topmost first."""
    names, backing = [], disk.backing
    while backing is not None:
        names.append(backing.fileName.rpartition("/")[2])
        backing = backing.parent
    return names


def test_files_that_wait_for_consolidation_are_parents_of_the_backing(client: Any) -> None:
    vm = machine(client, "idle-00002")
    base = chain_of(disks(vm)[0])
    first = finished(vm.CreateSnapshot_Task("one", "", False, False))
    second = finished(vm.CreateSnapshot_Task("two", "", False, False))
    before = chain_of(disks(vm)[0])
    assert len(before) == len(base) + 2 and before[-1] == base[-1]
    finished(first.RemoveSnapshot_Task(False, False))
    assert chain_of(disks(vm)[0]) == before and chain_of(disks(second)[0]) == before[1:]
    finished(second.RemoveSnapshot_Task(False, False))
    assert vm.snapshot is None and vm.runtime.consolidationNeeded
    assert chain_of(disks(vm)[0]) == before
    (layout,) = [one for one in vm.layoutEx.disk if one.key == disks(vm)[0].key]
    assert len(layout.chain) == len(before)
    finished(vm.ConsolidateVMDisks_Task())
    assert chain_of(disks(vm)[0]) == base and not vm.runtime.consolidationNeeded


def test_removal_without_consolidation_asks_for_it(client: Any) -> None:
    vm = machine(client)
    snapshot = finished(vm.CreateSnapshot_Task("one", "", False, False))
    finished(snapshot.RemoveSnapshot_Task(False, False))
    assert vm.snapshot is None
    assert vm.runtime.consolidationNeeded is True
    finished(vm.ConsolidateVMDisks_Task())
    assert vm.runtime.consolidationNeeded is False


@pytest.mark.parametrize("gaps", [False, True])
def test_changed_areas_cover_the_truth_page_by_page(tmp_path: Path, gaps: bool) -> None:
    rng = random.Random(7)
    options = Options(cbt_page=5, cbt_gaps=gaps)
    with opened_estate(tmp_path / "e") as estate, serve(estate, accounts=ACCOUNTS, options=options) as server:
        instance = connect(server)
        vm = machine(instance)
        track(vm)
        base = finished(vm.CreateSnapshot_Task("base", "", False, False))
        since = disks(base)[0].backing.changeId
        finished(base.RemoveSnapshot_Task(False, True))
        written: set[int] = set()
        for _ in range(60):
            offset, length = rng.randrange(0, 60 * MIB, 512), rng.choice([512, 4096, 128 << 10])
            estate.power.write(vm._moId, 2000, offset, rng.randbytes(length))
            written |= covered([(offset, length)])
        next_one = finished(vm.CreateSnapshot_Task("next", "", False, False))
        areas, answers = changed(vm, next_one, 2000, 64 * MIB, since)
        assert covered(areas) == written
        assert answers > 5, "the answer came in pages"
        estate.power.write(vm._moId, 2000, 63 * MIB, b"later" + bytes(507))
        assert changed(vm, next_one, 2000, 64 * MIB, since)[0] == areas, "the snapshot's instant, not now"
        nothing, _ = changed(vm, next_one, 2001, 32 * MIB, disks(next_one)[1].backing.changeId)
        assert nothing == []
        everything, _ = changed(vm, next_one, 2000, 64 * MIB, "*")
        assert written <= covered(everything)
        Disconnect(instance)


def test_what_changed_areas_refuse(client: Any) -> None:
    vm = machine(client)
    untracked = finished(vm.CreateSnapshot_Task("none", "", False, False))
    with pytest.raises(vim.fault.FileFault) as file_fault:
        vm.QueryChangedDiskAreas(untracked, 2000, 0, "*")
    assert file_fault.value.file.endswith(".vmdk")
    finished(untracked.RemoveSnapshot_Task(False))
    track(vm)
    snapshot = finished(vm.CreateSnapshot_Task("one", "", False, False))
    first, second = (disk.backing.changeId for disk in disks(snapshot))
    wrong: list[tuple[Any, int, int, str, str]] = [
        (snapshot, 2000, 64 * MIB, first, "startOffset"),
        (snapshot, 2000, -1, first, "startOffset"),
        (snapshot, 2000, 0, second, "changeId"),
        (snapshot, 2000, 0, "rubbish", "changeId"),
        (snapshot, 2999, 0, first, "deviceKey"),
    ]
    for reference, key, start, since, name in wrong:
        with pytest.raises(vmodl.fault.InvalidArgument) as caught:
            vm.QueryChangedDiskAreas(reference, key, start, since)
        assert caught.value.invalidProperty == name
        assert caught.value.msg == f"A specified parameter was not correct: {name}"
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        vm.QueryChangedDiskAreas(vim.vm.Snapshot("snapshot-99", client._stub), 2000, 0, first)
    with pytest.raises(vim.fault.InvalidPowerState):
        vm.QueryChangedDiskAreas(None, 2000, 0, first)
    finished(vm.PowerOffVM_Task())
    assert vm.QueryChangedDiskAreas(None, 2000, 0, first).length == 64 * MIB


def test_a_policy_may_refuse_tracking_under_snapshots(tmp_path: Path) -> None:
    policy = Policy(tracking_with_snapshots="refuse")
    with opened_estate(tmp_path / "e", policy=policy) as estate, serve(estate, accounts=ACCOUNTS) as server:
        instance = connect(server)
        vm = machine(instance)
        finished(vm.CreateSnapshot_Task("one", "", False, False))
        task = vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True))
        with pytest.raises(vim.fault.InvalidState):
            finished(task)
        Disconnect(instance)


def test_reconfiguration(client: Any) -> None:
    vm = machine(client)
    add = vim.option.OptionValue(key="disk.EnableUUID", value="TRUE")
    finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(name="renamed", annotation="a < b & c", extraConfig=[add])))
    assert (vm.name, vm.config.annotation) == ("renamed", "a < b & c")
    assert vm.config.flags.diskUuidEnabled is True
    remove = vim.option.OptionValue(key="disk.EnableUUID", value="")
    finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[remove])))
    assert vm.config.flags.diskUuidEnabled is False
    with pytest.raises(vim.fault.DuplicateName):
        finished(vm.Rename_Task("idle-00002"))
    with pytest.raises(vim.fault.InvalidPowerState):
        finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(numCPUs=4)))
    with pytest.raises(vmodl.fault.NotSupported):
        vm.ReconfigVM_Task(vim.vm.ConfigSpec(firmware="efi"))


def test_disks_come_grow_and_go(client: Any) -> None:
    vm = machine(client)
    disk = disks(vm)[1]
    disk.capacityInKB, disk.capacityInBytes = 48 << 10, 48 * MIB
    edit = vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)
    finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))
    assert disks(vm)[1].capacityInBytes == 48 * MIB
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName="", diskMode="independent_persistent", thinProvisioned=True
    )
    fresh = vim.vm.device.VirtualDisk(
        key=-1, controllerKey=1000, unitNumber=-1, capacityInKB=1024, backing=backing
    )
    add = vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create", device=fresh)
    finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[add])))
    added = disks(vm)[2]
    assert (added.unitNumber, added.capacityInBytes) == (2, MIB)
    assert added.backing.diskMode == "independent_persistent"
    remove = vim.vm.device.VirtualDeviceSpec(operation="remove", fileOperation="destroy", device=added)
    finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[remove])))
    assert len(disks(vm)) == 2
    disk.capacityInKB, disk.capacityInBytes = 1 << 10, MIB
    with pytest.raises(vmodl.fault.InvalidArgument):
        finished(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))


def test_one_operation_at_a_time(server: Server, client: Any) -> None:
    vm = machine(client)
    with server.center.estate.operation(vm._moId):
        task = vm.CreateSnapshot_Task("one", "", False, False)
        with pytest.raises(vim.fault.TaskInProgress):
            finished(task)


def test_a_destroyed_machine_is_gone(client: Any) -> None:
    vm = machine(client, "idle-00002")
    with pytest.raises(vim.fault.InvalidPowerState):
        vm.Destroy_Task()
    finished(vm.PowerOffVM_Task())
    finished(vm.Destroy_Task())
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = vm.name
    assert len(client.content.rootFolder.childEntity[0].vmFolder.childEntity) == 2


def test_custom_fields_and_extensions(client: Any) -> None:
    fields, vm = client.content.customFieldsManager, machine(client)
    made = fields.AddCustomFieldDef("migration", vim.VirtualMachine)
    fields.SetField(vm, made.key, "wave 1")
    assert [(value.key, value.value) for value in vm.customValue] == [(made.key, "wave 1")]
    with pytest.raises(vim.fault.DuplicateName):
        fields.AddCustomFieldDef("migration", vim.VirtualMachine)
    extensions = client.content.extensionManager
    assert extensions.FindExtension("com.example.mover") is None
    described = vim.Description(label="mover", summary="mover")
    extension = vim.Extension(
        key="com.example.mover",
        version="1",
        description=described,
        lastHeartbeatTime=client.CurrentTime(),
    )
    extensions.RegisterExtension(extension)
    assert extensions.FindExtension("com.example.mover").version == "1"
    extensions.UnregisterExtension("com.example.mover")
    assert extensions.FindExtension("com.example.mover") is None


def test_folders_are_made_and_filled(client: Any) -> None:
    vm = machine(client)
    top = vm.parent
    wave = top.CreateFolder("wave 1").CreateFolder("night")
    finished(wave.MoveIntoFolder_Task([vm]))
    assert client.content.searchIndex.FindByInventoryPath("DC0/vm/wave 1/night/idle-00001") == vm
    assert vm.parent == wave
    with pytest.raises(vim.fault.DuplicateName):
        top.CreateFolder("wave 1")
    with pytest.raises(vmodl.fault.NotSupported):
        wave.MoveIntoFolder_Task([wave.parent])


@pytest.mark.parametrize("given", ["a/b\\c 50%", "a%2fb%5cc 50%25", "a%2Fb%5Cc 50%25"])
def test_signs_of_paths_are_escaped_in_names(client: Any, given: str) -> None:
    vm, index = machine(client), client.content.searchIndex
    finished(vm.Rename_Task(given))
    shown = given if "%" in given[:4] else "a%2fb%5cc 50%25"
    assert vm.name == vm.config.name == vm.summary.config.name == shown
    for written in (given, "a%2fb%5cc 50%25", "a%2Fb%5cc 50%"):
        assert index.FindChild(vm.parent, written) == vm
    assert index.FindByInventoryPath("DC0/vm/a%2fb%5cc 50%25") == vm
    vm.parent.CreateFolder("x/y")
    with pytest.raises(vim.fault.DuplicateName):
        vm.parent.CreateFolder("x%2fy")
