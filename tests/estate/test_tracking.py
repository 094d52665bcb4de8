"""Change tracking as vSphere does it: pending until a stun, foreign after a reset, wrong when enabled too
late.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.estate.errors import FileFault, InvalidArgument, InvalidPowerState, InvalidState, NotFound
from simulator.estate.estate import Estate, Policy
from simulator.estate.tracking import ChangeId, MalformedChangeId
from simulator.faults import Faults, Rule
from tests.estate.conftest import VM

Make = Callable[..., Estate]
MIB, UNIT, KEY = 1 << 20, 64 << 10, 2000


def change_id(estate: Estate, snapshot: str, key: int = KEY) -> str | None:
    disks = estate.inventory.vm(VM).snapshot(snapshot).disks
    return next(disk.change_id for disk in disks if disk.key == key)


def tracked(estate: Estate) -> str:
    """Turn tracking on; the first snapshot, whose change id is good."""
    estate.hardware.set_change_tracking(VM, True)
    return estate.snapshots.create(VM, "base")


@given(st.uuids(), st.integers(0, 10**9))
def test_change_id_text_round_trip(uuid, sequence):
    text = str(ChangeId(uuid, sequence))
    assert len(text.partition("/")[0]) == 47
    assert ChangeId.parse(text) == ChangeId(uuid, sequence)


def test_change_id_text_form():
    text = "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81"
    assert str(ChangeId.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "/", "*", "52/1", "zz" * 16 + "/1", "52 de c0/81", "a" * 32, "a" * 32 + "/-1"]
)
def test_other_text_is_refused(text):
    with pytest.raises(MalformedChangeId):
        ChangeId.parse(text)


@pytest.mark.parametrize("stun", ["power cycle", "create", "remove", "revert"])
def test_tracking_waits_for_a_stun(make: Make, stun: str):
    estate = make(4 * MIB)
    old = estate.snapshots.create(VM, "old") if stun in ("remove", "revert") else None
    estate.hardware.set_change_tracking(VM, True)
    vm = estate.inventory.vm(VM)
    assert vm.change_tracking and vm.tracking_pending and vm.disks[0].change_id is None
    if stun == "power cycle":
        estate.power.off(VM)
        assert estate.inventory.vm(VM).tracking_pending
        estate.power.on(VM)
    elif stun == "create":
        estate.snapshots.create(VM, "new")
    elif stun == "remove":
        estate.snapshots.remove(VM, old)
    else:
        estate.snapshots.revert(VM, old)
        assert not estate.inventory.vm(VM).change_tracking, "a revert brings the old configuration back"
        return
    vm = estate.inventory.vm(VM)
    assert not vm.tracking_pending and vm.disks[0].change_id is not None
    assert vm.extra["ctkEnabled"] == vm.extra["scsi0:0.ctkEnabled"] == "TRUE"


def test_a_reset_is_a_reset_only_with_a_stun_in_between(make: Make):
    estate = make(4 * MIB)
    estate.snapshots.remove(VM, first := tracked(estate))
    before = estate.inventory.vm(VM).disks[0].change_id
    estate.hardware.set_change_tracking(VM, False)
    estate.hardware.set_change_tracking(VM, True)
    estate.snapshots.remove(VM, estate.snapshots.create(VM, "stun"))
    after = estate.inventory.vm(VM).disks[0].change_id
    assert before is not None and after is not None
    assert before.split("/")[0] == after.split("/")[0], first
    for wanted in (False, True):
        estate.hardware.set_change_tracking(VM, wanted)
        estate.snapshots.remove(VM, estate.snapshots.create(VM, "stun"))
    renewed = estate.inventory.vm(VM).disks[0].change_id
    assert renewed is not None and renewed.split("/")[0] != after.split("/")[0]
    with pytest.raises(InvalidArgument, match="changeId"):
        estate.snapshots.query_changed(VM, estate.snapshots.create(VM, "n"), KEY, 0, after)


def test_a_change_id_outlives_its_snapshot(make: Make):
    estate = make(8 * MIB)
    first = tracked(estate)
    base = change_id(estate, first)
    estate.power.write(VM, KEY, 3 * MIB, b"x" * 512)
    estate.snapshots.remove(VM, first)
    estate.power.write(VM, KEY, 5 * MIB - 512, b"y" * 1024)
    second = estate.snapshots.create(VM, "next")
    estate.power.write(VM, KEY, 0, b"z" * 512)
    areas = estate.snapshots.query_changed(VM, second, KEY, 0, base)
    assert areas == [(3 * MIB, UNIT), (5 * MIB - UNIT, 2 * UNIT)]
    assert estate.snapshots.query_changed(VM, second, KEY, 4 * MIB, base) == [(5 * MIB - UNIT, 2 * UNIT)]
    assert estate.snapshots.query_changed(VM, second, KEY, 5 * MIB, base) == [(5 * MIB, UNIT)]


def test_queries_that_are_refused(make: Make):
    estate = make(4 * MIB, 4 * MIB)
    untracked = estate.snapshots.create(VM, "before")
    estate.snapshots.remove_all(VM)
    snapshot = tracked(estate)
    good, other = change_id(estate, snapshot), change_id(estate, snapshot, 2001)
    ask = estate.snapshots.query_changed
    with pytest.raises(InvalidArgument, match="startOffset"):
        ask(VM, snapshot, KEY, 4 * MIB, good)
    with pytest.raises(InvalidArgument, match="deviceKey"):
        ask(VM, snapshot, 2002, 0, good)
    with pytest.raises(InvalidArgument, match="changeId"):
        ask(VM, snapshot, KEY, 0, other)
    with pytest.raises(NotFound):
        ask(VM, untracked, KEY, 0, good)
    with pytest.raises(InvalidPowerState):
        ask(VM, None, KEY, 0, good)
    estate.power.off(VM)
    assert ask(VM, None, KEY, 0, good) == []


def test_an_untracked_snapshot_has_no_id_and_answers_nothing(make: Make):
    estate = make(4 * MIB)
    snapshot = estate.snapshots.create(VM, "s")
    assert change_id(estate, snapshot) is None
    with pytest.raises(FileFault):
        estate.snapshots.query_changed(VM, snapshot, KEY, 0, "*")


def test_history_that_is_not_kept_is_a_file_fault(make: Make):
    estate = make(4 * MIB, policy=Policy(keep_epochs=2))
    ids = []
    estate.hardware.set_change_tracking(VM, True)
    for number in range(4):
        snapshot = estate.snapshots.create(VM, str(number))
        ids.append(change_id(estate, snapshot))
        estate.snapshots.remove(VM, snapshot)
    last = estate.snapshots.create(VM, "last")
    assert estate.snapshots.query_changed(VM, last, KEY, 0, ids[-1]) == []
    with pytest.raises(FileFault):
        estate.snapshots.query_changed(VM, last, KEY, 0, ids[0])


def test_star_answers_what_is_allocated_even_if_it_is_zero(make: Make):
    estate = make(8 * MIB)
    estate.power.write(VM, KEY, 2 * MIB, bytes(4096))
    snapshot = tracked(estate)
    assert estate.snapshots.query_changed(VM, snapshot, KEY, 0, "*") == [(2 * MIB, UNIT)]


def test_trimmed_ranges_are_changed_but_no_longer_allocated(make: Make):
    estate = make(8 * MIB)
    estate.power.write(VM, KEY, 2 * MIB, b"x" * MIB)
    first = tracked(estate)
    base = change_id(estate, first)
    estate.snapshots.remove(VM, first)
    estate.power.discard(VM, KEY, 2 * MIB, MIB)
    second = estate.snapshots.create(VM, "next")
    assert estate.snapshots.query_changed(VM, second, KEY, 0, base) == [(2 * MIB, MIB)]
    assert estate.snapshots.query_changed(VM, second, KEY, 0, "*") == []


def test_a_grown_part_counts_as_changed(make: Make):
    estate = make(4 * MIB)
    first = tracked(estate)
    base = change_id(estate, first)
    with pytest.raises(InvalidState):
        estate.hardware.extend_disk(VM, KEY, 6 * MIB)
    estate.snapshots.remove(VM, first)
    estate.hardware.extend_disk(VM, KEY, 6 * MIB)
    assert estate.inventory.vm(VM).disks[0].capacity == 6 * MIB
    second = estate.snapshots.create(VM, "next")
    assert estate.snapshots.query_changed(VM, second, KEY, 0, base) == [(4 * MIB, 2 * MIB)]


def test_enabling_under_snapshots_is_refused_or_silently_wrong(make: Make):
    strict = make(4 * MIB, policy=Policy(tracking_with_snapshots="refuse"))
    strict.snapshots.create(VM, "foreign")
    with pytest.raises(InvalidState):
        strict.hardware.set_change_tracking(VM, True)
    estate = make(4 * MIB)
    estate.snapshots.create(VM, "foreign")
    base = change_id(estate, tracked(estate))
    estate.power.write(VM, KEY, 0, b"x" * 4 * UNIT)
    snapshot = estate.snapshots.create(VM, "next")
    assert estate.snapshots.query_changed(VM, snapshot, KEY, 0, base) == [(0, UNIT), (2 * UNIT, UNIT)]


def test_independent_disks_stay_out_of_snapshots(make: Make):
    estate = make(4 * MIB)
    estate.hardware.add_disk(VM, 1000, 5, 2 * MIB, mode="independent_persistent")
    snapshot = tracked(estate)
    assert change_id(estate, snapshot, 2005) is None
    estate.power.write(VM, 2005, 0, b"n" * 512)
    path = estate.inventory.vm(VM).snapshot(snapshot).disks[1].path
    assert path == estate.inventory.vm(VM).disks[1].path
    with pytest.raises(InvalidArgument, match="deviceKey"):
        estate.snapshots.query_changed(VM, snapshot, 2005, 0, "*")


def test_a_rule_can_make_tracking_lose_writes(make: Make):
    """As real defects did; only a comparison of contents can find it."""
    rule = Rule("estate.track", "answer", VM, skip=1, times=1, answer={"lose": True})
    estate = make(8 * MIB, faults=Faults([rule]))
    base = change_id(estate, tracked(estate))
    for at in (0, MIB, 2 * MIB):
        estate.power.write(VM, KEY, at, b"w" * 512)
    snapshot = estate.snapshots.create(VM, "next")
    assert estate.snapshots.query_changed(VM, snapshot, KEY, 0, base) == [(0, UNIT), (2 * MIB, UNIT)]
    assert estate.storage.disk("disk-1").read(MIB, 1, snapshot) == b"w"
