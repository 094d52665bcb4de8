"""The control plane's picture of a vCenter follows what happens there, without a sweep in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from connector.appliance.inventory import KnownTarget, Rescan
from connector.model import Finding, Machine, PowerState, TargetLimits
from connector.vcenter import watching
from connector.vcenter.client import VCenter
from simulator.vcenter.edits import destroy_machine
from tests.vcenter.imaginary import MIB, World, change_vm, world
from tests.vcenter.ledger import Memory
from tests.waiting import PATIENCE

EVER = 3600.0  # seconds


class Registry:
    """What the control plane was told, newest last."""

    def __init__(self) -> None:
        self.told: list[tuple[Machine, ...]] = []
        self.findings: Mapping[str, Sequence[Finding]] = {}
        self.vcenter_url = ""
        self._news = threading.Condition()

    def put_sources(
        self,
        machines: Sequence[Machine],
        findings: Mapping[str, Sequence[Finding]],
        vcenter_url: str,
    ) -> dict[str, str]:
        with self._news:
            self.told.append(tuple(machines))
            self.findings = findings
            self.vcenter_url = vcenter_url
            self._news.notify_all()
        return {}

    def close(self) -> None:
        """Nothing to close."""

    def sees(self, what: Callable[[tuple[Machine, ...]], bool], within: float = 10.0) -> bool:
        with self._news:
            return self._news.wait_for(lambda: bool(self.told) and what(self.told[-1]), within)


@contextmanager
def rescan(place: World, registry: Registry, every: float = EVER, *, watch: bool = True) -> Iterator[None]:
    stop = threading.Event()
    with VCenter(place.settings(), owner="rescan", ledger=Memory()) as vcenter:
        renewed = Rescan(vcenter, lambda: registry, every, stop, watch=watch)
        assert renewed.once() == 2
        assert registry.vcenter_url == place.settings().url
        with renewed:
            yield


@pytest.fixture
def place() -> Iterator[World]:
    with world() as made:
        yield made


def test_what_changes_is_passed_on_without_a_sweep(place: World) -> None:
    registry, vm = Registry(), place.vm
    with rescan(place, registry):
        change_vm(place.estate, vm, name="renamed")
        assert registry.sees(lambda seen: "renamed" in {one.name for one in seen})
        place.estate.hardware.add_disk(vm, 1000, 3, MIB)
        assert registry.sees(lambda seen: {len(one.disks) for one in seen} == {2, 3})
        place.estate.power.off(place.other())
        assert registry.sees(lambda seen: PowerState.OFF in {one.power for one in seen})
        place.estate.power.off(vm)
        destroy_machine(place.server.center, vm)
        assert registry.sees(lambda seen: [one.moref for one in seen] == [place.other()])


def test_a_session_that_was_ended_is_no_end(place: World) -> None:
    registry = Registry()
    with rescan(place, registry):
        assert registry.sees(lambda _: len(registry.told) > 1)
        for session in place.server.center.sessions.all():
            place.server.center.sessions.end(session)
        change_vm(place.estate, place.vm, name="after")
        assert registry.sees(lambda seen: "after" in {one.name for one in seen})


@pytest.mark.parametrize("watch", [True, False])
def test_what_is_not_watched_is_found_by_the_next_sweep(place: World, watch: bool) -> None:
    registry = Registry()
    with rescan(place, registry, 0.5, watch=watch):
        assert registry.sees(lambda _: len(registry.told) >= 4)


def test_the_end_does_not_wait_for_news(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "NOTICE", int(3 * PATIENCE))
    registry = Registry()
    with rescan(place, registry):
        assert registry.sees(lambda _: len(registry.told) > 1)
        time.sleep(1.5)  # beyond the quiet after a change: now it waits for vCenter, for very long
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE


def test_the_survey_goes_by_what_the_target_takes(place: World) -> None:
    registry, target = Registry(), KnownTarget(TargetLimits(most_disks=1))
    with VCenter(place.settings(), owner="rescan", ledger=Memory()) as vcenter:
        Rescan(vcenter, lambda: registry, EVER, threading.Event(), target=target).once()
    assert all("D16" in {one.check for one in found} for found in registry.findings.values())
