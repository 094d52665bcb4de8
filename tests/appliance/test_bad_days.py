"""vCenter's bad days, in the middle of a pass with real parts: each ends with the right bytes and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connector.appliance.passes import admission, opening
from connector.appliance.passes.order import order_from_json
from connector.backoff import Backoff
from connector.errors import Conflict, Ineligible, NotFound, VCenterFault
from connector.vcenter import tasks
from connector.vcenter.client import Quiesce
from simulator.faults import Rule
from simulator.vcenter import edits, host_calls
from simulator.vcenter.kinds import Call, Target
from simulator.vcenter.sessions import Session
from tests.appliance.desk import OWNER, Bench, Board, copied
from tests.appliance.test_agent import order as body
from tests.vcenter.imaginary import MIB
from tests.waiting import PATIENCE

WINDOW = 4 * MIB  # of both disks


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """New attempts come soon."""
    monkeypatch.setattr(tasks, "VCENTER", Backoff(0.1, 60.0))
    monkeypatch.setattr(opening, "OPENING", Backoff(0.1, 5.0))


def _meanwhile(work: Callable[[], None]) -> Callable[[], None]:
    """Beside the pass: what a person or another system does does not wait for it."""
    return lambda: threading.Thread(target=work, daemon=True).start()


def _restarted(desk: Bench, seconds: float = 1.0) -> None:
    with desk.world.server.down():
        threading.Event().wait(seconds)


def _one_snapshot_one_reading(desk: Bench, done: dict[str, object], board: Board) -> None:
    assert desk.equal() and not desk.world.snapshots()
    assert board.phases.count("taking the snapshot") == 1
    disks: list[dict[str, int]] = done["disks"]  # type: ignore[assignment]
    assert sum(disk["read"] for disk in disks) <= 12 * MIB + WINDOW


def test_sessions_that_end_in_the_middle_are_renewed_and_workers_get_the_new_cookie(
    desk: Bench, tmp_path: object
) -> None:
    desk.reader(bandwidth=4 * MIB, faults=f"error on=read at=3 code=36 latch={tmp_path}/latch")
    board, sessions = Board(), desk.world.server.center.sessions
    board.when(copied(0.1), lambda: [sessions.end(session) for session in sessions.all()] and None)
    done = desk.carry(desk.order(1), board)
    _one_snapshot_one_reading(desk, done, board)


@pytest.mark.parametrize("moment", ["while it is read", "creation", "removal"])
def test_a_restart_of_vcenter_is_waited_out(desk: Bench, moment: str) -> None:
    desk.reader(bandwidth=8 * MIB)
    board = Board()
    if moment == "while it is read":
        board.when(copied(0.3), _meanwhile(lambda: _restarted(desk)))
    else:
        call = {"creation": "CreateSnapshot_Task", "removal": "RemoveSnapshot_Task"}[moment]
        phase = {"creation": "taking the snapshot", "removal": "removing the snapshot"}[moment]
        desk.estate.hardware.set_change_tracking(desk.vm, True)
        desk.estate.snapshots.remove(desk.vm, desk.estate.snapshots.create(desk.vm, "stun"))
        desk.estate.faults.add(Rule(f"task:{call}", "delay", seconds=0.8))
        board.when(
            lambda now, _: now == phase, _meanwhile(lambda: threading.Event().wait(0.3) or _restarted(desk))
        )
    done = desk.carry(desk.order(1), board)
    _one_snapshot_one_reading(desk, done, board)


def test_invariant_4_a_vcenter_that_is_away_for_too_long_leaves_a_snapshot_that_is_told(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "OUTAGE", 0.5)
    board, back = Board(), threading.Event()

    def away() -> None:
        with desk.world.server.down():
            back.wait(PATIENCE)

    board.when(lambda phase, _: phase == "removing the snapshot", _meanwhile(away))
    desk.estate.faults.add(Rule("task:RemoveSnapshot_Task", "delay", seconds=1.0, skip=1))
    done = desk.carry(desk.order(1), board)
    back.set()
    assert desk.equal() and done["toll"]["left"]
    assert any(trouble for *_, trouble in desk.record.resources.values())


def _other_host(desk: Bench) -> str:
    here = desk.estate.inventory.vm(desk.vm).host
    return next(host for host in desk.estate.inventory.hosts if host != here)


def test_a_machine_that_moves_to_another_host_is_read_on_there_in_the_same_snapshot(desk: Bench) -> None:
    desk.reader(bandwidth=4 * MIB, prepare_code=13)  # without the privilege to keep it where it is
    center, board = desk.world.server.center, Board()
    board.when(copied(0.3), lambda: host_calls.move(center, desk.vm, _other_host(desk)))
    done = desk.carry(desk.order(1), board)
    _one_snapshot_one_reading(desk, done, board)


def test_a_host_in_maintenance_is_waited_for_until_its_machine_has_moved(desk: Bench) -> None:
    desk.reader(bandwidth=4 * MIB, prepare_code=13)
    center, board = desk.world.server.center, Board()
    here, there = desk.estate.inventory.vm(desk.vm).host, _other_host(desk)
    waiting = threading.Event()
    board.when(copied(0.3), lambda: host_calls.change(center, here, in_maintenance=True))
    board.when(lambda *_: _is_waiting(board), waiting.set)

    def evacuate() -> None:
        assert waiting.wait(PATIENCE)
        host_calls.move(center, desk.vm, there)

    mover = threading.Thread(target=evacuate)
    mover.start()
    done = desk.carry(desk.order(1), board)
    mover.join()
    _one_snapshot_one_reading(desk, done, board)


def _is_waiting(board: Board) -> bool:
    return any("host" in str(disk["state"]) for disk in board.read()[1])


def test_while_its_disks_are_read_a_machine_may_not_move_and_afterwards_it_may(desk: Bench) -> None:
    desk.reader(bandwidth=8 * MIB)
    center, board = desk.world.server.center, Board()
    refused: list[str] = []

    def move() -> None:
        try:
            host_calls.move(center, desk.vm, _other_host(desk))
        except Exception as fault:  # noqa: BLE001 - a vim fault is no common kind of exception
            refused.append(type(fault).__name__)

    board.when(copied(0.3), move)
    done = desk.carry(desk.order(1), board)
    assert refused == ["vim.fault.MethodDisabled"]
    _one_snapshot_one_reading(desk, done, board)
    move()
    assert len(refused) == 1


def test_a_machine_that_is_deleted_in_the_middle_is_told_by_its_name_and_leaves_nothing(desk: Bench) -> None:
    desk.reader(bandwidth=4 * MIB, faults="error on=read at=6 times=0 code=36")  # no worker lives long
    board = Board()
    board.when(copied(0.1), lambda: edits.destroy_machine(desk.world.server.center, desk.vm))
    with pytest.raises(NotFound) as gone:
        desk.carry(desk.order(1), board)
    assert gone.value.on == "web-01"
    left = [
        token
        for token, (_, kind, _, removed, _) in desk.record.resources.items()
        if not removed and kind == "snapshot"
    ]
    assert not left


def test_a_machine_that_is_renamed_and_moved_to_another_folder_is_the_same_machine(desk: Bench) -> None:
    desk.reader(bandwidth=8 * MIB)
    board, center = Board(), desk.world.server.center

    def rename() -> None:
        target = center.locate(center.reference(desk.vm))
        assert isinstance(target, Target)
        edits.rename(center, target, "another name")
        folder = desk.estate.inventory.vm(desk.vm).parent
        desk.estate.change_vm(desk.vm, parent=desk.estate.inventory.folders[folder].parent or folder)

    board.when(copied(0.3), rename)
    done = desk.carry(desk.order(1), board)
    _one_snapshot_one_reading(desk, done, board)
    desk.write()
    second = desk.carry(desk.order(2))
    assert desk.equal() and [disk["kind"] for disk in second["disks"]] == ["delta", "delta"]


def _as_found(desk: Bench, done: dict[str, object]) -> dict[str, object]:
    """The keyword of an order that says which disks the last pass found."""
    return {"disk_set": order_from_json(body(1) | {"disk_set": done["disk_set"]}).disk_set}


def test_disks_that_came_went_grew_and_moved_between_two_passes_are_findings(desk: Bench) -> None:
    first = desk.carry(desk.order(1))
    assert first["findings"] == []
    moved = next(store for store in desk.estate.inventory.datastores if store != _store(desk))
    desk.estate.hardware.add_disk(desk.vm, 1000, 5, MIB)
    desk.estate.hardware.extend_disk(desk.vm, 2001, 9 * MIB)
    desk.estate.hardware.relocate(desk.vm, moved)
    desk.write()
    second = desk.carry(desk.order(2, **_as_found(desk, first)))
    assert desk.equal()
    told = {(finding["check"], finding["message"].split(" from")[0]) for finding in second["findings"]}
    assert told == {
        ("D20", "the disk was added"),
        ("D20", "the disk was resized"),
        ("D20", "the disk moved"),
        ("D19", "its tracking was restarted (the uuid part of the change id differs)"),
    }
    desk.estate.hardware.remove_disk(desk.vm, 2005)
    third = desk.carry(desk.order(3, accept_removed_disks=True, **_as_found(desk, second)))
    assert [finding["message"] for finding in third["findings"]] == ["the disk was removed"]
    assert len(third["disks"]) == 2


def _store(desk: Bench) -> str:
    return desk.estate.inventory.vm(desk.vm).datastore


def _restless(desk: Bench) -> None:
    desk.estate.faults.add(
        Rule("estate.freeze", "fault", fault="ApplicationQuiesceFault", message="VSS", skip=1, times=3)
    )


@pytest.mark.parametrize("wish", ["off", "try", "require"])
def test_invariant_11_quiescing_is_a_wish_and_falls_back_only_if_allowed(desk: Bench, wish: str) -> None:
    _restless(desk)  # the first freeze is the stun that switches CBT on, which never quiesces
    order = desk.order(1, quiesce=Quiesce(wish))
    if wish == "require":
        with pytest.raises(VCenterFault, match="quiesced"):
            desk.carry(order)
        assert not desk.world.snapshots()
        return
    if wish == "off":
        desk.estate.faults.replace([])
    done = desk.carry(order)
    assert desk.equal() and not done["quiesced"]
    assert [finding["check"] for finding in done["findings"]] == (["V24"] if wish == "try" else [])


@pytest.mark.parametrize("quiesced", [False, True])
def test_an_adopted_snapshot_is_told_as_what_it_is(desk: Bench, quiesced: bool) -> None:
    """The attempt that took it was killed, and nobody heard its findings."""
    token = f"connector:{OWNER}:p-1"
    desk.estate.hardware.set_change_tracking(desk.vm, True)
    moref = desk.estate.snapshots.create(desk.vm, "connector-p-1", token, quiesce=quiesced)
    desk.record.record("p-1", token, "snapshot", moref)
    done = desk.carry(desk.order(2, attempts=("p-1",), quiesce=Quiesce.TRY))
    assert done["adopted"] and done["quiesced"] is quiesced
    assert [finding["check"] for finding in done["findings"]] == ([] if quiesced else ["V24"])


@pytest.mark.parametrize("sign", ["a lock", "a snapshot", "a task"])
def test_a_backup_at_work_is_waited_for_and_the_phase_says_so(
    desk: Bench, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "POLL_INTERVAL", 0.05)
    snapshots, vm = desk.estate.snapshots, desk.vm
    if sign == "a lock":
        desk.estate.change_vm(vm, extra={"vcenter.disabledMethod": "CreateSnapshot_Task,RemoveSnapshot_Task"})
        end = lambda: desk.estate.change_vm(vm, extra={})  # noqa: E731
    elif sign == "a snapshot":
        held = snapshots.create(vm, "VEEAM BACKUP TEMPORARY SNAPSHOT", "please do not delete")
        end = lambda: snapshots.remove(vm, held)  # noqa: E731
    else:
        release = threading.Event()
        desk.world.server.center.tasks.start(_call(desk), lambda _: release.wait(PATIENCE))
        end = release.set
    board = Board()
    board.when(lambda phase, _: phase.startswith("waiting: "), _meanwhile(end))
    desk.carry(desk.order(1), board)
    told = next(phase for phase in board.phases if phase.startswith("waiting: "))
    assert {"a lock": "switched off", "a snapshot": "VEEAM", "a task": "createSnapshot of backup is running"}[
        sign
    ] in told
    assert desk.equal()


def _call(desk: Bench) -> Call:
    """CreateSnapshot_Task, as somebody else calls it."""
    center = desk.world.server.center
    session = Session("key", "cookie", "backup")
    return Call(center, session, "CreateSnapshot_Task", center.locate(center.reference(desk.vm)), {})


def test_a_backup_that_does_not_end_is_told_and_nothing_has_happened(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "POLL_INTERVAL", 0.05)
    desk.workbench = replace(desk.workbench, backup_wait=0.2)
    desk.estate.snapshots.create(desk.vm, "VEEAM BACKUP TEMPORARY SNAPSHOT")
    with pytest.raises(Conflict, match=r"waited 0\.2 s for somebody else: a backup holds its snapshot VEEAM"):
        desk.carry(desk.order(1, final=True, task="final"))
    assert desk.record.resources == {} and desk.record.shutdowns == []
    desk.estate.change_vm(
        desk.vm,
        snapshots=tuple(
            replace(s, created="2026-01-01T00:00:00Z") for s in desk.estate.inventory.vm(desk.vm).snapshots
        ),
    )
    with pytest.raises(
        Ineligible, match="CBT cannot be turned on"
    ):  # an old one is a left-over: nobody works on it
        desk.carry(desk.order(2))


def test_a_worker_that_crashes_leaves_no_lock_behind(desk: Bench, tmp_path: Path) -> None:
    desk.reader(faults=f"segv on=read at=3 times=1 latch={tmp_path}/latch")
    desk.carry(desk.order(1))
    assert desk.equal()
    assert not desk.estate.export.prepared(desk.vm)


def test_another_task_is_in_progress_everywhere(desk: Bench) -> None:
    for call in ("ReconfigVM_Task", "CreateSnapshot_Task", "RemoveSnapshot_Task", "ShutdownGuest"):
        desk.estate.faults.add(Rule(call, "fault", fault="TaskInProgress", times=2))
    desk.carry(desk.order(1, final=False))
    desk.write()
    desk.carry(desk.order(2, final=True, task="final"))
    assert desk.equal() and not desk.world.snapshots()
