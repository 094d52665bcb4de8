"""What a service manager hears, over a real datagram socket, and that it hears nothing while a loop hangs."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator

import pytest

from connector.service_manager import ServiceManager
from tests.manager import Hearing, hearing


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def heard() -> Iterator[Hearing]:
    with hearing() as found:
        yield found


def test_ready_says_what_the_service_does(heard: Hearing) -> None:
    ServiceManager(heard.address).ready("serves\nmachines")
    assert heard.next() == {"READY=1", "STATUS=serves machines"}


def test_an_abstract_socket_is_reached() -> None:
    with hearing(f"connector-{uuid.uuid4()}") as heard:
        ServiceManager(heard.address).stopping()
        assert "STOPPING=1" in heard.next()


def test_a_turn_is_told_as_often_as_a_quarter_of_the_watchdogs_time(heard: Hearing) -> None:
    clock = Clock()
    manager = ServiceManager(heard.address, watchdog=40.0, clock=clock)
    for _ in range(80):  # a turn each second
        manager.alive()
        clock.now += 1
    assert heard.rest() == [{"WATCHDOG=1"}] * 8


def test_without_a_watchdog_no_turn_is_told(heard: Hearing) -> None:
    ServiceManager(heard.address).alive()
    assert heard.rest() == []


def test_a_loop_that_hangs_silences_the_main_loop(heard: Hearing, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    manager = ServiceManager(heard.address, watchdog=4.0, clock=clock)
    turned = manager.loop("the runner", 60.0)
    told = 0
    for _ in range(30):
        clock.now += 4
        manager.alive()
        told += len(heard.rest())
    assert told == 15
    assert [record.message for record in caplog.records] == [
        "the runner hangs: the service manager will start this service again"
    ]
    turned()
    manager.alive()
    assert heard.rest() == [{"WATCHDOG=1"}]


def test_one_long_step_gets_its_time(heard: Hearing) -> None:
    manager = ServiceManager(heard.address, watchdog=4.0)
    with manager.longer(3600):
        assert heard.next() == {"WATCHDOG_USEC=3600000000"}
    assert heard.next() == {"WATCHDOG_USEC=4000000", "WATCHDOG=1"}


def test_a_service_that_ends_is_not_ready_again(heard: Hearing) -> None:
    manager = ServiceManager(heard.address)
    manager.stopping()
    manager.ready("serves")
    assert heard.rest() == [{"STOPPING=1", "STATUS=ends"}]


def test_children_inherit_no_manager(heard: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", heard.address)
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    manager = ServiceManager.found()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
    manager.alive()
    assert heard.next() == {"WATCHDOG=1"}


def test_the_watchdog_of_another_process_is_not_ours(heard: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", heard.address)
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    ServiceManager.found().alive()
    assert heard.rest() == []


def test_without_a_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    manager = ServiceManager.found()
    manager.ready("serves")
    manager.alive()
    manager.stopping()


def test_a_manager_that_is_gone_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with hearing() as gone:
        manager = ServiceManager(gone.address)
    caplog.set_level(logging.WARNING)
    manager.ready("serves")
    manager.stopping()
    assert [record.message for record in caplog.records] == [
        "the service manager does not hear us: No such file or directory"
    ]
