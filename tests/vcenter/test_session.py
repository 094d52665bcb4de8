"""Sessions: wrong passwords, keep-alive, renewal, threads, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from connector.errors import (
    AuthenticationFailed,
    BadInput,
    NotFound,
    NotPermitted,
    SessionExpired,
    Unreachable,
)
from connector.vcenter import inventory, properties
from connector.vcenter.calls import CALLS, Care
from connector.vcenter.client import VCenter
from connector.vcenter.session import Session
from connector.vcenter.vmomi import vim
from simulator.faults import Rule
from simulator.vcenter.center import Options
from tests.vcenter.imaginary import world
from tests.vcenter.ledger import Memory
from tests.vcenter.witness import PASSWORD, USER, Witness, vcsim
from tests.waiting import PATIENCE


def _kill(victim: Session, witness: Witness) -> None:
    """End the victim's session from another one, as an administrator would."""
    with Session(witness.settings()) as admin:
        manager = admin.content.sessionManager
        key = (
            properties.read(victim, victim.content.sessionManager, ("currentSession",), "s")
            .get("currentSession")
            .key
        )
        admin._stub._care = Free()
        manager.TerminateSession([key])
        admin._stub._care = admin


class Free:
    def attended(self, care: Care, send: object) -> object:
        return send()  # type: ignore[operator]


@pytest.fixture(autouse=True)
def _may_terminate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's table has no such call; the tests' administrator needs it."""
    monkeypatch.setitem(CALLS, "TerminateSession", Care.ACT)


def test_about_and_cookie(session: Session) -> None:
    assert session.about.api_version == "8.0.3.0"
    assert session.about.instance_uuid
    assert session.cookie


def test_a_user_is_sent_as_a_person_reads_it(witness: Witness) -> None:
    with Session(witness.settings(user=f"\ufeff {USER}\u200b\r\n")) as opened:
        assert opened.user == USER
    with pytest.raises(BadInput, match=r"character 3 of the user is U\+00A0"):
        Session(witness.settings(user="me\xa0too"))
    with pytest.raises(BadInput, match="the user is empty"):
        Session(witness.settings(user="\u200b"))


def test_a_wrong_password(witness: Witness) -> None:
    with (
        pytest.raises(AuthenticationFailed, match=USER),
        Session(witness.settings(password=SecretStr("wrong"))),
    ):
        pass


def test_the_newest_common_version_is_spoken(session: Session) -> None:
    assert session._stub.version == "vim.version.v8_0_3_0"


def test_an_old_vcenter_is_understood(tmp_path: Path, ledger: Memory) -> None:
    """Without a flag vcsim offers the API of vSphere 6.5."""
    with vcsim(tmp_path) as old, VCenter(old.settings(), owner="a", ledger=ledger) as vcenter:
        assert vcenter.about.api_version == "6.5"
        machine = vcenter.machines()[0]
        vcenter.ensure_tracking(machine.moref, "p1")
        with vcenter.snapshot(machine.moref, "p1") as taken:
            assert [disk.capacity for disk in taken.disks] == [disk.capacity for disk in machine.disks]


def test_a_terminated_session_is_renewed_within_the_call(session: Session, witness: Witness) -> None:
    before = session.cookie
    _kill(session, witness)
    assert inventory.machines(session)
    assert session.generation == 2
    assert session.cookie != before


def test_a_page_of_a_lost_session_starts_the_sweep_over(session: Session, witness: Witness) -> None:
    whole = properties.sweep(session, {vim.VirtualMachine: ("name",)})
    asked = session.attended
    calls: list[Care] = []

    def interrupting(care: Care, send: object) -> object:
        calls.append(care)
        if care is Care.BOUND and calls.count(Care.BOUND) == 1:
            _kill(session, witness)
        return asked(care, send)  # type: ignore[arg-type]

    session._stub._care = type("Interrupting", (), {"attended": staticmethod(interrupting)})()
    assert properties.sweep(session, {vim.VirtualMachine: ("name",)}, page=2) == whole
    assert session.generation == 2


def test_paging_does_not_change_the_answer(session: Session) -> None:
    paths = {vim.VirtualMachine: inventory.IDENTITY}
    whole = properties.sweep(session, paths)
    assert len(whole) > 3
    for page in (1, 2, len(whole), 100):
        pieces = properties.sweep(session, paths, page=page)
        assert [row.moref for row in pieces] == [row.moref for row in whole]


def test_many_threads_renew_once(session: Session, witness: Witness) -> None:
    _kill(session, witness)
    start = threading.Barrier(8)

    def ask(_: int) -> int:
        start.wait()
        return len(properties.sweep(session, {vim.VirtualMachine: ("name",)}))

    with ThreadPoolExecutor(8) as pool:
        counts = set(pool.map(ask, range(8)))
    assert len(counts) == 1
    assert session.generation == 2


def test_a_refused_renewal_is_not_tried_again(witness: Witness) -> None:
    with Session(witness.settings()) as session:
        _kill(session, witness)
        session._password = SecretStr("changed meanwhile")
        with pytest.raises(AuthenticationFailed):
            inventory.machines(session)
        session._password = SecretStr(PASSWORD)  # even the right one: accounts lock
        with pytest.raises(AuthenticationFailed):
            inventory.machines(session)


def test_keep_alive_speaks_when_idle_and_leaves_no_thread(witness: Witness) -> None:
    spoken, before = threading.Event(), set(threading.enumerate())
    with Session(witness.settings(), keep_alive=0.1) as session:
        asked = session.attended

        def listening(care: Care, send: object) -> object:
            spoken.set()
            return asked(care, send)  # type: ignore[arg-type]

        session._stub._care = type("Listening", (), {"attended": staticmethod(listening)})()
        assert spoken.wait(PATIENCE)
    assert set(threading.enumerate()) <= before


def test_logout_ends_the_session_at_the_server(witness: Witness) -> None:
    with Session(witness.settings()) as observer:
        with Session(witness.settings()) as session:
            key = (
                properties.read(session, session.content.sessionManager, ("currentSession",), "s")
                .get("currentSession")
                .key
            )
            assert key in _sessions(observer)
        assert key not in _sessions(observer)


def _sessions(observer: Session) -> set[str]:
    row = properties.read(observer, observer.content.sessionManager, ("sessionList",), "sessions")
    return {entry.key for entry in row.get("sessionList")}


def test_leaving_does_not_hide_what_went_wrong_inside(witness: Witness) -> None:
    with pytest.raises(ZeroDivisionError), Session(witness.settings()):
        raise ZeroDivisionError


def test_after_the_end_nothing_logs_in_again(witness: Witness) -> None:
    with Session(witness.settings()) as session:
        pass
    with pytest.raises(SessionExpired):
        inventory.machines(session)
    assert session.generation == 1


def test_a_gone_object_is_not_found(session: Session) -> None:
    with pytest.raises(NotFound, match="vm-does-not-exist"):
        inventory.refresh(session, "vm-does-not-exist")


def test_connections_are_reused(witness: Witness) -> None:
    seen: list[bytes] = []
    with Session(witness.settings()) as session:
        session._stub._seen = seen.append
        session._stub.DropConnections()
        for _ in range(5):
            inventory.machines(session)
    assert len(seen) == 1


def test_a_server_that_hung_up_on_resting_connections_is_not_noticed(ledger: Memory) -> None:
    """Even a call that is never repeated gets a connection that lives."""
    with world() as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        for _ in range(3):
            vcenter.shut_down(place.vm, within=PATIENCE)
            place.server.listener.hang_up()
            vcenter.power_on(place.vm)
            place.server.listener.hang_up()


def test_an_idle_session_that_expired_is_renewed(ledger: Memory) -> None:
    with (
        world(options=Options(session_timeout=0.3)) as place,
        VCenter(place.settings(), owner="a", ledger=ledger) as vcenter,
    ):
        before = vcenter.machines()
        threading.Event().wait(1.2)
        assert vcenter.machines() == before


def test_keep_alive_keeps_a_session_from_expiring(ledger: Memory) -> None:
    with (
        world(options=Options(session_timeout=0.8)) as place,
        Session(place.settings(), keep_alive=0.2) as session,
    ):
        threading.Event().wait(2.0)
        inventory.machines(session)
        assert session.generation == 1


def test_a_missing_privilege_is_named(ledger: Memory) -> None:
    privilege = "VirtualMachine.State.CreateSnapshot"
    with world() as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        place.server.center.authority.deny(privilege)
        with pytest.raises(NotPermitted, match=privilege), vcenter.snapshot(place.vm, "p1"):
            pass


def test_out_of_sight_is_not_gone(ledger: Memory) -> None:
    """Losing the right to read a machine must not make its snapshot look removed."""
    with world() as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        with vcenter.snapshot(place.vm, "p1") as taken:
            place.server.center.authority.deny("System.Read", place.vm)
        assert "privilege" in taken.cost.left
        assert place.snapshots() == ["connector-p1"]
        assert "removed" not in ledger.steps
        place.server.center.authority.allow("System.Read", place.vm)
        assert len(vcenter.clear_leftovers()) == 1
        assert place.snapshots() == []


def test_a_worker_never_gets_a_dead_cookie(ledger: Memory) -> None:
    with (
        world(options=Options(session_timeout=0.3)) as place,
        VCenter(place.settings(), owner="a", ledger=ledger) as vcenter,
    ):
        disk = vcenter.find(place.vm).disks[0]
        first = vcenter.disk_access(place.vm, None, disk).secret
        threading.Event().wait(1.2)
        second = vcenter.disk_access(place.vm, None, disk).secret
        assert first and second and first != second


def test_many_machines_at_once_on_one_session(ledger: Memory) -> None:
    with world(machines=6) as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:

        def work(vm: str) -> int:
            vcenter.ensure_tracking(vm, "p0")
            with vcenter.snapshot(vm, "p1") as base:
                pass
            place.estate.power.write(vm, 2000, 1 << 20, b"x" * 512)
            with vcenter.snapshot(vm, "p2") as taken:
                return len(vcenter.changed(vm, taken, taken.disks[0], base.disks[0]))

        machines = list(place.estate.inventory.vms)
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, machines)) == [1] * 6
        assert all(place.snapshots(vm) == [] for vm in machines)


#: What a pass asks before it has a snapshot; the first one also between a cutover's shutdown and its snapshot.
QUESTIONS: dict[str, Callable[[VCenter, str], object]] = {
    "leftovers": lambda vcenter, vm: vcenter.clear_leftovers(machine=vm),
    "pressure": lambda vcenter, vm: vcenter.pressure(vm, None),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_a_pass_asks_before_its_snapshot_outlasts_an_outage(question: str, ledger: Memory) -> None:
    """A restart of vCenter; whoever is no pass gets the error."""
    with world() as place, VCenter(place.settings(), owner="a", ledger=ledger) as vcenter:
        cut = Rule(call="RetrievePropertiesEx", action="cut", times=8)
        place.estate.faults.add(cut)
        with pytest.raises(Unreachable):
            QUESTIONS[question](vcenter, place.vm)
        place.estate.faults.replace([cut])
        QUESTIONS[question](vcenter.during(threading.Event()), place.vm)
