"""Invariants 3, 4 and 7: recorded before it exists, removed on every way out, and never anybody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from connector.backoff import Backoff
from connector.errors import BadInput, ConnectorError, Interrupted, NotFound, Unreachable, VCenterFault
from connector.vcenter import inventory, tasks
from connector.vcenter.client import VCenter
from connector.vcenter.naming import Ticket, owned
from connector.vcenter.removal import clear_leftovers, dismiss, leftovers
from connector.vcenter.session import Session
from connector.vcenter.snapshots import Quiesce, SnapshotTimeouts, held
from connector.vcenter.tasks import WaitLimit
from connector.vcenter.vmomi import vim
from simulator.estate.estate import Timing
from simulator.estate.inventory import ToolsState
from simulator.faults import Rule
from simulator.vcenter.center import Options
from simulator.vcenter.edits import destroy_machine
from tests.vcenter.imaginary import World, world
from tests.vcenter.ledger import Memory
from tests.vcenter.witness import Witness

TICKET = Ticket("site-a", "pass-1")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def place() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def open_session(place: World) -> Iterator[Session]:
    with Session(place.settings()) as opened:
        yield opened


def test_the_order_of_things(place: World, open_session: Session, ledger: Memory) -> None:
    with held(open_session, place.vm, TICKET, ledger) as taken:
        shot = place.estate.inventory.vm(place.vm).snapshots[0]
        assert (shot.name, shot.description) == ("connector-pass-1", "connector:site-a:pass-1")
        assert not shot.memory and not shot.quiesced
        assert ledger.told == [
            ("planned", place.vm, TICKET.token),
            ("created", place.vm, TICKET.token, taken.moref),
        ]
        assert [disk.capacity for disk in taken.disks] == [4 << 20, 8 << 20]
    assert ledger.steps == ["planned", "created", "removed"]
    assert place.snapshots() == []
    assert not place.estate.inventory.vm(place.vm).consolidation_needed


def test_nothing_is_created_when_the_intent_cannot_be_recorded(place: World, open_session: Session) -> None:
    class Full(Memory):
        def planned(self, machine: str, token: str) -> None:
            raise OSError("disk full")

    ledger = Full()
    with pytest.raises(OSError, match="disk full"), held(open_session, place.vm, TICKET, ledger):
        pass
    assert place.snapshots() == [] and ledger.told == []


@pytest.mark.parametrize("way_out", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_it_is_gone_on_every_way_out(
    place: World, open_session: Session, ledger: Memory, way_out: type[BaseException]
) -> None:
    with pytest.raises(way_out), held(open_session, place.vm, TICKET, ledger):
        assert place.snapshots()
        raise way_out
    assert place.snapshots() == []
    assert ledger.steps[-1] == "removed"


def test_an_interrupt_during_the_creation(ledger: Memory) -> None:
    """The task goes on at vCenter; what it makes is found by its token and removed."""
    with world(options=Options(task_seconds=1.0)) as place, Session(place.settings()) as session:

        class Striking(Memory):
            def planned(self, machine: str, token: str) -> None:
                super().planned(machine, token)
                threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()

        striking = Striking()
        with pytest.raises(KeyboardInterrupt), held(session, place.vm, TICKET, striking):
            raise AssertionError("the interrupt came too late")
        assert place.snapshots() == []
        assert striking.steps == ["planned", "removed"]


def test_a_stop_during_the_creation_leaves_nothing(ledger: Memory) -> None:
    stop = threading.Event()
    with world(options=Options(task_seconds=2.0)) as place, Session(place.settings()) as session:
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(Interrupted), held(session, place.vm, TICKET, ledger, stop=stop):
            pass
        assert place.snapshots() == []


def test_a_stop_does_not_stop_the_removal(place: World, open_session: Session, ledger: Memory) -> None:
    stop = threading.Event()
    with held(open_session, place.vm, TICKET, ledger, stop=stop):
        stop.set()
    assert place.snapshots() == []


def test_foreign_snapshots_stay_and_so_do_children(
    place: World, open_session: Session, ledger: Memory
) -> None:
    create = place.estate.snapshots.create
    create(place.vm, "connector-pass-1", "somebody liked our name")
    with held(open_session, place.vm, TICKET, ledger):
        create(place.vm, "child of ours", "a backup")
    assert place.snapshots() == ["connector-pass-1", "child of ours"]


@pytest.mark.parametrize("quiesced", [False, True])
def test_adoption_after_a_crash(place: World, open_session: Session, ledger: Memory, quiesced: bool) -> None:
    moref = place.estate.snapshots.create(place.vm, TICKET.name, TICKET.token, quiesce=quiesced)
    with held(open_session, place.vm, TICKET, ledger) as taken:
        assert taken.adopted and taken.moref == moref and taken.quiesced is quiesced
        assert len(place.snapshots()) == 1
    assert place.snapshots() == []


def test_a_snapshot_of_another_pass_is_not_adopted(
    place: World, open_session: Session, ledger: Memory
) -> None:
    place.estate.snapshots.create(place.vm, "connector-pass-0", "connector:site-a:pass-0")
    place.estate.snapshots.create(place.vm, "connector-pass-1", "connector:site-b:pass-1")
    with held(open_session, place.vm, TICKET, ledger) as taken:
        assert not taken.adopted
    assert place.snapshots() == ["connector-pass-0", "connector-pass-1"]


def test_another_task_is_waited_for(place: World, open_session: Session, ledger: Memory) -> None:
    place.estate.faults.add(Rule(call="estate.freeze", action="delay", seconds=0.5))
    foreign = open_session.managed(vim.VirtualMachine, place.vm).CreateSnapshot_Task(
        "backup", "x", False, False
    )
    with held(open_session, place.vm, TICKET, ledger):
        assert place.snapshots() == ["backup", "connector-pass-1"]
    assert place.snapshots() == ["backup"]
    assert tasks.finish(open_session, foreign, on="x", wait=WaitLimit(5), what="it") is not None


@pytest.mark.parametrize(
    "call", ["CreateSnapshot_Task", "RemoveSnapshot_Task", "estate.freeze", "estate.consolidate"]
)
def test_task_in_progress_is_waited_out(
    place: World, open_session: Session, ledger: Memory, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "VCENTER", Backoff(0.05, 60.0))
    place.estate.faults.add(Rule(call=call, action="fault", fault="TaskInProgress", times=2))
    with held(open_session, place.vm, TICKET, ledger):
        pass
    assert place.snapshots() == []


def _unlucky(times: int) -> Rule:
    return Rule("estate.freeze", "fault", fault="SnapshotFault", message="no luck", times=times)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """New attempts come at once."""
    monkeypatch.setattr(tasks, "VCENTER", Backoff(0.01, 60.0))


@pytest.mark.usefixtures("hasty")
def test_a_failed_creation_leaves_nothing(place: World, open_session: Session, ledger: Memory) -> None:
    place.estate.faults.add(_unlucky(3))
    with pytest.raises(VCenterFault, match="no luck"), held(open_session, place.vm, TICKET, ledger):
        pass
    assert place.snapshots() == []
    assert ledger.steps == ["planned", "removed"]


@pytest.mark.usefixtures("hasty")
def test_a_creation_may_succeed_next_time(place: World, open_session: Session, ledger: Memory) -> None:
    place.estate.faults.add(_unlucky(2))
    with held(open_session, place.vm, TICKET, ledger) as taken:
        assert place.snapshots() == ["connector-pass-1"] and not taken.adopted
    assert place.snapshots() == []


@pytest.mark.parametrize("call", ["CreateSnapshot_Task", "RemoveSnapshot_Task"])
def test_a_task_that_fails_after_its_work_was_done(
    place: World, open_session: Session, ledger: Memory, call: str
) -> None:
    place.estate.faults.add(Rule(f"done:{call}", "fault", fault="Timedout", message="too late"))
    with held(open_session, place.vm, TICKET, ledger):
        assert place.snapshots() == ["connector-pass-1"]
    assert place.snapshots() == []
    assert ledger.steps == ["planned", "created", "removed"]


def test_the_toll_of_a_snapshot_is_an_upper_bound_of_its_stuns(ledger: Memory) -> None:
    with world(timing=Timing(0.15, 0.1, 0, 0.1)) as place, Session(place.settings()) as session:
        with held(session, place.vm, TICKET, ledger) as taken:
            created = place.estate.gate(place.vm).longest
        cost = taken.cost
        assert cost.create is not None and 0.15 <= created <= cost.create < 5
        assert cost.remove is not None and place.estate.gate(place.vm).longest <= cost.remove < 5
        assert cost.left == ""


def _stuck(place: World) -> None:
    place.estate.faults.add(
        Rule(call="RemoveSnapshot_Task", action="fault", fault="FileFault", message="stuck", times=None)
    )


def test_invariant_3_a_failed_removal_fails_nobody_and_is_told_until_it_is_mended(
    place: World, open_session: Session, ledger: Memory
) -> None:
    _stuck(place)
    with held(open_session, place.vm, TICKET, ledger) as taken:
        pass
    assert "stuck" in taken.cost.left
    assert ledger.steps == ["planned", "created", "left"]
    assert "stuck" in ledger.told[-1][3]
    place.estate.faults.replace([])
    dismiss(open_session, place.vm, TICKET, ledger)
    assert place.snapshots() == [] and ledger.steps[-1] == "removed"


def test_a_failed_removal_does_not_hide_the_first_error(
    place: World, open_session: Session, ledger: Memory
) -> None:
    _stuck(place)
    with pytest.raises(ZeroDivisionError) as failed, held(open_session, place.vm, TICKET, ledger):
        raise ZeroDivisionError
    assert "stuck" in "".join(failed.value.__notes__)
    assert ledger.steps == ["planned", "created", "left"]


def test_somebody_else_removed_it(place: World, open_session: Session, ledger: Memory) -> None:
    with held(open_session, place.vm, TICKET, ledger) as taken:
        place.estate.snapshots.remove(place.vm, taken.moref)
    assert ledger.steps[-1] == "removed"


def test_a_machine_that_does_not_exist(open_session: Session, ledger: Memory) -> None:
    with pytest.raises(NotFound, match="vm-99999"), held(open_session, "vm-99999", TICKET, ledger):
        pass
    assert ledger.told == []


def test_the_session_may_end_while_the_snapshot_is_held(ledger: Memory) -> None:
    with world(options=Options(session_timeout=0.6)) as place, Session(place.settings()) as session:
        with held(session, place.vm, TICKET, ledger):
            threading.Event().wait(1.5)
        assert session.generation > 1
        assert place.snapshots() == []


def _locked(times: int) -> Rule:
    return Rule(call="estate.consolidate", action="fault", fault="FileLocked", message="held", times=times)


@pytest.mark.parametrize("times", [1, 3])
def test_consolidation_is_done_when_the_removal_left_it_open(
    place: World, open_session: Session, ledger: Memory, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file was locked during the removal: the snapshot is gone from the tree, its delta is not."""
    monkeypatch.setattr(tasks, "VCENTER", Backoff(0.05, 60.0))
    with held(open_session, place.vm, TICKET, ledger):
        place.estate.faults.add(_locked(times))
    assert not place.estate.inventory.vm(place.vm).consolidation_needed
    assert place.snapshots() == []


@pytest.mark.usefixtures("hasty")
def test_invariant_4_a_consolidation_that_stays_open_is_told_and_done_next_time(
    place: World, open_session: Session, ledger: Memory
) -> None:
    with held(open_session, place.vm, TICKET, ledger) as taken:
        place.estate.faults.add(_locked(99))
    assert "locked" in taken.cost.left and ledger.steps[-1] == "left"
    assert place.snapshots() == [] and place.estate.inventory.vm(place.vm).consolidation_needed
    place.estate.faults.replace([])
    dismiss(open_session, place.vm, TICKET, ledger)
    assert not place.estate.inventory.vm(place.vm).consolidation_needed
    assert ledger.steps[-1] == "removed"


@pytest.mark.parametrize("fault", ["FileNotFound", "NotFound", "ManagedObjectNotFound"])
def test_a_consolidation_that_misses_a_file_is_no_machine_that_is_gone(
    place: World, open_session: Session, ledger: Memory, fault: str
) -> None:
    missing = Rule("estate.consolidate", "fault", fault=fault, message="no such file", times=None)
    with held(open_session, place.vm, TICKET, ledger) as taken:
        place.estate.faults.add(missing)
    assert "no such file" in taken.cost.left and ledger.steps[-1] == "left"
    with pytest.raises(ConnectorError, match="no such file"):
        dismiss(open_session, place.vm, TICKET, ledger)
    assert ledger.steps[-1] == "left"


@pytest.mark.parametrize("fault", ["FileNotFound", "NotFound", "ManagedObjectNotFound"])
def test_a_removal_that_misses_a_file_fails_at_once_when_the_snapshot_is_still_there(
    place: World, open_session: Session, ledger: Memory, fault: str
) -> None:
    """It is not watched for hours: in a cutover they would be downtime."""
    limits = SnapshotTimeouts(remove=20.0)
    with held(open_session, place.vm, TICKET, ledger, limits=limits) as taken:
        place.estate.faults.add(
            Rule("RemoveSnapshot_Task", "fault", fault=fault, message="no such file", times=None)
        )
    assert "no such file" in taken.cost.left
    assert place.snapshots() == ["connector-pass-1"] and ledger.steps[-1] == "left"


def test_a_machine_that_is_deleted_takes_its_snapshot_with_it(
    place: World, open_session: Session, ledger: Memory
) -> None:
    vm = place.vm
    with held(open_session, vm, TICKET, ledger):
        place.estate.power.off(vm)
        destroy_machine(place.server.center, vm)
    assert ledger.steps[-1] == "removed"


@pytest.mark.usefixtures("hasty")
def test_invariant_11_quiescing_is_off_unless_asked_for_and_falls_back_only_if_allowed(
    place: World, open_session: Session, ledger: Memory
) -> None:
    quiet = Rule(call="estate.freeze", action="fault", fault="ApplicationQuiesceFault", times=3)
    with VCenter(place.settings(), owner=TICKET.owner, ledger=ledger) as vcenter:
        for take in (
            lambda: held(open_session, place.vm, TICKET, ledger),
            lambda: vcenter.snapshot(place.vm, TICKET.pass_id),
        ):
            with take() as taken:
                assert not taken.quiesced
                assert not place.estate.inventory.vm(place.vm).snapshots[0].quiesced
    with held(open_session, place.vm, TICKET, ledger, quiesce=Quiesce.REQUIRE) as taken:
        assert taken.quiesced
        assert place.estate.inventory.vm(place.vm).snapshots[0].quiesced
    place.estate.faults.add(quiet)
    with (
        pytest.raises(VCenterFault, match="quiesce"),
        held(open_session, place.vm, TICKET, ledger, quiesce=Quiesce.REQUIRE),
    ):
        pass
    place.estate.faults.replace([quiet])
    with held(open_session, place.vm, TICKET, ledger, quiesce=Quiesce.TRY) as taken:
        assert not taken.quiesced


@pytest.mark.usefixtures("hasty")
def test_the_fallback_has_time_of_its_own_when_quiescing_hangs(
    place: World, open_session: Session, ledger: Memory
) -> None:
    place.estate.faults.add(
        Rule("estate.freeze", "fault", fault="ApplicationQuiesceFault", seconds=7.0),
        Rule("estate.freeze", "delay", seconds=2.0, skip=1),
    )
    limits = SnapshotTimeouts(create=6.0)
    with held(open_session, place.vm, TICKET, ledger, quiesce=Quiesce.TRY, limits=limits) as taken:
        assert not taken.quiesced
    assert place.snapshots() == []


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("refusal", ["no tools", "NotSupported", "SnapshotLocked"])
def test_a_guest_that_cannot_be_quiesced_gets_a_crash_consistent_snapshot_if_that_is_allowed(
    place: World, open_session: Session, ledger: Memory, refusal: str
) -> None:
    """What fails for another reason than the quiescing fails again without it."""
    if refusal == "no tools":
        guest = place.estate.inventory.vm(place.vm).guest
        place.estate.change_vm(place.vm, guest=replace(guest, tools=ToolsState.NOT_RUNNING))
    else:
        place.estate.faults.add(Rule("estate.freeze", "fault", fault=refusal, times=3))
    with (
        pytest.raises(ConnectorError) as refused,
        held(open_session, place.vm, TICKET, ledger, quiesce=Quiesce.REQUIRE),
    ):
        pass
    assert not isinstance(refused.value, VCenterFault) and "shut down (" not in refused.value.what
    place.estate.faults.replace(
        [Rule("estate.freeze", "fault", fault=refusal, times=3 if refusal == "SnapshotLocked" else 1)]
        if refusal != "no tools"
        else []
    )
    with held(open_session, place.vm, TICKET, ledger, quiesce=Quiesce.TRY) as taken:
        assert not taken.quiesced
    assert place.snapshots() == []


def test_a_deadline_ends_the_waiting_for_a_creation(ledger: Memory) -> None:
    with world(options=Options(task_seconds=1.2)) as place, Session(place.settings()) as session:
        with (
            pytest.raises(VCenterFault, match="within 0"),
            held(session, place.vm, TICKET, ledger, limits=SnapshotTimeouts(create=0.2)),
        ):
            pass
        assert place.snapshots() == []


def test_leftovers_of_this_owner_go_and_others_stay(
    place: World, open_session: Session, ledger: Memory
) -> None:
    create = place.estate.snapshots.create
    for owner, name in (("site-a", "p1"), ("site-a", "p2"), ("site-b", "p1")):
        create(place.vm, f"connector-{name}", f"connector:{owner}:{name}")
    create(place.other(), "x", "connector:site-a:p3")
    create(place.other(), "connector-p4", "not ours: connector:site-a:p4")
    gone = clear_leftovers(
        open_session, leftovers(open_session, "site-a"), ledger, keep={"connector:site-a:p2"}
    )
    assert {(one.machine, one.node.description) for one in gone} == {
        (place.vm, "connector:site-a:p1"),
        (place.other(), "connector:site-a:p3"),
    }
    assert place.snapshots() == ["connector-p2", "connector-p1"]
    assert place.snapshots(place.other()) == ["connector-p4"]
    assert ledger.steps == ["removed", "removed"]
    assert (
        clear_leftovers(open_session, leftovers(open_session, "site-a"), ledger, keep={"connector:site-a:p2"})
        == ()
    )


def test_one_stubborn_leftover_does_not_stop_the_others(
    place: World, open_session: Session, ledger: Memory
) -> None:
    first = place.estate.snapshots.create(place.vm, "x", "connector:site-a:p1")
    place.estate.snapshots.create(place.other(), "x", "connector:site-a:p2")
    place.estate.faults.add(
        Rule(call="RemoveSnapshot_Task", object=first, action="fault", fault="FileFault", times=None)
    )
    with pytest.raises(ConnectorError):
        clear_leftovers(open_session, leftovers(open_session, "site-a"), ledger)
    assert place.snapshots(place.other()) == []


CRASH = """
import sys, time
from connector.settings import VCenterSettings
from connector.vcenter.client import VCenter
from tests.vcenter.ledger import Memory
url, thumbprint, password, vm = sys.argv[1:]
settings = VCenterSettings(url=url, thumbprint=thumbprint, password=password)
with VCenter(settings, owner="site-a", ledger=Memory()) as vcenter, vcenter.snapshot(vm, "pass-1"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_after_kill_9_the_next_life_cleans_up(place: World, open_session: Session, ledger: Memory) -> None:
    settings = place.settings()
    command = [sys.executable, "-c", CRASH, settings.url, settings.thumbprint]
    command += [settings.password.get_secret_value(), place.vm]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        child.kill()
    assert place.snapshots() == ["connector-pass-1"]
    assert len(clear_leftovers(open_session, leftovers(open_session, "site-a", place.vm), ledger)) == 1
    assert place.snapshots() == []


@pytest.mark.parametrize("bad", ["", "a b", "a:b", "x" * 65, "-x", "é"])
def test_tickets_are_strict(bad: str) -> None:
    with pytest.raises(BadInput):
        Ticket("site", bad)


@pytest.mark.parametrize(
    "description",
    [
        "",
        "connector:a",
        "connector:a:b:c",
        "xconnector:a:b",
        "connector:a:b and more",
        "Connector:a:b",
        "connector::b",
    ],
)
def test_only_a_whole_token_makes_a_snapshot_ours(description: str) -> None:
    assert Ticket.of(description) is None


def test_a_token_is_read_back() -> None:
    assert Ticket.of(TICKET.token) == TICKET
    assert Ticket.of(f" {TICKET.token}\n") == TICKET


def test_vcsim_agrees(session: Session, ledger: Memory) -> None:
    machine = inventory.machines(session)[0]
    with held(session, machine.moref, TICKET, ledger) as taken:
        nodes = inventory.refresh(session, machine.moref).snapshots
        assert [node.moref for node in owned(nodes, "site-a")] == [taken.moref]
        assert taken.untracked == tuple(disk.key for disk in machine.disks)  # vcsim knows no change ids
    assert inventory.refresh(session, machine.moref).snapshots == ()


def test_a_snapshot_outlives_a_terminated_session_at_vcsim(witness: Witness, ledger: Memory) -> None:
    with Session(witness.settings()) as session:
        machine = inventory.machines(session)[1]
        with held(session, machine.moref, TICKET, ledger):
            session._stub.SetSessionId("forged")
        assert session.generation == 2
        assert inventory.refresh(session, machine.moref).snapshots == ()


def test_short_outages_are_waited_out(place: World, open_session: Session, ledger: Memory) -> None:
    place.estate.faults.add(Rule(call="WaitForUpdatesEx", action="cut", times=1))
    with held(open_session, place.vm, TICKET, ledger):
        pass
    assert place.snapshots() == []


@pytest.mark.parametrize("chunked", [True, False])
def test_a_connection_that_breaks_within_an_answer_is_an_outage(ledger: Memory, chunked: bool) -> None:
    with world(options=Options(chunked=chunked)) as place, Session(place.settings()) as session:
        for call in ("WaitForUpdatesEx", "RemoveSnapshot_Task", "CreateSnapshot_Task"):
            place.estate.faults.add(Rule(call=call, action="cut", bytes=120))
        with held(session, place.vm, TICKET, ledger):
            assert place.snapshots() == ["connector-pass-1"]
        assert place.snapshots() == [] and ledger.steps[-1] == "removed"


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("cut", [0, 120])
def test_a_fault_that_is_cut_off_does_not_make_another_server_of_vcenter(chunked: bool, cut: int) -> None:
    with world(options=Options(chunked=chunked)) as place:
        place.estate.faults.add(Rule(call="Login", action="cut", bytes=cut))
        with pytest.raises(Unreachable), Session(place.settings(password=SecretStr("wrong"))):
            pass


def test_an_answer_that_never_came_is_looked_up(place: World, open_session: Session, ledger: Memory) -> None:
    """The connection breaks under the create call: perhaps it worked. Not repeated, but looked up."""
    place.estate.faults.add(Rule(call="CreateSnapshot_Task", action="cut", times=1))
    with held(open_session, place.vm, TICKET, ledger):
        assert place.snapshots() == ["connector-pass-1"]
    assert place.snapshots() == []
    assert ledger.steps == ["planned", "created", "removed"]


def test_the_timing_of_the_estate_is_not_assumed(ledger: Memory) -> None:
    with (
        world(timing=Timing(0.3, 0.2, 0, 0.1), options=Options(task_seconds=0.3)) as place,
        Session(place.settings()) as session,
        held(session, place.vm, TICKET, ledger),
    ):
        assert place.snapshots()
