"""Orders to remove what jobs left behind: carried out on the right machine only, and reported when it is gone."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from connector.appliance.cleanup.ledger import ControlLedger
from connector.appliance.cleanup.leftovers import Cleaner
from connector.appliance.cleanup.machine_lock import MachineLocks
from connector.cancellation import Cancellation
from connector.errors import ConnectorError, Interrupted, NotFound, VCenterFault
from connector.model import Machine
from tests.control.conftest import machine
from tests.waiting import PATIENCE


class Plane:
    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens)
        self.troubles: dict[str, str] = {}

    def leftovers(self) -> list[dict[str, Any]]:
        where = {"machine": "vm-1", "instance_uuid": "uuid-vm-1", "pass_id": "p-1"}
        return [{"token": token} | where for token in self.left]

    def removed(self, token: str) -> None:
        self.left.remove(token)

    def resists(self, token: str, trouble: str) -> None:
        self.troubles[token] = trouble

    def record(self, *_: object, removed: bool = False, trouble: str = "") -> None:
        raise NotFound("the pass is over")

    def shutting_down(self, pass_id: str) -> None:
        raise AssertionError(pass_id)

    def close(self) -> None:
        pass


class VCenter:
    """One machine, or none, or one that cannot be cleaned now."""

    def __init__(self, there: Machine | None, fails: type[ConnectorError] | None = None) -> None:
        self.there, self.fails = there, fails
        self.cleared: list[tuple[str, str]] = []
        self.ledger: ControlLedger | None = None

    def find(self, wanted: str) -> Machine:
        if self.there is None:
            raise NotFound("no such machine", on=wanted)
        return self.there

    def dismiss(self, machine: str, token: str) -> None:
        assert self.ledger is not None
        if self.fails:
            self.ledger.left(machine, token, "locked")  # outside of any pass nothing refuses it
            raise self.fails("locked", on=machine)
        self.cleared.append((machine, token))
        self.ledger.removed(machine, token)


@pytest.mark.parametrize(
    ("vcenter", "cleared", "left"),
    [
        (VCenter(machine()), [("vm-1", "snap")], []),
        (VCenter(None), [], []),
        (VCenter(replace(machine(), instance_uuid="another")), [], []),
        (VCenter(machine(), fails=VCenterFault), [], ["snap"]),
        (VCenter(machine(), fails=NotFound), [], ["snap"]),
    ],
    ids=["stands", "gone", "another-machine", "locked", "a-file-is-missing"],
)
def test_a_leftover_is_reported_when_it_is_gone(
    vcenter: VCenter, cleared: list[tuple[str, str]], left: list[str]
) -> None:
    plane = Plane("snap")
    vcenter.ledger = ControlLedger(plane)
    cleaner = Cleaner(vcenter, vcenter.ledger, lambda: plane, MachineLocks(), threading.Event())
    assert cleaner.once() == 1 - len(left)
    assert (vcenter.cleared, plane.left) == (cleared, left)
    assert plane.troubles == ({"snap": "locked"} if vcenter.fails else {})


def test_a_machine_that_is_being_read_is_left_alone() -> None:
    plane, vcenter, locks = Plane("snap"), VCenter(machine()), MachineLocks()
    vcenter.ledger = ControlLedger(plane)
    cleaner = Cleaner(vcenter, vcenter.ledger, lambda: plane, locks, threading.Event())
    with locks.held("vm-1", Cancellation()):
        assert cleaner.once() == 0
    assert (vcenter.cleared, plane.left) == ([], ["snap"])
    assert cleaner.once() == 1


def test_whoever_waits_for_a_machine_lock_says_so_and_hears_a_stop() -> None:
    """A clean-up may have it for hours, while vCenter merges a snapshot."""
    locks, stop, said = MachineLocks(), Cancellation(), threading.Event()
    with locks.held("vm-1", Cancellation(), said.set):
        assert not said.is_set()
        threading.Thread(target=lambda: said.wait(PATIENCE) and stop.set(), daemon=True).start()
        with pytest.raises(Interrupted), locks.held("vm-1", stop, said.set):
            raise AssertionError("it has the lock")
    with locks.held("vm-1", stop):
        pass


def test_it_looks_by_itself_until_it_is_stopped() -> None:
    plane, vcenter, stop = Plane("snap"), VCenter(machine()), threading.Event()
    vcenter.ledger = ControlLedger(plane)
    gone = threading.Event()
    plane.removed = lambda _token: gone.set()  # type: ignore[method-assign]
    with Cleaner(vcenter, vcenter.ledger, lambda: plane, MachineLocks(), stop, every=0.01):
        assert gone.wait(PATIENCE)
    assert stop.is_set()
