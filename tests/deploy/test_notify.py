"""What a service manager hears of our services: when they are ready, while they turn, when they end; and not while they hang."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn

from connector import child
from connector.appliance.__main__ import admitted, identified
from connector.appliance.agent import Agent
from connector.appliance.identity import ApplianceIdentity
from connector.appliance.inventory import KnownTarget
from connector.clients.agents import ControlClient
from connector.clients.heartbeat import HeartbeatAnswer
from connector.control.http import connections
from connector.control.http.connections import ConnectionLimits, Listener
from connector.errors import ControlFailed
from connector.managed_server import ManagedServer
from connector.service_manager import ServiceManager
from connector.transfer.certificates import Authority, CertificateRole
from tests.appliance.test_agent import Plane, order
from tests.manager import Hearing, hearing
from tests.waiting import eventually


class Hasty:
    """A clock of which each look is an hour later: every turn is due."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 1
        return self._now


@pytest.fixture
def heard() -> Iterator[Hearing]:
    with hearing() as found:
        yield found


def manager(heard: Hearing) -> ServiceManager:
    return ServiceManager(heard.address, watchdog=1.0, clock=Hasty())


@contextmanager
def service(
    heard: Hearing, module: str, arguments: list[str], configuration: Mapping[str, object] | None = None
) -> Iterator[child.Child]:
    """A service that a manager with a watchdog has started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTIFY_SOCKET", heard.address)
        patch.setenv("WATCHDOG_USEC", "200000")
        started = child.start(module, arguments, name=module, configuration=configuration)
    with started:
        yield started


def lives_and_ends(heard: Hearing, started: child.Child) -> None:
    """It says that it is ready, then that it lives, and at SIGTERM that it ends."""
    assert "READY=1" in heard.until("READY=1")[-1]
    heard.until("WATCHDOG=1")
    os.kill(started.pid, signal.SIGTERM)
    heard.until("STOPPING=1")
    eventually(lambda: started.exit_code() is not None, "the service ends")


def test_a_control_plane(heard: Hearing, tmp_path: Path) -> None:
    words = ["--state", str(tmp_path / "state"), "--images", str(tmp_path / "images")]
    with service(heard, "connector.control", words) as started:
        lives_and_ends(heard, started)


def test_an_instance(heard: Hearing, tmp_path: Path) -> None:
    words = ["--directory", str(tmp_path / "disks"), "--control-port", "0", "--block-port", "0"]
    credential = asdict(Authority.create("job").issue(CertificateRole.INSTANCE))
    with service(heard, "connector.instance", [*words, "--credential-stdin"], credential) as started:
        lives_and_ends(heard, started)


def test_a_server_whose_loop_hangs_says_nothing(heard: Hearing) -> None:
    """Its other threads go on; only the loop itself says that it lives."""
    hangs, free = threading.Event(), threading.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        hangs.set()
        free.wait()  # not awaited: the loop stands still
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listener = Listener(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    protocol = connections.protocol(listener, ConnectionLimits())
    config = uvicorn.Config(application, http=protocol, lifespan="off", log_config=None)
    server = ManagedServer(config, manager(heard))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    serving.start()
    heard.until("WATCHDOG=1")
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while not hangs.wait(0.05):
            heard.rest()
        heard.rest()
        assert not free.wait(1.0)
        assert heard.rest() == []
        free.set()
        heard.until("WATCHDOG=1")
    server.should_exit = True
    while serving.is_alive():
        heard.rest()
        serving.join(0.05)


@dataclass
class Stuck(Plane):
    """A control plane whose answer to one question for orders does not come."""

    asked: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)

    def take(self, wait: float, power_tasks: bool = False) -> dict[str, Any] | None:
        if power_tasks:
            self.answer.wait(0.02)
            return None
        self.asked.set()
        self.answer.wait()
        return None


def test_an_agent_whose_loop_hangs_says_nothing(heard: Hearing) -> None:
    plane, stop = Stuck(), threading.Event()
    agent = Agent(lambda: plane, lambda *_: {}, 1, stop, heartbeat=0.02, manager=manager(heard))
    running = threading.Thread(target=agent.run)
    running.start()
    assert plane.asked.wait()
    before = len(plane.held)
    eventually(lambda: len(plane.held) > before + 5, "the heartbeat goes on")
    assert heard.rest() == []
    plane.answer.set()
    heard.until("WATCHDOG=1")
    stop.set()
    while running.is_alive():
        heard.rest()
        running.join(0.05)


def test_an_agent_lives_while_its_passes_end(heard: Hearing) -> None:
    plane, stop, ends = Plane([order(1)]), threading.Event(), threading.Event()
    begun = threading.Event()

    def carry(*_: object) -> dict[str, Any]:
        begun.set()
        ends.wait()
        return {}

    agent = Agent(lambda: plane, carry, 1, stop, heartbeat=0.02, manager=manager(heard))
    running = threading.Thread(target=agent.run)
    running.start()
    while not begun.wait(0.05):
        heard.rest()
    stop.set()
    for _ in range(3):
        heard.until("WATCHDOG=1")
    ends.set()
    while running.is_alive():
        heard.rest()
        running.join(0.05)
    assert [outcome for _, outcome, _ in plane.ends] == ["done"]


class Approving:
    """A control plane that first does not answer, then asks the appliance to wait, then approves it."""

    def __init__(self) -> None:
        self.answers: list[HeartbeatAnswer | ControlFailed] = [
            ControlFailed("does not answer", on="https://control"),
            HeartbeatAnswer((), {}, waiting=True),
            HeartbeatAnswer((), {}),
        ]

    def heartbeat(self, _: object) -> HeartbeatAnswer:
        answer = self.answers.pop(0)
        if isinstance(answer, ControlFailed):
            raise answer
        return answer

    def close(self) -> None:
        return None


def test_a_service_waits_for_a_silent_control_plane_and_a_person_does_not(heard: Hearing) -> None:
    silent = [ControlFailed("does not answer", on="https://control")] * 2
    identity = cast(ApplianceIdentity, object())

    def make() -> ApplianceIdentity:
        if silent:
            raise silent.pop()
        return identity

    with pytest.raises(ControlFailed):
        identified(make, threading.Event(), ServiceManager())
    assert identified(make, threading.Event(), manager(heard), pause=0.0) is identity
    said = {"READY=1", "STATUS=waits for the control plane: https://control: does not answer", "WATCHDOG=1"}
    assert heard.rest() == [said]


def test_a_service_that_waits_can_be_stopped(heard: Hearing) -> None:
    stop = threading.Event()

    def make() -> ApplianceIdentity:
        stop.set()
        raise ControlFailed("does not answer")

    assert identified(make, stop, manager(heard)) is None


def test_an_appliance_says_why_it_waits(heard: Hearing) -> None:
    """Whoever starts the service does not wait for the administrator; and what it waits for is in its status."""
    plane = Approving()
    connect = lambda: cast(ControlClient, plane)  # noqa: E731 - one line says it
    admitted(connect, threading.Event(), KnownTarget(), manager(heard), pause=0.0)
    assert plane.answers == []
    silent, waits = heard.rest()
    assert silent == {
        "READY=1",
        "STATUS=waits for the control plane: https://control: does not answer",
        "WATCHDOG=1",
    }
    assert waits == {
        "READY=1",
        "STATUS=waits for approval: an administrator runs connector appliance approve",
        "WATCHDOG=1",
    }
