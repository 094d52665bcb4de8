"""The loop against a control plane in this process: what is taken is reported exactly once, whatever happens meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from connector.appliance.agent import Agent
from connector.appliance.passes.order import Order, PassControl
from connector.appliance.progress import PassProgress, SnapshotFigures
from connector.clients.heartbeat import HeartbeatAnswer
from connector.errors import (
    AuthenticationFailed,
    BadInput,
    Conflict,
    ConnectorError,
    ControlFailed,
    Interrupted,
)
from connector.log_context import current
from connector.model import Credential, InstanceAddress, Replication
from tests.waiting import eventually

PATIENCE = 10.0


def order(number: int) -> dict[str, Any]:
    return {
        "pass_id": f"p-{number}",
        "job_id": "j",
        "moref": f"vm-{number}",
        "instance_uuid": "",
        "name": f"web-{number}",
        "final": False,
        "instance": asdict(InstanceAddress("127.0.0.1", 1, 2)),
        "credential": asdict(Credential("a", "b", "c")),
        "objects": [],
    }


@dataclass
class Plane:
    """Hands out `orders`, remembers what it hears; `deaf` ends of passes are answered with that error first."""

    orders: list[dict[str, Any]] = field(default_factory=list)
    power_tasks: list[dict[str, Any]] = field(default_factory=list)
    deaf: list[ConnectorError] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    replication_of: dict[str, Replication] = field(default_factory=dict)
    refusal: ConnectorError | None = None
    ends: list[tuple[str, str, ConnectorError | None]] = field(default_factory=list)
    held: list[set[str]] = field(default_factory=list)
    heard: threading.Condition = field(default_factory=threading.Condition)
    reports: list[float | None] = field(default_factory=list)

    def heartbeat(self, passes: Sequence[str]) -> HeartbeatAnswer:
        with self.heard:
            self.held.append(set(passes))
            self.heard.notify_all()
            return HeartbeatAnswer(tuple(self.unwanted), dict(self.replication_of))

    def take(self, wait: float, power_tasks: bool = False) -> dict[str, Any] | None:
        with self.heard:
            if self.refusal:
                raise self.refusal
            if power_tasks and self.power_tasks:
                return self.power_tasks.pop(0)
            if self.orders and not power_tasks:
                return self.orders.pop(0)
            self.heard.wait(0.02)
        return None

    def progress(
        self, pass_id: str, phase: str, disks: Sequence[Mapping[str, Any]], free: float | None = None
    ) -> None:
        return None

    def finish(
        self,
        pass_id: str,
        outcome: str,
        error: ConnectorError | None,
        result: Mapping[str, Any],
        rest: float = 0.0,
    ) -> None:
        with self.heard:
            if self.deaf:
                raise self.deaf.pop(0)
            self.ends.append((pass_id, outcome, error))
            self.heard.notify_all()

    def close(self) -> None:
        return None

    def until(self, look: Callable[[], bool]) -> None:
        with self.heard:
            assert self.heard.wait_for(look, PATIENCE)


Carry = Callable[[Order, PassProgress, PassControl], Mapping[str, Any]]


@contextmanager
def agent(plane: Plane, carry: Carry, limit: int = 2) -> Iterator[threading.Event]:
    """An agent that runs; leaving the block stops it and waits."""
    stop = threading.Event()
    running = threading.Thread(target=Agent(lambda: plane, carry, limit, stop, heartbeat=0.02).run)
    running.start()
    try:
        yield stop
    finally:
        stop.set()
        running.join(PATIENCE)
        assert not running.is_alive()


def test_what_is_carried_out_is_reported_once() -> None:
    plane = Plane([order(1), order(2), order(3)])
    with agent(plane, lambda *_: {"disks": []}):
        plane.until(lambda: len(plane.ends) == 3)
    assert sorted(plane.ends) == [(f"p-{n}", "done", None) for n in (1, 2, 3)]


def test_the_log_says_when_a_pass_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "connector.appliance.agent")
    plane = Plane([order(1)], [order(2) | {"task": "power-on"}])
    with agent(plane, lambda *_: {"disks": []}):
        plane.until(lambda: len(plane.ends) == 2)
    lines = sorted(record.getMessage() for record in caplog.records)
    assert lines == [
        "web-1: pass begins",
        "web-1: pass is done",
        "web-2: rollback begins",
        "web-2: rollback is done",
    ]


def test_no_more_than_the_limit_at_once() -> None:
    plane, gate, most = Plane([order(n) for n in range(6)]), threading.Semaphore(2), []

    def carry(*_: Any) -> dict[str, Any]:
        most.append(gate.acquire(blocking=False))
        threading.Event().wait(0.05)
        gate.release()
        return {}

    with agent(plane, carry, limit=2):
        plane.until(lambda: len(plane.ends) == 6)
    assert all(most)


@pytest.mark.parametrize("failed", [Conflict("no"), ControlFailed("lost"), ValueError("bug")], ids=repr)
def test_every_failure_is_an_outcome(failed: Exception) -> None:
    def carry(*_: Any) -> dict[str, Any]:
        raise failed

    plane = Plane([order(1), order(2)])
    with agent(plane, carry):
        plane.until(lambda: len(plane.ends) == 2)
    for _, outcome, error in plane.ends:
        assert outcome == "failed"
        assert isinstance(error, ConnectorError)
        assert "\n" not in str(error)


class EarlierPlane(Plane):
    """One that knows no `free`, or, if it is `new`, takes it."""

    new = False

    def progress(
        self, pass_id: str, phase: str, disks: Sequence[Mapping[str, Any]], free: float | None = None
    ) -> None:
        with self.heard:
            self.reports.append(free)
            self.heard.notify_all()
        if free is not None and not self.new:
            raise BadInput("free: Extra inputs are not permitted")


@pytest.mark.parametrize("new", [True, False])
def test_free_space_is_reported_to_a_control_plane_that_knows_it(
    new: bool, caplog: pytest.LogCaptureFixture
) -> None:
    plane = EarlierPlane([order(1)])
    plane.new = new

    def carry(_order: Order, board: PassProgress, _control: PassControl) -> dict[str, Any]:
        board.snapshot = SnapshotFigures(0.0, 1, 0.07)
        plane.until(lambda: len(plane.reports) >= 2)
        return {}

    with agent(plane, carry):
        plane.until(lambda: len(plane.ends) == 1)
    known = [free for free in plane.reports if free is not None]
    assert known == [0.07] * (len(plane.reports) if new else 1)
    assert "Extra inputs" not in caplog.text


def wait_for_stop(_order: Order, _board: PassProgress, pass_control: PassControl) -> dict[str, Any]:
    assert pass_control.stop.wait(PATIENCE)
    raise Interrupted("stopped")


def test_what_a_heartbeat_wishes_reaches_the_pass_that_is_under_way() -> None:
    plane = Plane([order(1) | {"replication": {"bandwidth_limit": 8}}, order(2)])
    plane.replication_of = {"p-1": Replication(4, 0, True), "p-99": Replication(1)}
    seen: dict[str, list[Replication]] = {}

    def carry(order: Order, _board: PassProgress, pass_control: PassControl) -> dict[str, Any]:
        seen[order.pass_id] = [pass_control.replication]
        with plane.heard:
            beats = len(plane.held)
            assert plane.heard.wait_for(lambda: len(plane.held) > beats + 1, PATIENCE)
        seen[order.pass_id].append(pass_control.replication)
        return {}

    with agent(plane, carry):
        plane.until(lambda: len(plane.ends) == 2)
    assert seen["p-1"][-1] == Replication(4, 0, True)
    assert seen["p-2"] == [Replication(), Replication()]


def test_a_pass_that_is_not_wanted_any_more_is_stopped_alone() -> None:
    plane = Plane([order(1), order(2)])
    with agent(plane, wait_for_stop):
        plane.until(lambda: bool(plane.held) and plane.held[-1] == {"p-1", "p-2"})
        plane.unwanted = ["p-1", "p-99"]
        plane.until(lambda: bool(plane.ends))
        assert plane.ends == [("p-1", "stopped", None)]
    assert sorted(plane.ends) == [("p-1", "stopped", None), ("p-2", "stopped", None)]


def test_an_agent_that_is_stopped_puts_down_what_it_carries_and_says_so() -> None:
    plane = Plane([order(1)])
    with agent(plane, wait_for_stop) as stop:
        plane.until(lambda: bool(plane.held) and plane.held[-1] == {"p-1"})
        stop.set()
    assert plane.ends == [("p-1", "stopped", None)]


def test_the_end_of_a_pass_is_told_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.appliance.agent.BACK_OFF", 0.01)
    plane = Plane([order(1)], deaf=[ControlFailed("away")] * 5)
    with agent(plane, lambda *_: {}):
        plane.until(lambda: bool(plane.ends))
    assert plane.ends == [("p-1", "done", None)]


def test_an_end_that_is_refused_is_not_repeated_and_the_next_order_is_taken() -> None:
    plane = Plane([order(1), order(2)], deaf=[Conflict("not yours")])
    with agent(plane, lambda *_: {}, limit=1):
        plane.until(lambda: bool(plane.ends))
    assert plane.ends == [("p-2", "done", None)]


def test_an_appliance_that_is_no_longer_known_ends() -> None:
    plane = Plane(refusal=AuthenticationFailed("unknown appliance"))
    with pytest.raises(AuthenticationFailed):
        Agent(lambda: plane, lambda *_: {}, 1, threading.Event(), heartbeat=0.02).run()


def test_an_order_that_cannot_be_read_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.appliance.agent.BACK_OFF", 0.01)
    plane = Plane([{"pass_id": "p-0"}, order(1)])
    with agent(plane, lambda *_: {}, limit=1):
        plane.until(lambda: bool(plane.ends))
    assert plane.ends == [("p-1", "done", None)]


class _Patient(Plane):
    """Holds a call for as long as it may, as a control plane without orders does."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0

    def take(self, wait: float, power_tasks: bool = False) -> dict[str, Any] | None:
        self.longest = max(self.longest, wait)
        threading.Event().wait(wait)
        return None


def test_a_stop_does_not_wait_long_for_an_order_that_does_not_come() -> None:
    """It waits for the call that is held, and no call may be held for long."""
    patient = _Patient()
    with agent(patient, lambda *_: {}):
        eventually(lambda: patient.longest, "an order is waited for")
    assert patient.longest <= 2.0


def test_whoever_wants_to_hears_every_answer() -> None:
    plane, stop, heard = Plane(), threading.Event(), []

    def hear(answer: HeartbeatAnswer) -> None:
        heard.append(answer)
        stop.set()

    plane.unwanted = ["p-1"]
    Agent(lambda: plane, lambda *_: {}, 1, stop, heartbeat=0.02, hear=hear).run()
    assert heard[0] == HeartbeatAnswer(("p-1",))


def test_messages_during_a_pass_know_job_machine_and_pass() -> None:
    plane, known = Plane([order(1), order(2)]), {}

    def carry(given: Order, board: PassProgress, asked: PassControl) -> Mapping[str, Any]:
        known[given.pass_id] = dict(current())
        return {}

    with agent(plane, carry):
        plane.until(lambda: len(plane.ends) == 2)
    assert known == {f"p-{n}": {"job": "j", "machine": f"vm-{n}", "pass": f"p-{n}"} for n in (1, 2)}
