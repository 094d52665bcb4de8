"""One machine's pass with real parts, and what happens to its source when something goes wrong meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from connector.appliance.passes.give_back import GivenBack
from connector.cancellation import Cancellation
from connector.clients.endpoint import InstanceEndpoint
from connector.clients.heartbeat import heard_from_json
from connector.errors import Ineligible, Interrupted, ReaderFailed, TransferFailed
from connector.log_context import current, log_context
from connector.model import DiskAccess, TargetLimits
from connector.sources.factory import Readers
from connector.sources.reader import DepthLimit, SourceChanged, full_pace
from connector.sources.vddk import VddkReader
from connector.transfer.source import BlockSource
from simulator.faults import Rule
from tests.appliance.desk import KEYS, Bench, Board, context, copied
from tests.transfer.conftest import Instance, Job
from tests.vcenter.imaginary import MIB
from tests.waiting import PATIENCE, eventually


def _full(desk: Bench) -> None:
    """Somebody else fills the machine's datastore up to 3 % of it."""
    moref = desk.estate.inventory.vm(desk.vm).datastore
    store = desk.estate.inventory.datastores[moref]
    free = desk.estate.free_space(moref)
    _other(desk, store.other + free - store.capacity // 33)


def _other(desk: Bench, other: int) -> None:
    moref = desk.estate.inventory.vm(desk.vm).datastore
    desk.estate.change(
        lambda old: replace(
            old, datastores=old.datastores | {moref: replace(old.datastores[moref], other=other)}
        )
    )


def test_full_delta_and_what_the_snapshots_cost(desk: Bench) -> None:
    first = desk.carry(desk.order(1))
    assert desk.equal() and not desk.world.snapshots()
    assert [disk["kind"] for disk in first["disks"]] == ["full", "full"]
    assert first["toll"]["create"] >= 0 and first["toll"]["remove"] >= 0
    assert first["governor"] == []
    desk.write()
    second = desk.carry(desk.order(2))
    assert desk.equal()
    assert all(disk["kind"] == "delta" and disk["read"] < 2 * MIB for disk in second["disks"])


def test_what_the_library_says_about_a_disk_is_logged_with_the_disk(desk: Bench) -> None:
    """It is said in another process, and read by a thread of its own."""
    heard = set()

    class Noted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.add((record.name, current().get("pass"), current().get("disk")))

    logger, noted = logging.getLogger("vddk.library"), Noted()
    before = logger.level
    logger.addHandler(noted)
    logger.setLevel(logging.DEBUG)
    try:
        with log_context(pass_id="p-1"):
            desk.carry(desk.order(1))
    finally:
        logger.removeHandler(noted)
        logger.setLevel(before)
    assert heard == {("vddk.library", "p-1", str(key)) for key in KEYS}


def test_invariant_9_a_datastore_that_fills_gets_its_snapshot_back_and_the_pass_resumes(desk: Bench) -> None:
    desk.reader(bandwidth=2 * MIB)
    desk.governed(every=0.05, rest=7)
    board = Board()
    board.when(copied(0.3), lambda: _full(desk))
    with pytest.raises(GivenBack, match=r"given back: datastore .* has 3\.\d% free") as back:
        desk.carry(desk.order(1), board)
    assert back.value.rest == 7
    assert not desk.world.snapshots()
    assert any(phase.startswith("giving the snapshot back: datastore") for phase in board.phases)
    with pytest.raises(GivenBack, match="no snapshot now"):
        desk.carry(desk.order(2))
    assert not desk.world.snapshots()
    _other(desk, 0)
    desk.reader()
    desk.write(1)
    done = desk.carry(desk.order(3))
    assert desk.equal()
    delivered = sum(disk["read"] for disk in done["disks"])
    assert (
        delivered <= 12 * MIB * 0.7 + 2 * 2 * MIB + 2 * 2 * MIB
    )  # a window of each disk, and what the guest wrote


def test_a_host_without_nfc_memory_is_asked_for_less(desk: Bench) -> None:
    desk.reader(nfc_memory=3 * MIB // 2, read_us=3000)
    desk.governed(every=0.2)
    done = desk.carry(desk.order(1))
    assert desk.equal()
    paces = [change["pace"] for change in done["governor"]]
    assert paces[0] == "slow" and "give back" not in paces
    assert "NFC memory" in done["governor"][0]["reason"]


@pytest.mark.parametrize("crowd", [True, False])
def test_too_many_snapshots_on_a_datastore_are_waited_for(desk: Bench, crowd: bool) -> None:
    desk.estate.snapshots.create(desk.vm, "by hand")
    desk.governed(begin_snapshots=1 if crowd else 2)
    order: Any = desk.order(1)
    if not crowd:
        desk.estate.snapshots.remove_all(desk.vm)
        desk.carry(order)
        return
    desk.estate.change_vm(desk.vm, change_tracking=True)
    with pytest.raises(GivenBack, match="the limit is 1"):
        desk.carry(order)
    assert desk.world.snapshots() == ["by hand"]


@pytest.mark.parametrize("why", ["stopped", "given back"])
def test_a_stop_is_heard_while_the_instance_proves(
    start: Callable[..., Instance], job: Job, tmp_path: Path, why: str
) -> None:
    """The snapshot goes at once; the proof goes on, and makes way for the next reading."""
    hold, stop = tmp_path / "hold", Cancellation()
    with context(tmp_path, start(module="tests.transfer.gated_instance"), job) as desk:
        desk.governed(every=0.05, rest=7)
        hold.touch()
        with ThreadPoolExecutor(1) as pool:
            carried = pool.submit(desk.carry, desk.order(1), Board(), stop)
            try:
                eventually(lambda: all((tmp_path / f"read-{key}").exists() for key in KEYS), "it proves")
                stop.set() if why == "stopped" else _full(desk)
                with pytest.raises(Interrupted, match=why):
                    carried.result(PATIENCE)
                assert not desk.world.snapshots()
            finally:
                hold.unlink()
        _other(desk, 0)
        desk.write(1)
        assert [disk["kind"] for disk in desk.carry(desk.order(2))["disks"]] == ["delta", "delta"]
        assert desk.equal()


def test_a_reading_that_was_delivered_before_an_interruption_is_signed_as_what_it_was(desk: Bench) -> None:
    """The snapshot of the first attempt could not be removed, so the next attempt adopts it and finds everything delivered."""
    for first, kind, own_snapshots in ((1, "full", 1), (3, "delta", 0)):  # one that switches CBT on
        desk.write()
        desk.estate.faults.replace(
            [Rule("RemoveSnapshot_Task", "fault", fault="FileFault", skip=own_snapshots, times=None)]
        )
        desk.carry(desk.order(first))
        desk.estate.faults.replace([])
        again = desk.carry(desk.order(first + 1, attempts=(f"p-{first}",)))
        assert [disk["note"] for disk in again["disks"]] == ["delivered before an interruption"] * 2
        assert [disk["kind"] for disk in again["disks"]] == [kind, kind]
        assert all(bool(disk["base_change_id"]) is (kind == "delta") for disk in again["disks"])


class OneChanges(VddkReader):
    """One disk cannot be read; then the files under the other one have changed."""

    failed = threading.Event()

    def open(self, access: DiskAccess, depth: int, pace: DepthLimit = full_pace) -> BlockSource:
        with closing(super().open(access, depth, pace)) as source:
            small = source.capacity == 4 * MIB
        if small:
            self.failed.set()
            raise ReaderFailed("cannot be read")
        assert self.failed.wait(PATIENCE)
        raise SourceChanged("its files changed")


def test_a_source_that_changed_is_distrusted_whatever_failed_before(desk: Bench) -> None:
    desk.carry(desk.order(1))
    desk.workbench = replace(desk.workbench, readers=Readers({"vddk": OneChanges(desk.vddk)}))
    with pytest.raises(GivenBack, match="its files changed"):
        desk.carry(desk.order(2))
    assert all(desk.instance.endpoint.disk(str(key))["doubt"] == "its files changed" for key in KEYS)


def test_a_base_is_in_doubt_before_its_attempts_are_forgotten(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An appliance that is killed between the two must not leave a base that a delta continues from."""
    desk.carry(desk.order(1))
    desk.workbench = replace(desk.workbench, readers=Readers({"vddk": OneChanges(desk.vddk)}))

    def killed(*_: object) -> None:
        raise TransferFailed("killed")

    monkeypatch.setattr(InstanceEndpoint, "discard_attempts", killed)
    with pytest.raises(TransferFailed, match="killed"):
        desk.carry(desk.order(2))
    assert desk.instance.endpoint.disk(str(KEYS[0]))["doubt"] == "its files changed"


def test_a_pass_behind_a_clean_up_says_so_and_can_be_stopped(desk: Bench) -> None:
    stop, board = Cancellation(), Board()
    board.when(lambda phase, _: phase == "waiting for a clean-up of this machine", stop.set)
    with (
        desk.workbench.locks.held(desk.vm, Cancellation()),
        pytest.raises(Interrupted, match="stopped on request"),
    ):
        desk.carry(desk.order(1), board, stop)


AROUND: dict[str, tuple[str, str, dict[str, Any]]] = {
    "S6 maintenance": ("hosts", r"is in maintenance mode \(S6\)", {"in_maintenance": True}),
    "S6 connection": ("hosts", r"is notResponding \(S6\)", {"connection_state": "notResponding"}),
    "D12 access": ("datastores", r"is not accessible \(D12\)", {"accessible": False}),
    "D12 maintenance": ("datastores", r"is in maintenance \(D12\)", {"maintenance_mode": "inMaintenance"}),
}


def test_what_the_survey_says_of_host_and_datastore_is_asked_again_before_each_pass(desk: Bench) -> None:
    before = desk.estate.inventory
    for kind, said, trouble in AROUND.values():
        there = {moref: replace(one, **trouble) for moref, one in getattr(before, kind).items()}
        desk.estate.change(lambda old, kind=kind, there=there: replace(old, **{kind: there}))
        for final in (False, True):
            with pytest.raises(GivenBack, match=f"not now: .* {said}") as back:
                desk.carry(desk.order(1, final=final))
            assert back.value.rest == desk.workbench.governor.rest
        desk.estate.change(lambda old, kind=kind: replace(old, **{kind: getattr(before, kind)}))
    assert not desk.world.snapshots() and desk.record.shutdowns == []


def test_what_the_target_takes_is_heard_of_and_asked_for_before_each_pass(desk: Bench) -> None:
    told = {"stop": [], "target": asdict(TargetLimits(most_disks=1))}
    desk.workbench.target.hear(heard_from_json(told))
    desk.workbench.target.hear(heard_from_json({"stop": []}))  # of a control plane that says nothing of it
    with pytest.raises(Ineligible, match=r"has 2 disks, the target takes 1 \(D16\)"):
        desk.carry(desk.order(1))
    assert not desk.world.snapshots()
    staying = replace(desk.order(1), left_out=frozenset({int(KEYS[1])}))
    assert [str(disk["key"]) for disk in desk.carry(staying)["disks"]] == [str(KEYS[0])]
