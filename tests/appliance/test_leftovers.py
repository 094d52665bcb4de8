"""Orders to remove what jobs left behind: carried out on the right machine only, and reported when it is gone."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from connector.appliance.ledger import ControlLedger
from connector.appliance.leftovers import Cleaner
from connector.errors import NotFound, VCenterFault
from connector.model import Machine
from tests.control.conftest import machine


class Plane:
    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens)

    def leftovers(self) -> list[dict[str, Any]]:
        where = {"machine": "vm-1", "instance_uuid": "uuid-vm-1", "pass_id": "p-1"}
        return [{"token": token} | where for token in self.left]

    def removed(self, token: str) -> None:
        self.left.remove(token)

    def record(self, *_: object, removed: bool = False) -> None:
        raise NotFound("the pass is over")

    def close(self) -> None:
        pass


class VCenter:
    """One machine, or none, or one that cannot be cleaned now."""

    def __init__(self, there: Machine | None, fails: bool = False) -> None:
        self.there, self.fails = there, fails
        self.cleared: list[str | None] = []
        self.ledger: ControlLedger | None = None

    def find(self, wanted: str) -> Machine:
        if self.there is None:
            raise NotFound("no such machine", on=wanted)
        return self.there

    def clear_leftovers(self, *, machine: str | None = None) -> None:
        if self.fails:
            raise VCenterFault("locked", on=str(machine))
        self.cleared.append(machine)
        assert self.ledger is not None
        self.ledger.removed(str(machine), "snap")  # a removal outside of any pass may be recorded


@pytest.mark.parametrize(
    ("vcenter", "cleared", "left"),
    [
        (VCenter(machine()), ["vm-1"], []),
        (VCenter(None), [], []),
        (VCenter(replace(machine(), instance_uuid="another")), [], []),
        (VCenter(machine(), fails=True), [], ["snap"]),
    ],
    ids=["stands", "gone", "another-machine", "locked"],
)
def test_a_leftover_is_reported_when_it_is_gone(
    vcenter: VCenter, cleared: list[str], left: list[str]
) -> None:
    plane = Plane("snap")
    vcenter.ledger = ControlLedger(plane)
    cleaner = Cleaner(vcenter, vcenter.ledger, lambda: plane, threading.Event())
    assert cleaner.once() == 1 - len(left)
    assert (vcenter.cleared, plane.left) == (cleared, left)


def test_it_looks_by_itself_until_it_is_stopped() -> None:
    plane, vcenter, stop = Plane("snap"), VCenter(machine()), threading.Event()
    vcenter.ledger = ControlLedger(plane)
    gone = threading.Event()
    plane.removed = lambda _token: gone.set()  # type: ignore[method-assign]
    with Cleaner(vcenter, vcenter.ledger, lambda: plane, stop, every=0.01):
        assert gone.wait(5)
    assert stop.is_set()
