"""An inventory that is kept current by notices, at a vCenter that others wrote and at ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from connector.model import PowerState
from connector.vcenter import inventory, power
from connector.vcenter.client import VCenter
from connector.vcenter.session import Session
from connector.vcenter.watching import InventoryChange, InventoryWatch
from tests.vcenter.imaginary import World, change_vm, world
from tests.vcenter.ledger import Memory
from tests.vcenter.witness import Witness
from tests.waiting import PATIENCE

Next = Callable[[], InventoryChange]


@contextmanager
def watching(settings: Any) -> Iterator[tuple[Session, Next]]:
    """A watch whose notices wait a second at most; leaving ends it."""
    stop = threading.Event()
    with ExitStack() as unwind:
        session = unwind.enter_context(Session(settings))
        told = InventoryWatch(session, stop).changes(notice=1)
        unwind.callback(told.close)  # type: ignore[attr-defined]
        unwind.callback(stop.set)
        yield session, lambda: next(told)


@pytest.fixture
def place() -> Iterator[World]:
    with world(machines=3) as made:
        yield made


def test_what_happens_in_the_simulator_is_told(place: World) -> None:
    with watching(place.settings()) as (session, following):
        first = following()
        assert first.inventory == inventory.whole(session)
        assert first.changed == ("vm-101", "vm-102", "vm-103")
        place.estate.power.off("vm-102")
        second = _until(following, "vm-102")
        assert {one.moref: one.power for one in second.inventory.machines}["vm-102"] is PowerState.OFF
        place.estate.snapshots.create("vm-101", "one", "")
        third = _until(following, "vm-101")
        assert [len(one.snapshots) for one in third.inventory.machines] == [1, 0, 0]
        change_vm(place.estate, "vm-103", name="renamed")
        assert "renamed" in {one.name for one in _until(following, "vm-103").inventory.machines}
        assert third.inventory.hosts == first.inventory.hosts


def _until(following: Next, moref: str) -> InventoryChange:
    """The change that tells of this machine; one act may be told in several."""
    while moref not in (change := following()).changed:
        pass
    return change


def test_a_lost_session_starts_over_and_misses_nothing(place: World) -> None:
    with watching(place.settings()) as (session, following):
        following()
        session.content.sessionManager.Logout()
        change_vm(place.estate, "vm-103", name="renamed meanwhile")
        again = following()
        assert "renamed meanwhile" in {one.name for one in again.inventory.machines}
        assert session.generation == 2


def test_a_machine_that_leaves_is_told(place: World) -> None:
    with watching(place.settings()) as (_, following):
        following()
        place.estate.change(_without("vm-102"))
        change = following()
        while not change.removed:
            change = following()
        assert change.removed == ("vm-102",)
        assert [one.moref for one in change.inventory.machines] == ["vm-101", "vm-103"]


def _without(moref: str) -> Callable[[Any], Any]:
    from dataclasses import replace

    return lambda old: replace(old, vms={key: vm for key, vm in old.vms.items() if key != moref})


def test_vcsim_tells_too(witness: Witness) -> None:
    with watching(witness.settings()) as (_, following):
        first = following()
        one = first.inventory.machines[0]
        with VCenter(witness.settings(), owner="watch", ledger=Memory()) as other:
            power_on = one.power is PowerState.ON
            if power_on:
                power.shut_down(other._session, one.moref, within=PATIENCE, force=True)
            else:
                other.power_on(one.moref)
            changed = _until(following, one.moref)
            now = next(each for each in changed.inventory.machines if each.moref == one.moref)
            assert now.power is not one.power
            if power_on:
                other.power_on(one.moref)


def test_the_watch_ends_when_it_is_told_to(place: World) -> None:
    stop = threading.Event()
    with Session(place.settings()) as session:
        told = InventoryWatch(session, stop).changes(notice=1)
        assert next(told).changed
        stop.set()
        assert list(told) == []
