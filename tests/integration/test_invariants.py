"""What must always be true, looked at from outside while the whole house runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from simulator.estate.inventory import Snapshot
from simulator.faults import Rule
from tests.integration.conftest import Run, Start
from tests.integration.house import MIB, House, Shape, equal
from tests.integration.witness import OURS, STUN

DISKS = ((8 * MIB, 4 * MIB), (2 * MIB, MIB))
CELL = 1 << 16


@pytest.fixture
def tracked(make_house: Callable[..., House]) -> House:
    """web-01, powered on with CBT already active."""
    house = make_house(Shape("web-01", DISKS, on=False))
    moref = house.machine().moref
    house.estate.hardware.set_change_tracking(moref, True)
    house.estate.power.on(moref)
    return house


def test_invariant_3_only_snapshots_with_our_token_go_and_their_children_stay(
    tracked: House, run: Run
) -> None:
    moref, shots = tracked.machine().moref, tracked.estate.snapshots
    foreign = [
        shots.create(moref, "before the update", "by hand"),
        shots.create(moref, "connector-p-1-1-0-1", "a name like ours"),
        shots.create(moref, "connector-x", "connector:cffffffffffffffff:p-1-1-0-1"),
    ]
    made = tracked.witness.when(
        "RemoveSnapshot_Task", lambda: foreign.append(shots.create(moref, "child of ours", "by hand"))
    )
    before = tracked.digests()
    done = run(tracked.migration("web-01", "--incremental"))
    assert done.code == 0, done.stderr
    assert made.is_set()
    left = tracked.machine().snapshots
    assert [shot.moref for shot in left] == foreign
    assert left[3].parent == foreign[2]
    assert tracked.image("web-01_CYCLE_1") == before
    tracked.write()
    after = tracked.digests()
    assert run(tracked.migration("web-01", "--incremental")).code == 0
    assert [shot.moref for shot in tracked.machine().snapshots] == foreign
    assert tracked.image("web-01_CYCLE_2") == after


def test_invariant_4_one_snapshot_is_gone_and_folded_before_the_next(tracked: House, run: Run) -> None:
    tracked.witness.add(Rule("estate.consolidate", "delay", seconds=1.0, times=None))
    assert run(tracked.migration("web-01", "--cutover")).code == 0
    wanted = ("CreateSnapshot_Task", "RemoveSnapshot_Task", "estate.freeze", "estate.consolidate")
    order = [call for call, _ in tracked.witness.calls if call in wanted]
    one = ["CreateSnapshot_Task", "estate.freeze", "RemoveSnapshot_Task", "estate.consolidate"]
    assert order == one * (len(order) // 4)
    assert len(order) >= 8
    equal(tracked, "web-01", "web-01")


def test_invariant_4_the_change_id_is_the_base_before_the_snapshot_goes(tracked: House, run: Run) -> None:
    """At the moment of the removal the journal of each disk names the change id of that snapshot."""
    named: list[bool] = []

    def look() -> None:
        (shot,) = tracked.machine().snapshots
        kept = b"".join(
            p.read_bytes() for p in tracked.out.glob("instances/*/data/**/*journal*") if p.is_file()
        )
        named.extend((disk.change_id or "none").encode() in kept for disk in shot.disks)

    tracked.witness.when("RemoveSnapshot_Task", look)
    assert run(tracked.migration("web-01", "--incremental")).code == 0
    assert named == [True, True]


def _reset(house: House) -> None:
    moref = house.machine().moref
    for wanted in (False, True):
        house.estate.hardware.set_change_tracking(moref, wanted)
        house.estate.snapshots.remove(moref, house.estate.snapshots.create(moref, "stun"))
        house.write()


def _revert(house: House) -> None:
    moref = house.machine().moref
    shot = house.estate.snapshots.create(moref, "by hand")
    house.write()
    house.estate.snapshots.revert(moref, shot)
    house.estate.power.on(moref)
    house.estate.snapshots.remove(moref, shot)


def _fault(house: House) -> None:
    house.witness.add(
        Rule("QueryChangedDiskAreas", "fault", fault="FileFault", details={"file": "x"}, times=None)
    )


def _lie(house: House) -> None:
    """vCenter answers about another instant than the one it was asked about."""
    house.witness.add(Rule("estate.query", "answer", answer={"changeId": "52 00/9"}, times=None))


def differing(one: bytes, other: bytes) -> int:
    """Cells that are not the same."""
    return sum(
        one[at : at + CELL] != other[at : at + CELL] for at in range(0, max(len(one), len(other)), CELL)
    )


DOUBTS = {"reset": _reset, "reverted": _revert, "file fault": _fault, "foreign id": _lie}


@pytest.mark.parametrize(
    "doubt",
    ["reset", *(pytest.param(d, marks=pytest.mark.slow) for d in ("reverted", "file fault", "foreign id"))],
)
def test_invariant_6_changes_that_cannot_be_trusted_mean_the_whole_disk(
    tracked: House, run: Run, doubt: str
) -> None:
    before = tracked.content()
    assert run(tracked.migration("web-01", "--incremental")).code == 0
    tracked.write()
    DOUBTS[doubt](tracked)
    tracked.write(count=2)
    done = run(tracked.migration("web-01", "--cutover"))
    assert done.code == 0, done.stderr
    equal(tracked, "web-01", "web-01")
    rows = [row for row in done.result()["disks"] if row["note"]]
    assert {row["key"] for row in rows} == {disk.key for disk in tracked.machine().disks}
    assert all("compared: " in row["note"] and row["kind"] == "compare" for row in rows)
    after = tracked.content()
    for row in rows:
        assert row["wire"] <= differing(before[row["key"]], after[row["key"]]) * (CELL + 200) + 20_000


@pytest.mark.slow
def test_invariant_6_a_disk_that_grew_and_one_that_came_are_read_in_full(tracked: House, run: Run) -> None:
    assert run(tracked.migration("web-01", "--incremental")).code == 0
    vm = tracked.machine()
    tracked.estate.power.off(vm.moref)
    tracked.estate.hardware.extend_disk(vm.moref, vm.disks[0].key, 12 * MIB)
    added = tracked.estate.hardware.add_disk(vm.moref, 1000, 5, MIB)
    tracked.estate.power.on(vm.moref)
    tracked.write()
    done = run(tracked.migration("web-01", "--cutover"))
    assert done.code == 0, done.stderr
    equal(tracked, "web-01", "web-01")
    assert added.key in tracked.image("web-01")
    assert not tracked.snapshots()


@pytest.mark.slow
def test_invariant_10_a_disk_that_went_away_makes_no_image_of_two_instants(tracked: House, run: Run) -> None:
    assert run(tracked.migration("web-01", "--incremental")).code == 0
    vm = tracked.machine()
    tracked.estate.power.off(vm.moref)
    tracked.estate.hardware.remove_disk(vm.moref, vm.disks[1].key)
    tracked.estate.power.on(vm.moref)
    tracked.write()
    done = run(tracked.migration("web-01", "--cutover"))
    if done.code == 0:
        equal(tracked, "web-01", "web-01")
    else:
        assert done.code == 11, done.stderr
        assert "web-01" in done.complaint
        assert tracked.images() == {"web-01_CYCLE_1"}
    assert not tracked.snapshots()


@pytest.mark.slow
def test_invariant_5_changes_in_many_windows_with_empty_ones_between(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", ((64 * MIB, 2 * MIB),)))
    house.server.center.options = replace(house.server.center.options, cbt_gaps=True, cbt_page=2)
    assert run(house.migration("web-01", "--incremental")).code == 0
    house.write(count=40, size=512)
    assert run(house.migration("web-01", "--cutover")).code == 0
    assert house.witness.count("QueryChangedDiskAreas") >= 10
    equal(house, "web-01", "web-01")


def recorded(house: House) -> set[str]:
    """Tokens of snapshots that the control plane knows now."""
    file = house.out / ".connector" / "control" / "control.sqlite"
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in store.execute(f"SELECT * FROM {table}").fetchall()]
    return {value for row in rows for value in row if isinstance(value, str) and value.startswith(OURS)}


@dataclass
class _Create:
    """What was recorded when a snapshot was asked for, and which were there before."""

    known: set[str]
    before: tuple[Snapshot, ...]


def test_invariant_7_the_token_is_recorded_before_vcenter_is_asked(web: House, run: Run) -> None:
    created: list[_Create] = []
    for _ in range(3):
        web.witness.when(
            "CreateSnapshot_Task", lambda: created.append(_Create(recorded(web), web.machine().snapshots))
        )
    seen: list[set[str]] = []
    for _ in range(3):
        web.witness.when("RemoveSnapshot_Task", lambda: seen.append(set(web.snapshots())))
    assert run(web.migration("web-01", "--cutover")).code == 0
    assert len(created) == len(seen) == 3  # switching CBT on, full pass, last delta
    for asked, standing in zip(created, seen, strict=True):
        assert standing
        assert standing <= asked.known
    assert sum(STUN in token for standing in seen for token in standing) == 1


@pytest.mark.parametrize("skip", [0, 1], ids=["stun snapshot", "snapshot of the pass"])
def test_invariant_7_a_snapshot_whose_answer_never_came_is_found_and_removed(
    web: House, run: Run, skip: int
) -> None:
    web.witness.add(Rule("CreateSnapshot_Task", "cut", skip=skip, bytes=0))
    first = run(web.migration("web-01"))
    assert not web.snapshots()
    if first.code:
        assert first.code == 6, first.stderr
        assert run(web.migration("web-01")).code == 0
    equal(web, "web-01", "web-01")
    assert not web.snapshots()


@pytest.mark.parametrize(
    "call",
    ["RemoveSnapshot_Task", "WaitForUpdatesEx"]
    + [pytest.param(call, marks=pytest.mark.slow) for call in ("Login", "RetrievePropertiesEx")],
)
def test_invariant_3_connections_that_break_leave_nothing(web: House, run: Run, call: str) -> None:
    web.witness.add(Rule(call, "cut", skip=1, bytes=10))
    first = run(web.migration("web-01"))
    if first.code:
        assert first.code == 6, first.stderr
        assert len(first.complaint.splitlines()) == 1
        assert run(web.migration("web-01")).code == 0
    equal(web, "web-01", "web-01")
    assert not web.snapshots()


@pytest.mark.slow
def test_invariant_3_a_removal_that_fails_at_first_is_tried_until_it_succeeds(web: House, run: Run) -> None:
    web.witness.add(Rule("RemoveSnapshot_Task", "fault", skip=1, fault="TaskInProgress"))
    done = run(web.migration("web-01"))
    assert not web.snapshots()
    if done.code:
        assert run(web.migration("web-01")).code == 0
    equal(web, "web-01", "web-01")


def test_invariant_9_the_session_expires_in_the_middle_of_a_disk(web: House, start: Start, run: Run) -> None:
    web.reader(bandwidth=3 * MIB)
    command = start(web.migration("web-01"), CONNECTOR_TRANSFER_IN_FLIGHT=str(4 * MIB))
    command.copied(0.2)
    for session in web.server.center.sessions.all():
        web.server.center.sessions.end(session)
    done = command.wait()
    command.gone()
    if done.code:
        assert len(done.complaint.splitlines()) == 1
        web.reader()
        assert run(web.migration("web-01")).code == 0
    equal(web, "web-01", "web-01")
    assert not web.snapshots()


def test_invariant_11_r105_r106_r108_no_guest_operation_and_no_quiescing(web: House, run: Run) -> None:
    quiesced: list[bool] = []
    for _ in range(2):
        web.witness.when(
            "RemoveSnapshot_Task",
            lambda: quiesced.extend(s.quiesced or s.memory for s in web.machine().snapshots),
        )
    assert run(web.migration("web-01")).code == 0
    assert quiesced == [False, False]
    allowed = {"ShutdownGuest", "PowerOffVM_Task"}
    used = {call for call, _ in web.witness.calls}
    assert not {call for call in used if "Guest" in call or "InGuest" in call} - allowed
    assert not used & {
        "ShutdownGuest",
        "PowerOffVM_Task",
        "ResetVM_Task",
        "SuspendVM_Task",
    }  # no cutover was asked


@pytest.mark.slow
def test_a_clean_end_leaves_no_session(web: House, run: Run) -> None:
    assert run(web.migration("web-01")).code == 0
    assert web.server.center.sessions.all() == []


def test_nothing_is_written_beside_the_target(web: House, run: Run, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    done = run(web.migration("web-01"))
    assert done.code == 0
    fresh = {path.name for path in tmp_path.iterdir()} - before
    assert {name for name in fresh if not name.startswith("stderr-")} == {"out", "tmp"}
    assert not list((tmp_path / "tmp").iterdir())
