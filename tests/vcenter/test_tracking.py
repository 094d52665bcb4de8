"""CBT: on where it must be, refused where it would lie, and full disclosure of every change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from connector.errors import ChangesUnknown, Conflict, Ineligible, NotFound, Unreachable
from connector.model import Extent, PowerState
from connector.vcenter.client import Ticket, VCenter
from simulator.estate.estate import Estate
from simulator.faults import Rule
from simulator.vcenter.center import Options
from tests.vcenter.imaginary import MIB, World, change_vm, world
from tests.vcenter.ledger import Memory
from tests.vcenter.witness import Witness
from tests.waiting import PATIENCE

SECTOR = 512


@pytest.fixture
def place() -> Iterator[World]:
    with world(options=Options(cbt_page=2, cbt_gaps=True)) as made:
        yield made


@pytest.fixture
def vcenter(place: World, ledger: Memory) -> Iterator[VCenter]:
    with VCenter(place.settings(), owner="site-a", ledger=ledger) as opened:
        yield opened


def test_a_running_machine_is_stunned_once_and_recorded(
    place: World, vcenter: VCenter, ledger: Memory
) -> None:
    done = vcenter.ensure_tracking(place.vm, "p1")
    assert (done.was_enabled, done.turned_on, done.full_each_time) == (False, True, ())
    assert ledger.steps == ["planned", "created", "removed"]
    assert place.snapshots() == []
    again = vcenter.ensure_tracking(place.vm, "p1")
    assert (again.was_enabled, again.turned_on) == (True, False)
    assert len(ledger.steps) == 3


def test_a_machine_that_is_off_needs_no_stun(place: World, vcenter: VCenter, ledger: Memory) -> None:
    place.estate.power.off(place.vm)
    assert vcenter.ensure_tracking(place.vm, "p1").turned_on
    assert ledger.steps == []
    assert not vcenter.ensure_tracking(place.vm, "p1").turned_on
    with vcenter.snapshot(place.vm, "p1") as taken:
        assert taken.untracked == ()


def test_it_is_put_back_as_it_was(place: World, vcenter: VCenter) -> None:
    before = vcenter.ensure_tracking(place.vm, "p1")
    vcenter.restore_tracking(before)
    assert not place.estate.inventory.vm(place.vm).change_tracking
    place.estate.hardware.set_change_tracking(place.vm, True)
    kept = vcenter.ensure_tracking(place.vm, "p2")
    vcenter.restore_tracking(kept)
    assert place.estate.inventory.vm(place.vm).change_tracking


def test_x21_it_is_refused_while_snapshots_exist(place: World, vcenter: VCenter) -> None:
    place.estate.snapshots.create(place.vm, "before update")
    with pytest.raises(Ineligible, match=r"1 snapshot.*delete its snapshots"):
        vcenter.ensure_tracking(place.vm, "p1")
    assert not place.estate.inventory.vm(place.vm).change_tracking
    assert place.snapshots() == ["before update"]


def test_a_snapshot_of_ours_in_the_way_is_told_apart(place: World, vcenter: VCenter) -> None:
    place.estate.snapshots.create(place.vm, "x", Ticket("site-a", "p0").token)
    with pytest.raises(Conflict, match="doctor --repair"):
        vcenter.ensure_tracking(place.vm, "p1")
    vcenter.clear_leftovers(machine=place.vm)
    assert vcenter.ensure_tracking(place.vm, "p1").turned_on


@pytest.mark.parametrize(("field", "value"), [("version", "vmx-04"), ("change_tracking_supported", False)])
def test_x21_machines_that_cannot_be_tracked(
    place: World, vcenter: VCenter, field: str, value: object
) -> None:
    change_vm(place.estate, place.vm, **{field: value})
    with pytest.raises(Ineligible, match="powered off"):
        vcenter.ensure_tracking(place.vm, "p1")


def test_disks_that_vsphere_never_tracks_are_named(ledger: Memory) -> None:
    def independent(estate: Estate) -> None:
        for moref in estate.inventory.vms:
            estate.hardware.add_disk(moref, 1000, 2, MIB, mode="independent_persistent")

    with world(prepare=independent) as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        keys = [disk.key for disk in place.estate.inventory.vm(place.vm).disks]
        assert vcenter.ensure_tracking(place.vm, "p1").full_each_time == (keys[2],)


@pytest.mark.parametrize("spell", [str.upper, str.lower, str.title])
def test_the_letter_case_of_a_disks_key_does_not_matter(
    place: World, vcenter: VCenter, spell: object
) -> None:
    vcenter.ensure_tracking(place.vm, "p1")
    extra = {spell(key): value for key, value in place.estate.inventory.vm(place.vm).extra.items()}  # type: ignore[operator]
    change_vm(place.estate, place.vm, extra=extra)
    assert not vcenter.ensure_tracking(place.vm, "p2").turned_on


def test_a_disk_that_the_machines_flag_forgot_is_marked(
    place: World, vcenter: VCenter, ledger: Memory
) -> None:
    vcenter.ensure_tracking(place.vm, "p1")
    extra = dict(place.estate.inventory.vm(place.vm).extra)
    del extra["scsi0:1.ctkEnabled"]
    change_vm(place.estate, place.vm, extra=extra)
    done = vcenter.ensure_tracking(place.vm, "p2")
    assert done.was_enabled and done.turned_on and done.full_each_time == ()


def test_every_write_is_in_the_answer(place: World, vcenter: VCenter) -> None:
    """The ground truth is the estate's record of writes; pages of two extents, empty windows between."""
    chance = random.Random(7)
    vcenter.ensure_tracking(place.vm, "p0")
    with vcenter.snapshot(place.vm, "p1") as base:
        pass
    for number in range(2, 6):
        written = []
        for _ in range(chance.randrange(12)):
            key, capacity = chance.choice([(2000, 4 * MIB), (2001, 8 * MIB)])
            start = chance.randrange(capacity // SECTOR - 8) * SECTOR
            place.estate.power.write(place.vm, key, start, chance.randbytes(8 * SECTOR))
            written.append((key, start, start + 8 * SECTOR))
        with vcenter.snapshot(place.vm, f"p{number}") as taken:
            for disk, old in zip(taken.disks, base.disks, strict=True):
                areas = vcenter.changed(place.vm, taken, disk, old)
                for key, start, end in written:
                    assert key != disk.key or any(a.start <= start and end <= a.end for a in areas)
                assert bool(areas) == any(key == disk.key for key, _, _ in written)
        base = taken


def test_without_a_base_the_areas_in_use_are_told_or_everything(place: World, vcenter: VCenter) -> None:
    vcenter.ensure_tracking(place.vm, "p0")
    place.estate.power.write(place.vm, 2000, 2 * MIB, b"x" * SECTOR)
    with vcenter.snapshot(place.vm, "p1") as taken:
        areas = vcenter.changed(place.vm, taken, taken.disks[0], None)
        assert any(area.start <= 2 * MIB < area.end for area in areas)
        place.estate.faults.add(Rule(call="estate.query", action="fault", fault="FileFault"))
        assert vcenter.changed(place.vm, taken, taken.disks[1], None) == (Extent(0, 8 * MIB),)


@pytest.mark.parametrize("fault", ["FileFault", "InvalidArgument", "NotSupported"])
def test_faults_mean_not_known(place: World, vcenter: VCenter, fault: str) -> None:
    vcenter.ensure_tracking(place.vm, "p0")
    with vcenter.snapshot(place.vm, "p1") as base:
        pass
    place.estate.faults.add(Rule(call="QueryChangedDiskAreas", action="fault", fault=fault, skip=1))
    with vcenter.snapshot(place.vm, "p2") as taken:
        place.estate.power.write(place.vm, 2000, 0, b"x" * SECTOR)
        vcenter.changed(place.vm, taken, taken.disks[1], base.disks[1])
        with pytest.raises(ChangesUnknown, match="hashes"):
            vcenter.changed(place.vm, taken, taken.disks[0], base.disks[0])


def test_an_id_from_another_machine_is_not_believed(place: World, vcenter: VCenter) -> None:
    for vm in (place.vm, place.other()):
        vcenter.ensure_tracking(vm, "p0")
    with vcenter.snapshot(place.other(), "p1") as foreign, vcenter.snapshot(place.vm, "p1") as taken:
        with pytest.raises(ChangesUnknown):
            vcenter.changed(place.vm, taken, taken.disks[0], foreign.disks[0])
        forged = replace(
            taken.disks[0], change_id=(taken.disks[0].change_id or "").rpartition("/")[0] + "/999999"
        )
        with pytest.raises(ChangesUnknown):
            vcenter.changed(place.vm, taken, taken.disks[0], forged)


def test_a_reset_of_tracking_is_noticed(place: World, vcenter: VCenter) -> None:
    vcenter.ensure_tracking(place.vm, "p0")
    with vcenter.snapshot(place.vm, "p1") as base:
        pass
    place.estate.hardware.set_change_tracking(place.vm, False)
    with vcenter.snapshot(place.vm, "p2") as untracked:
        assert untracked.untracked == (2000, 2001)
        with pytest.raises(ChangesUnknown, match="not active"):
            vcenter.changed(place.vm, untracked, untracked.disks[0], base.disks[0])
    vcenter.ensure_tracking(place.vm, "p3")
    with vcenter.snapshot(place.vm, "p3") as restarted, pytest.raises(ChangesUnknown, match="restarted"):
        vcenter.changed(place.vm, restarted, restarted.disks[0], base.disks[0])


def test_a_resized_disk_is_noticed(place: World, vcenter: VCenter) -> None:
    vcenter.ensure_tracking(place.vm, "p0")
    with vcenter.snapshot(place.vm, "p1") as base:
        pass
    place.estate.hardware.extend_disk(place.vm, 2000, 6 * MIB)
    with vcenter.snapshot(place.vm, "p2") as taken:
        assert taken.disks[0].capacity == 6 * MIB
        with pytest.raises(ChangesUnknown, match="resized"):
            vcenter.changed(place.vm, taken, taken.disks[0], base.disks[0])


def test_a_machine_that_is_off_is_asked_without_a_snapshot(place: World, vcenter: VCenter) -> None:
    vcenter.ensure_tracking(place.vm, "p0")
    with vcenter.snapshot(place.vm, "p1") as base:
        pass
    place.estate.power.write(place.vm, 2001, 3 * MIB, b"x" * SECTOR)
    vcenter.shut_down(place.vm, within=PATIENCE)
    disk = vcenter.find(place.vm).disks[1]
    (area,) = vcenter.changed(place.vm, None, disk, base.disks[1])
    assert area.start <= 3 * MIB < area.end
    vcenter.power_on(place.vm)


def test_a_gone_snapshot_is_not_found(place: World, vcenter: VCenter) -> None:
    vcenter.ensure_tracking(place.vm, "p0")
    with vcenter.snapshot(place.vm, "p1") as base:
        pass
    with pytest.raises((NotFound, ChangesUnknown)):
        vcenter.changed(place.vm, base, base.disks[0], base.disks[0])


def test_a_cut_answer_is_asked_for_again(place: World, vcenter: VCenter) -> None:
    vcenter.ensure_tracking(place.vm, "p0")
    with vcenter.snapshot(place.vm, "p1") as base:
        pass
    place.estate.power.write(place.vm, 2000, 0, b"x" * SECTOR)
    place.estate.faults.add(Rule(call="QueryChangedDiskAreas", action="cut", times=1))
    with vcenter.snapshot(place.vm, "p2") as taken:
        assert vcenter.changed(place.vm, taken, taken.disks[0], base.disks[0])[0].start == 0
        place.estate.faults.replace([Rule(call="QueryChangedDiskAreas", action="cut", times=None)])
        with pytest.raises(Unreachable):
            vcenter.changed(place.vm, taken, taken.disks[0], base.disks[0])


def test_the_session_may_end_between_two_pages(place: World, vcenter: VCenter) -> None:
    vcenter.ensure_tracking(place.vm, "p0")
    with vcenter.snapshot(place.vm, "p1") as base:
        pass
    for start in range(0, 4 * MIB, 512 << 10):
        place.estate.power.write(place.vm, 2000, start, b"x" * SECTOR)
    with vcenter.snapshot(place.vm, "p2") as taken:
        whole = vcenter.changed(place.vm, taken, taken.disks[0], base.disks[0])
        place.estate.faults.add(
            Rule(call="QueryChangedDiskAreas", action="fault", fault="NotAuthenticated", skip=1, times=1)
        )
        assert vcenter.changed(place.vm, taken, taken.disks[0], base.disks[0]) == whole
        assert len(whole) == 8


def test_power(place: World, vcenter: VCenter) -> None:
    assert vcenter.shut_down(place.vm, within=PATIENCE) is PowerState.OFF
    assert place.estate.inventory.vm(place.vm).power_state.value == "poweredOff"
    assert vcenter.shut_down(place.vm, within=PATIENCE) is PowerState.OFF
    assert vcenter.power_on(place.vm) is PowerState.ON
    assert vcenter.power_on(place.vm) is PowerState.ON


def test_a_guest_that_does_not_obey(place: World, vcenter: VCenter) -> None:
    place.estate.faults.add(
        Rule(call="estate.shutdown", action="answer", answer={"ignore": True}, times=None)
    )
    with pytest.raises(Conflict, match=r"within 0.2 s.*hard power-off"):
        vcenter.shut_down(place.vm, within=0.2)
    assert place.estate.inventory.vm(place.vm).power_state.value == "poweredOn"
    assert vcenter.shut_down(place.vm, within=0.2, force=True) is PowerState.OFF


def test_a_guest_without_tools(place: World, vcenter: VCenter) -> None:
    place.estate.faults.add(Rule(call="ShutdownGuest", action="fault", fault="ToolsUnavailable", times=None))
    with pytest.raises(Conflict, match="VMware Tools"):
        vcenter.shut_down(place.vm, within=PATIENCE)
    assert vcenter.shut_down(place.vm, within=PATIENCE, force=True) is PowerState.OFF


def test_a_suspended_machine(place: World, vcenter: VCenter) -> None:
    place.estate.power.suspend(place.vm)
    with pytest.raises(Conflict, match="suspended"):
        vcenter.shut_down(place.vm, within=PATIENCE, force=True)


def test_what_a_worker_gets(place: World, vcenter: VCenter) -> None:
    with vcenter.snapshot(place.vm, "p1") as taken:
        access = vcenter.disk_access(place.vm, taken, taken.disks[1])
    assert access.thumbprint == place.server.thumbprint
    assert (access.vm, access.snapshot, access.path) == (place.vm, taken.moref, taken.disks[1].path)
    assert access.secret and access.secret_is_cookie
    assert access.secret not in repr(access)
    assert vcenter.disk_access(place.vm, None, taken.disks[1]).snapshot is None


def test_vcsim_turns_tracking_on_and_off(witness: Witness, ledger: Memory) -> None:
    with VCenter(witness.settings(), owner="site-a", ledger=ledger) as vcenter:
        machine = vcenter.machines()[2]
        before = vcenter.ensure_tracking(machine.moref, "p1")
        assert vcenter.find(machine.moref).cbt_enabled
        vcenter.restore_tracking(before)
        assert not vcenter.find(machine.moref).cbt_enabled
