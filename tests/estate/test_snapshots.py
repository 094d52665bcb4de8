"""Snapshots of running machines: names, trees, stuns, space, and folding under fire."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from simulator.estate.errors import (
    InvalidPowerState,
    InvalidState,
    NoDiskSpace,
    NotFound,
    SnapshotFault,
    TaskInProgress,
    ToolsUnavailable,
)
from simulator.estate.estate import Estate, Policy, Timing
from simulator.estate.inventory import Controller
from simulator.faults import Faults, InjectedFault, Rule
from tests.estate.conftest import DS, VM
from tests.estate.reader import view, views

Make = Callable[..., Estate]
MIB, KEY = 1 << 20, 2000


def names(estate: Estate) -> list[str]:
    vm = estate.inventory.vm(VM)
    return [disk.path for disk in (*(shot.disks[0] for shot in vm.snapshots), vm.disks[0])]


def test_file_names_move_as_vsphere_moves_them(make: Make):
    estate = make(MIB)
    first, second = estate.snapshots.create(VM, "1"), estate.snapshots.create(VM, "2")
    folder = "[ds1] web-01/web-01"
    assert names(estate) == [f"{folder}.vmdk", f"{folder}-000001.vmdk", f"{folder}-000002.vmdk"]
    estate.snapshots.remove(VM, first)
    assert names(estate) == [f"{folder}.vmdk", f"{folder}-000002.vmdk"]
    estate.snapshots.create(VM, "3")
    assert names(estate) == [f"{folder}.vmdk", f"{folder}-000002.vmdk", f"{folder}-000001.vmdk"]
    estate.snapshots.remove(VM, second, children=True)
    assert names(estate) == [f"{folder}.vmdk"]


def test_removing_a_parent_leaves_its_children(make: Make):
    estate = make(MIB)
    a, b, c = (estate.snapshots.create(VM, name) for name in "abc")
    estate.snapshots.revert(VM, b)
    d = estate.snapshots.create(VM, "d")
    estate.snapshots.remove(VM, b)
    vm = estate.inventory.vm(VM)
    assert {shot.moref: shot.parent for shot in vm.snapshots} == {a: None, c: a, d: a}
    assert vm.current_snapshot == d
    assert views(estate.directory / "export", VM) == {"current", a, c, d}
    assert estate.snapshots.create(VM, "e") not in {a, b, c, d}


def test_all_disks_freeze_at_one_instant(make: Make):
    """A guest that always writes disk 1 before disk 2 is never seen the other way round."""
    estate = make(MIB, MIB, timing=Timing(0.001, 0.001))
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for key in (KEY, KEY + 1):
                estate.power.write(VM, key, 0, number.to_bytes(8, "big") * 64)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(15):
            point = estate.snapshots.create(VM, "s")
            one, two = (estate.storage.disk(f"disk-{n}").read(0, 8, point) for n in (1, 2))
            assert 0 <= int.from_bytes(one, "big") - int.from_bytes(two, "big") <= 1
            estate.snapshots.remove(VM, point)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("seed", range(3))
def test_folding_under_fire_loses_nothing(make: Make, seed: int):
    estate, capacity = make(24 * MIB), 24 * MIB
    model, random, stop = bytearray(capacity), Random(seed), threading.Event()

    def write() -> None:
        while not stop.is_set():
            offset = random.randrange(capacity // 512 - 64) * 512
            data = random.randbytes(random.randrange(1, 64) * 512)
            estate.power.write(VM, KEY, offset, data)
            model[offset : offset + len(data)] = data

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(8):
            points = [estate.snapshots.create(VM, "s") for _ in range(3)]
            kept = estate.storage.disk("disk-1").read(0, capacity, points[2])
            estate.snapshots.remove(VM, points[1])
            estate.snapshots.remove(VM, points[0])
            assert estate.storage.disk("disk-1").read(0, capacity, points[2]) == kept
            estate.snapshots.remove_all(VM)
    finally:
        stop.set()
        thread.join()
    (disk,) = view(estate.directory / "export", VM, "current")
    assert disk.read() == model
    assert len(disk.layers) == 1


def test_readers_of_a_view_are_not_disturbed_by_folding_below(make: Make):
    estate = make(8 * MIB)
    estate.power.write(VM, KEY, 0, b"a" * 8 * MIB)
    first = estate.snapshots.create(VM, "1")
    estate.power.write(VM, KEY, MIB, b"b" * MIB)
    second = estate.snapshots.create(VM, "2")
    before = estate.storage.disk("disk-1").read(0, 8 * MIB, second)
    stop, wrong = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            if estate.storage.disk("disk-1").read(0, 8 * MIB, second) != before:
                wrong.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    estate.snapshots.remove(VM, first)
    stop.set()
    thread.join()
    assert not wrong
    (disk,) = view(estate.directory / "export", VM, second)
    assert disk.read() == before


def test_a_failed_consolidation_is_visible_and_can_be_repeated(make: Make):
    faults = Faults([Rule("estate.consolidate", "fault", fault="FileLocked")])
    estate = make(MIB, faults=faults)
    point = estate.snapshots.create(VM, "s")
    with pytest.raises(InjectedFault) as caught:
        estate.snapshots.remove(VM, point)
    assert caught.value.name == "FileLocked"
    vm = estate.inventory.vm(VM)
    assert vm.consolidation_needed and not vm.snapshots
    estate.snapshots.consolidate(VM)
    assert not estate.inventory.vm(VM).consolidation_needed
    with pytest.raises(NotFound):
        estate.snapshots.remove(VM, point)


def test_one_operation_at_a_time(make: Make):
    estate = make(MIB)
    with estate.operation(VM), pytest.raises(TaskInProgress):
        estate.snapshots.create(VM, "s")
    estate.snapshots.create(VM, "s")


def test_snapshots_that_are_refused(make: Make):
    estate = make(MIB, policy=Policy(snapshot_levels=2))
    vm = estate.inventory.vm(VM)
    estate.hardware.edit(VM, guest=replace(vm.guest, tools_installed=False))
    estate.power.off(VM)
    estate.power.on(VM)
    with pytest.raises(ToolsUnavailable):
        estate.snapshots.create(VM, "s", quiesce=True)
    estate.hardware.edit(VM, controllers=(Controller(1000, "pvscsi", sharing="virtualSharing"),))
    with pytest.raises(SnapshotFault):
        estate.snapshots.create(VM, "s")
    estate.hardware.edit(VM, controllers=vm.controllers)
    estate.snapshots.create(VM, "1")
    estate.snapshots.create(VM, "2")
    with pytest.raises(SnapshotFault):
        estate.snapshots.create(VM, "3")


def test_deltas_eat_the_datastore_until_the_guest_stands_still(make: Make):
    estate = make(64 * MIB, space=60 * MIB)
    for at in range(0, 16 * MIB, MIB):
        estate.power.write(VM, KEY, at, b"a" * MIB)
    assert estate.free_space(DS) <= 44 * MIB
    estate.snapshots.create(VM, "s")
    with pytest.raises(NoDiskSpace):
        for at in range(0, 64 * MIB, MIB):
            estate.power.write(VM, KEY, at, b"b" * MIB)
    assert "outofspace" in (estate.inventory.vm(VM).question or "")
    with pytest.raises(NoDiskSpace):
        estate.snapshots.create(VM, "t")
    estate.snapshots.remove_all(VM)
    estate.power.write(VM, KEY, 0, b"c" * 512)
    assert estate.inventory.vm(VM).question is None


def test_a_removed_disk_lives_as_long_as_a_snapshot_holds_it(make: Make):
    estate = make(MIB, MIB)
    estate.power.write(VM, KEY + 1, 0, b"k" * 512)
    point = estate.snapshots.create(VM, "s")
    estate.hardware.remove_disk(VM, KEY + 1, destroy=True)
    disks = view(estate.directory / "export", VM, point)
    assert len(disks) == 2 and disks[1].read()[:3] == b"kkk"
    assert len(view(estate.directory / "export", VM, "current")) == 1
    estate.snapshots.remove(VM, point)
    assert not (estate.directory / "disks" / "disk-2").exists()


def test_power(make: Make):
    estate = make(MIB)
    with pytest.raises(InvalidPowerState):
        estate.power.on(VM)
    version = estate.version
    estate.power.shutdown_guest(VM)
    while estate.inventory.vm(VM).power_state != "poweredOff":
        assert (version := estate.wait_for_change(version, 10)) and version
    with pytest.raises(InvalidPowerState):
        estate.power.write(VM, KEY, 0, bytes(512))
    with pytest.raises(InvalidPowerState):
        estate.power.shutdown_guest(VM)


def test_a_memory_snapshot_comes_back_running(make: Make):
    estate = make(MIB)
    hot, cold = estate.snapshots.create(VM, "hot", memory=True), estate.snapshots.create(VM, "cold")
    estate.snapshots.revert(VM, cold)
    assert estate.inventory.vm(VM).power_state == "poweredOff"
    estate.snapshots.revert(VM, hot)
    assert estate.inventory.vm(VM).power_state == "poweredOn"
    estate.snapshots.remove_all(VM)
    with pytest.raises(InvalidState):
        estate.snapshots.revert(VM)


def test_two_simulators_cannot_have_one_estate(make: Make):
    estate = make(MIB)
    with pytest.raises(RuntimeError, match="another simulator"):
        Estate(estate.directory)


def test_sessions_access_and_hosts_are_files(make: Make):
    export = make(MIB).export
    export.access("AA:BB", [("svc", "secret"), ("two", "words here")])
    path = export.root / "access"
    assert path.read_text() == "thumbprint=AA:BB\nuser=svc\npassword=secret\nuser=two\npassword=words here\n"
    assert path.stat().st_mode & 0o777 == 0o600
    export.open_session("c0ffee")
    assert [entry.name for entry in (export.root / "sessions").iterdir()] == ["c0ffee"]
    export.close_session("c0ffee")
    export.close_session("c0ffee")
    assert not list((export.root / "sessions").iterdir())
    with pytest.raises(ValueError, match="cookie"):
        export.open_session("../x")
    export.hosts({VM: "maintenance"})
    assert (export.root / "hosts").read_text() == f"{VM}\tmaintenance\n"
    with pytest.raises(ValueError, match="host states"):
        export.hosts({VM: "gone"})


def test_layers_are_absolute(make: Make, room: Path):
    estate = make(MIB)
    (disk,) = view(estate.directory / "export", VM, "current")
    assert all(path.is_absolute() and path.is_file() for path in disk.layers)


def test_what_others_leave_in_a_machine_s_folder_stays(make: Make):
    """The VDDK stand-in keeps its marks there."""
    estate = make(MIB)
    mark = estate.directory / "export" / VM / ".access"
    mark.write_text("1\n")
    estate.snapshots.remove(VM, estate.snapshots.create(VM, "s"))
    assert mark.read_text() == "1\n"
    assert {path.name for path in mark.parent.iterdir()} == {"current", ".access"}


def test_an_interrupted_revert_is_finished_at_the_next_start(make: Make):
    estate = make(MIB, MIB)
    estate.power.write(VM, KEY, 0, b"o" * 512)
    point = estate.snapshots.create(VM, "s")
    for key in (KEY, KEY + 1):
        estate.power.write(VM, key, 0, b"n" * 512)
    estate.change_vm(VM, reverting=point)
    estate.storage.disk("disk-1").revert(point, uuid4())
    estate.close()
    again = Estate(estate.directory)
    assert again.inventory.vm(VM).reverting is None
    assert again.storage.disk("disk-1").read(0, 3) == b"ooo"
    assert again.storage.disk("disk-2").read(0, 3) == bytes(3)
    again.close()


def test_a_guest_may_refuse_to_shut_down(make: Make):
    estate = make(MIB, faults=Faults([Rule("estate.shutdown", "answer", answer={"ignore": True})]))
    estate.power.shutdown_guest(VM)
    version = estate.version
    assert estate.wait_for_change(version, 0.1) == version
    estate.power.shutdown_guest(VM)
    assert estate.wait_for_change(version, 10) > version


def test_moving_a_machine_s_disks_renames_them_and_restarts_tracking(make: Make):
    estate = make(MIB)
    other = replace(estate.inventory.datastores[DS], moref="datastore-2", name="ds2")
    estate.change(lambda old: replace(old, datastores=old.datastores | {other.moref: other}))
    estate.power.write(VM, KEY, 0, b"m" * 512)
    estate.hardware.set_change_tracking(VM, True)
    point = estate.snapshots.create(VM, "s")
    old = estate.inventory.vm(VM).snapshot(point).disks[0].change_id
    with pytest.raises(InvalidState):
        estate.hardware.relocate(VM, "datastore-2")
    estate.snapshots.remove_all(VM)
    estate.hardware.relocate(VM, "datastore-2")
    disk = estate.inventory.vm(VM).disks[0]
    assert (disk.path, disk.datastore) == ("[ds2] web-01/web-01.vmdk", "datastore-2")
    assert view(estate.directory / "export", VM, "current")[0].path == disk.path
    assert estate.power.read(VM, KEY, 0, 1) == b"m"
    assert old is not None and disk.change_id is not None
    assert disk.change_id.split("/")[0] != old.split("/")[0]
