"""What vCenter does not show of a machine for a moment is not known now: it is neither forgotten nor taken for nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from connector.errors import NotFound, VCenterFault
from connector.model import Machine, MachinePart, PowerState
from connector.vcenter import inventory
from connector.vcenter.answer import PropertyRow
from connector.vcenter.client import SnapshotTimeouts, VCenter
from connector.vcenter.eligibility import check
from connector.vcenter.partial import missing, obscured, remembered
from connector.vcenter.session import Session
from connector.vcenter.values import DataObject
from tests.vcenter.imaginary import World, change_vm, world
from tests.vcenter.ledger import Memory

PATHS = {
    MachinePart.CONFIGURATION: "config",
    MachinePart.HARDWARE: "config.hardware",
    MachinePart.GUEST: "guest",
    MachinePart.ADDRESSES: "guest.net",
    MachinePart.IDENTITY: "config.instanceUuid",
    MachinePart.BIOS_UUID: "config.uuid",
    MachinePart.FIRMWARE: "config.firmware",
    MachinePart.SYSTEM: "config.guestId",
    MachinePart.SIZE: "config.hardware.memoryMB",
    MachinePart.CAPABILITY: "capability",
    MachinePart.NAME: "name",
    MachinePart.PLACE: "parent",
    MachinePart.POWER: "runtime.powerState",
    MachinePart.HOST: "runtime.host",
    MachinePart.DATASTORES: "datastore",
    MachinePart.NETWORKS: "network",
}


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    with world() as made:
        vm = made.estate.inventory.vm(made.vm)
        guest = replace(vm.guest, tools=type(vm.guest.tools)("guestToolsRunning"))
        change_vm(made.estate, made.vm, guest=guest, firmware="efi")
        yield made


@pytest.fixture
def opened(place: World) -> Iterator[Session]:
    with Session(place.settings()) as session:
        yield session
    change_vm(place.estate, place.vm, hidden=())


def _bare(one: Machine) -> Machine:
    return replace(one, missing=())


@pytest.mark.parametrize("part", MachinePart)
def test_each_part_is_kept_as_it_was_and_named(place: World, opened: Session, part: MachinePart) -> None:
    whole = inventory.refresh(opened, place.vm)
    assert (whole.missing, whole.addresses != (), whole.tools_running) == ((), True, True)
    change_vm(place.estate, place.vm, hidden=(PATHS[part],))
    now = inventory.refresh(opened, place.vm)
    assert part in now.missing
    assert now in inventory.machines(opened)
    assert _bare(remembered(whole, now)) == whole
    assert remembered(None, now) is now and remembered(whole, whole) is whole
    change_vm(place.estate, place.vm, hidden=())
    assert inventory.refresh(opened, place.vm) == whole


def test_all_at_once(place: World, opened: Session) -> None:
    whole = inventory.refresh(opened, place.vm)
    change_vm(place.estate, place.vm, hidden=("config", "guest", "runtime", "datastore", "network", "name"))
    now = remembered(whole, inventory.refresh(opened, place.vm))
    assert {f.name for f in fields(now) if getattr(now, f.name) != getattr(whole, f.name)} <= {
        "missing",
        "traits",
    }


def test_what_is_another_machine_by_now_inherits_nothing(place: World, opened: Session) -> None:
    whole = inventory.refresh(opened, place.vm)
    change_vm(place.estate, place.vm, hidden=("guest",))
    other = replace(inventory.refresh(opened, place.vm), instance_uuid="another")
    assert remembered(whole, other) is other


@pytest.mark.parametrize("path", ["config", "config.hardware", "runtime.powerState"])
def test_the_only_finding_is_that_it_cannot_be_seen(place: World, opened: Session, path: str) -> None:
    change_vm(place.estate, place.vm, hidden=(path,))
    now = inventory.refresh(opened, place.vm)
    assert obscured(now)
    (finding,) = check(now)
    assert (finding.check, finding.severity) == ("V1", "block") and obscured(now) in finding.message


def test_a_machine_whose_power_is_not_known_is_not_off(place: World, opened: Session) -> None:
    with VCenter(place.settings(), owner="partial", ledger=Memory()) as vcenter:
        change_vm(place.estate, place.vm, hidden=("runtime",))
        with pytest.raises(VCenterFault, match="does not say whether the machine runs") as unknown:
            vcenter.power(place.vm)
        assert unknown.value.retryable
        change_vm(place.estate, place.vm, hidden=())
        assert vcenter.power(place.vm) is PowerState.ON


def test_tracking_that_cannot_be_seen_was_not_off(place: World, opened: Session) -> None:
    memory = Memory()
    with VCenter(place.settings(), owner="partial", ledger=memory) as vcenter:
        change_vm(place.estate, place.vm, hidden=("config",))
        with pytest.raises(VCenterFault, match="without its configuration"):
            vcenter.ensure_tracking(place.vm, "p-1")
    assert not memory.tracking and not memory.told
    assert not place.snapshots()


def test_a_snapshot_out_of_sight_is_not_gone(place: World, opened: Session) -> None:
    with VCenter(place.settings(), owner="partial", ledger=Memory()) as vcenter:
        with vcenter.snapshot(place.vm, "p-2", limits=SnapshotTimeouts(remove=1.0)) as snapshot:
            change_vm(place.estate, place.vm, hidden=("config", "snapshot"))
        assert snapshot.cost.left and place.snapshots()
        shown = threading.Timer(1.0, lambda: change_vm(place.estate, place.vm, hidden=()))
        shown.start()
        vcenter.dismiss(place.vm, snapshot.token)
        shown.join()
        assert not place.snapshots()


def test_a_machine_without_its_configuration_is_found_by_what_it_shows(place: World, opened: Session) -> None:
    whole = inventory.refresh(opened, place.vm)
    change_vm(place.estate, place.vm, hidden=("config",))
    assert (
        inventory.find(opened, whole.name).moref == whole.moref == inventory.find(opened, whole.moref).moref
    )
    with pytest.raises(NotFound):
        inventory.find(opened, whole.instance_uuid)


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        ("config.hardware.device", "", MachinePart.HARDWARE),
        ("config.hardware.device", [], MachinePart.HARDWARE),
        ("config.instanceUuid", "", MachinePart.IDENTITY),
        ("runtime.powerState", "asleep", MachinePart.POWER),
        ("runtime.powerState", "", MachinePart.POWER),
    ],
)
def test_what_is_empty_or_unheard_of_is_not_known_either(path: str, value: object, part: MachinePart) -> None:
    shown = {"config.uuid": "b", "config.instanceUuid": "i", "config.hardware.device": [DataObject("x", {})]}
    row = PropertyRow("VirtualMachine", "vm-1", shown | {"runtime.powerState": "poweredOn"})
    assert part not in missing(row)
    assert part in missing(PropertyRow("VirtualMachine", "vm-1", {**row.values, path: value}))
