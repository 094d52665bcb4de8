"""Nothing is done to a machine of which vCenter shows too little, and nothing is forgotten of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from connector.appliance.cleanup.ledger import ControlLedger
from connector.appliance.cleanup.leftovers import Cleaner
from connector.appliance.cleanup.machine_lock import MachineLocks
from connector.appliance.inventory import Rescan
from connector.appliance.passes.give_back import GivenBack
from connector.appliance.passes.machine_identity import identified
from connector.errors import Conflict, NotFound
from connector.model import MachinePart
from connector.vcenter.client import VCenter
from tests.appliance.desk import OWNER, Bench
from tests.appliance.test_leftovers import Plane
from tests.appliance.test_rescan import EVER, Registry
from tests.vcenter.imaginary import change_vm
from tests.vcenter.ledger import Memory


@pytest.fixture
def shown(desk: Bench) -> Iterator[Bench]:
    yield desk
    change_vm(desk.estate, desk.vm, hidden=())


@pytest.mark.parametrize("path", ["config", "config.hardware", "runtime.powerState"])
@pytest.mark.parametrize("final", [False, True])
def test_a_pass_is_given_back_before_anything_is_done(shown: Bench, path: str, final: bool) -> None:
    change_vm(shown.estate, shown.vm, hidden=(path,))
    with pytest.raises(GivenBack, match="vCenter does not show the machine's") as back:
        shown.carry(shown.order(1, final=final))
    assert back.value.rest > 0
    assert not shown.world.snapshots() and not shown.record.resources
    assert shown.estate.inventory.vm(shown.vm).power_state == "poweredOn"


def test_no_snapshot_is_taken_while_nobody_knows_how_full_its_datastores_are(shown: Bench) -> None:
    change_vm(shown.estate, shown.vm, hidden=("datastore",))
    with pytest.raises(GivenBack, match="no snapshot now: vCenter does not say on which datastores"):
        shown.carry(shown.order(1))
    assert not shown.world.snapshots()


def test_when_it_is_whole_again_the_pass_goes_on(shown: Bench) -> None:
    change_vm(shown.estate, shown.vm, hidden=("config",))
    with pytest.raises(GivenBack):
        shown.carry(shown.order(2))
    change_vm(shown.estate, shown.vm, hidden=())
    shown.carry(shown.order(3))
    assert shown.equal()


def test_an_identity_that_one_side_does_not_know_is_no_match(shown: Bench) -> None:
    with pytest.raises(Conflict, match="nobody can tell which machine this is"):
        identified(shown.vcenter, shown.order(4, instance_uuid=""))
    change_vm(shown.estate, shown.vm, hidden=("config.instanceUuid",))
    with pytest.raises(GivenBack, match="does not say now which machine this is"):
        identified(shown.vcenter, shown.order(5))
    with pytest.raises(NotFound, match="is now another machine"):
        change_vm(shown.estate, shown.vm, hidden=())
        identified(shown.vcenter, shown.order(6, instance_uuid="another"))


@pytest.mark.parametrize("path", ["config", "config.instanceUuid"])
def test_what_was_left_on_it_is_not_forgotten(shown: Bench, path: str) -> None:
    plane = Plane("token")
    where = {"machine": shown.vm, "instance_uuid": "u", "pass_id": "p-1"}
    plane.leftovers = lambda: [{"token": token} | where for token in plane.left]  # type: ignore[method-assign]
    ledger = ControlLedger(plane)
    cleaner = Cleaner(shown.vcenter, ledger, lambda: plane, MachineLocks(), threading.Event())
    change_vm(shown.estate, shown.vm, hidden=(path,))
    assert cleaner.once() == 0
    assert plane.left == ["token"] and "does not show" in plane.troubles["token"]


def test_the_control_plane_is_told_what_was_known(shown: Bench) -> None:
    registry = Registry()
    with VCenter(shown.world.settings(), owner=OWNER, ledger=Memory()) as vcenter:
        renewed = Rescan(vcenter, lambda: registry, EVER, threading.Event())
        renewed.once()
        change_vm(shown.estate, shown.vm, hidden=("config", "guest"))
        renewed.once()
        change_vm(shown.estate, shown.vm, hidden=())
        renewed.once()
    whole, partial, again = (next(m for m in told if m.moref == shown.vm) for told in registry.told)
    assert partial.missing == (MachinePart.CONFIGURATION, MachinePart.GUEST)
    assert (partial.disks, partial.instance_uuid, partial.firmware) == (
        whole.disks,
        whole.instance_uuid,
        whole.firmware,
    )
    assert again == whole
