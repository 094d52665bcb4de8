"""Down, read, and back: what the power of a source is at each step of a cutover and of its way back."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from connector.cancellation import Cancellation
from connector.errors import BadInput, Conflict, ConnectorError, ControlFailed, Interrupted
from connector.sources.factory import ReaderSettings, readers
from simulator.estate.inventory import PowerState
from simulator.faults import Rule
from tests.appliance.desk import OWNER, Bench, Board, copied


def _power(desk: Bench) -> PowerState:
    return desk.estate.inventory.vm(desk.vm).power_state


def _final(desk: Bench, number: int = 2, **changes: Any) -> Any:
    return desk.order(number, final=True, task="final", **changes)


def _rollback(desk: Bench, number: int = 9, **changes: Any) -> Any:
    known: dict[str, Any] = {"instance": None, "credential": None, "power_on": True}
    return desk.order(number, task="power-on", **known | changes)


def test_the_shutdown_is_recorded_before_it_is_asked_for_and_the_last_state_is_read(desk: Bench) -> None:
    desk.estate.faults.add(
        Rule("ShutdownGuest", "fault", fault="ToolsUnavailable"),
        Rule("ShutdownGuest", "delay", seconds=0.3),
    )
    with pytest.raises(Conflict, match="Tools"):
        desk.carry(_final(desk, 1))
    assert desk.record.shutdowns == ["p-1"]
    done = desk.carry(_final(desk))
    assert desk.record.shutdowns == ["p-1", "p-2"]
    assert _power(desk) is PowerState.OFF and desk.equal() and not desk.world.snapshots()
    assert done["shutdown"] > 0.3
    assert {disk["kind"] for disk in done["disks"]} == {"final"}


@pytest.mark.parametrize("task", ["final", "shutdown"])
def test_nothing_is_shut_down_while_an_earlier_snapshot_resists(desk: Bench, task: str) -> None:
    """The source would be down for nothing: the last delta needs the snapshot gone."""
    desk.estate.snapshots.create(desk.vm, "x", f"connector:{OWNER}:p-lost")
    desk.estate.faults.add(Rule("RemoveSnapshot_Task", "fault", fault="FileFault", times=None))
    with pytest.raises(ConnectorError):
        desk.carry(desk.order(1, final=True, task=task))
    assert _power(desk) is PowerState.ON and desk.record.shutdowns == []


def test_a_stop_ends_the_wait_for_a_merge_before_the_cutover_and_nothing_is_shut_down(desk: Bench) -> None:
    stop, board = Cancellation(), Board()
    desk.estate.snapshots.create(desk.vm, "x", f"connector:{OWNER}:p-lost")
    desk.estate.faults.add(Rule("estate.consolidate", "delay", seconds=10.0))
    board.when(
        lambda phase, _: phase.startswith("removing what"), lambda: threading.Timer(1.0, stop.set).start()
    )
    with pytest.raises(Interrupted, match="stopped while waiting"):
        desk.carry(_final(desk), board, stop)
    assert _power(desk) is PowerState.ON and desk.record.shutdowns == []


def test_without_a_record_nothing_is_shut_down(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> None:
        raise ControlFailed("away")

    monkeypatch.setattr(desk.record, "shutting_down", away)
    with pytest.raises(ControlFailed):
        desk.carry(_final(desk))
    assert _power(desk) is PowerState.ON and not desk.world.snapshots()


@pytest.mark.parametrize("allowed", [True, False])
def test_a_guest_that_does_not_obey_is_powered_off_only_if_allowed(desk: Bench, allowed: bool) -> None:
    desk.estate.faults.add(Rule("estate.shutdown", "answer", answer={"ignore": True}))
    order = _final(desk, allow_power_off=allowed, shutdown_deadline=0.5)
    if allowed:
        desk.carry(order)
        assert _power(desk) is PowerState.OFF and desk.equal()
        return
    with pytest.raises(Conflict, match=r"did not shut down within 0\.5 s"):
        desk.carry(order)
    assert _power(desk) is PowerState.ON and not desk.world.snapshots()


@pytest.mark.parametrize("moment", ["before the snapshot", "while it is read"])
def test_a_machine_that_is_powered_on_during_its_cutover_is_refused(desk: Bench, moment: str) -> None:
    board = Board()
    early = moment == "before the snapshot"
    board.when(
        (lambda phase, _: phase == "taking the snapshot") if early else copied(0.2),
        lambda: desk.estate.power.on(desk.vm),
    )
    with pytest.raises(Conflict, match="powered the machine on during its cutover") as refused:
        desk.carry(_final(desk), board)
    assert "roll it back" in refused.value.remedy
    assert not desk.world.snapshots()
    desk.write()
    done = desk.carry(_final(desk, 3))
    assert done["shutdown"] is not None and desk.equal()


def test_a_shutdown_whose_answer_is_lost_and_a_power_off_that_fails_after_its_work(desk: Bench) -> None:
    desk.estate.faults.add(
        Rule("ShutdownGuest", "cut"),
        Rule("estate.shutdown", "answer", answer={"ignore": True}, skip=1),
        Rule("done:PowerOffVM_Task", "fault", fault="Timedout"),
    )
    desk.carry(_final(desk, allow_power_off=True, shutdown_deadline=3.0))
    assert _power(desk) is PowerState.OFF and desk.equal()


def test_a_stop_while_the_guest_shuts_down_reads_nothing(desk: Bench) -> None:
    stop, board = Cancellation(), Board()
    desk.estate.faults.add(Rule("estate.shutdown", "answer", answer={"ignore": True}))
    board.when(lambda phase, _: phase.startswith("shutting"), lambda: threading.Timer(0.3, stop.set).start())
    with pytest.raises(Interrupted):
        desk.carry(_final(desk, shutdown_deadline=60.0), board, stop)
    assert not desk.world.snapshots()


@pytest.mark.parametrize("keep", [False, True])
def test_rollback_gives_the_source_back_as_it_was_found(desk: Bench, keep: bool) -> None:
    desk.carry(desk.order(1))
    assert desk.estate.inventory.vm(desk.vm).change_tracking
    desk.carry(_final(desk))
    desk.estate.snapshots.create(desk.vm, "x", f"connector:{OWNER}:p-lost")  # as a crash leaves one
    done = desk.carry(_rollback(desk, keep_cbt=keep))
    vm = desk.estate.inventory.vm(desk.vm)
    assert vm.power_state is PowerState.ON and not vm.snapshots
    assert vm.change_tracking is keep
    assert (done["powered_on"], done["restored_cbt"], done["troubles"]) == (True, not keep, [])
    assert [o.removed for o in desk.record.objects() if o.kind == "tracking"] == [not keep]
    again = desk.carry(_rollback(desk, 10, keep_cbt=keep))
    assert not again["powered_on"] and _power(desk) is PowerState.ON


def test_rollback_leaves_alone_what_the_cutover_did_not_change(desk: Bench) -> None:
    desk.estate.hardware.set_change_tracking(desk.vm, True)
    desk.estate.power.off(desk.vm)
    desk.estate.snapshots.create(desk.vm, "by hand")
    desk.carry(_final(desk))
    assert desk.record.shutdowns == []
    done = desk.carry(_rollback(desk, power_on=False))
    vm = desk.estate.inventory.vm(desk.vm)
    assert vm.power_state is PowerState.OFF and vm.change_tracking
    assert [shot.name for shot in vm.snapshots] == ["by hand"]
    assert (done["powered_on"], done["restored_cbt"]) == (False, False)


def test_what_resists_never_keeps_the_power_off(desk: Bench) -> None:
    desk.carry(desk.order(1))
    desk.carry(_final(desk))
    desk.estate.snapshots.create(desk.vm, "x", f"connector:{OWNER}:p-lost")
    for call in ("RemoveSnapshot_Task", "ReconfigVM_Task"):
        desk.estate.faults.add(Rule(call, "fault", fault="FileFault", times=None))
    done = desk.carry(_rollback(desk))
    assert _power(desk) is PowerState.ON
    assert done["powered_on"] and not done["restored_cbt"] and len(done["troubles"]) == 3


def test_a_rollback_that_is_stopped_while_the_guest_may_shut_down_is_not_done(desk: Bench) -> None:
    """A guest that shuts down later would stay off, and nobody would know."""
    stop, board = Cancellation(), Board()
    board.when(lambda phase, _: phase.startswith("waiting whether"), stop.set)
    with pytest.raises(Interrupted, match="the guest may still shut down"):
        desk.carry(_rollback(desk, settling=600.0), board, stop)


def test_a_power_on_that_fails_is_the_error(desk: Bench) -> None:
    desk.carry(_final(desk))
    desk.estate.faults.add(Rule("PowerOnVM_Task", "fault", fault="InsufficientResourcesFault", times=None))
    with pytest.raises(Exception, match="not enough resources"):
        desk.carry(_rollback(desk))
    assert _power(desk) is PowerState.OFF


@pytest.mark.parametrize("task", ["final", "shutdown"])
def test_a_reader_that_the_appliance_lacks_is_refused_before_anything_is_done(desk: Bench, task: str) -> None:
    """Above all before the machine is shut down: nobody could read it then."""
    desk.workbench = replace(desk.workbench, readers=readers(ReaderSettings()))
    with pytest.raises(BadInput, match="this appliance has no reader vddk"):
        desk.carry(desk.order(1, final=True, task=task, reader="vddk"))
    assert _power(desk) is PowerState.ON
    assert not desk.record.shutdowns and not desk.world.snapshots()
