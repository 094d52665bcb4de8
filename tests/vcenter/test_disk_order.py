"""The one order of a machine's disks, by what vCenter says of boot options, controllers and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from connector.model import Machine, MachineDisk
from connector.vcenter import inventory, snapshots
from connector.vcenter.disk_order import in_order, uncertain
from connector.vcenter.eligibility import check
from connector.vcenter.session import Session
from simulator.estate.estate import Estate
from simulator.estate.inventory import Controller
from tests.vcenter.imaginary import MIB, world

MIXED = (
    Controller(1000, "pvscsi"),
    Controller(1001, "lsilogic", 1),
    Controller(15000, "sata"),
    Controller(31000, "nvme"),
    Controller(200, "ide"),
    Controller(201, "ide", 1),
)


def _estate(
    *places: tuple[int, int], boot_order: Sequence[str] = (), extra: dict[str, str] | None = None
) -> Machine:
    """The machine with disks at these (controller, unit), as a sweep and as a snapshot see it."""

    def prepare(estate: Estate) -> None:
        moref = min(estate.inventory.vms)
        estate.power.off(moref)
        for disk in estate.inventory.vm(moref).disks:
            estate.hardware.remove_disk(moref, disk.key, destroy=True)
        estate.hardware.edit(moref, controllers=MIXED)
        for controller, unit in places:
            estate.hardware.add_disk(moref, controller, unit, MIB)
        estate.hardware.edit(moref, boot_order=tuple(boot_order), extra=extra or {})

    with world(machines=1, prepare=prepare) as made, Session(made.settings()) as session:
        (machine,) = inventory.machines(session)
        shot = made.estate.snapshots.create(made.vm, "s", "")
        assert {disk.key for disk in snapshots.snapshot_disks(session, shot)} == {
            d.key for d in machine.disks
        }
        again = inventory.refresh(session, made.vm).disks
        assert [disk.key for disk in again] == [disk.key for disk in machine.disks]
    return machine


def _places(machine: Machine) -> list[str]:
    return [f"{disk.controller}:{disk.unit}" for disk in machine.disks]


def test_an_ide_disk_comes_before_a_scsi_disk_of_a_lower_key() -> None:
    machine = _estate((1000, 0), (200, 0))
    assert _places(machine) == ["ide0:0", "scsi0:0"]
    assert machine.disks[0].key > machine.disks[1].key


def test_the_boot_order_wins() -> None:
    machine = _estate(
        (1000, 0), (1000, 1), (200, 0), boot_order=("cdrom", "disk:2001", "net:4000", "disk:2000")
    )
    assert _places(machine) == ["scsi0:1", "scsi0:0", "ide0:0"]
    assert machine.traits.boot_order == ("cdrom", "disk:2001", "net:4000", "disk:2000")


def test_a_boot_order_of_disks_that_it_has_not_changes_nothing() -> None:
    assert _places(_estate((1000, 0), (1000, 1), boot_order=("disk:2099",))) == ["scsi0:0", "scsi0:1"]


def test_the_order_in_the_vmx_file_is_the_second_word() -> None:
    extra = {"BIOS.hddOrder": "scsi1:0, IDE1:0"}
    assert _places(_estate((1000, 0), (1001, 0), (201, 0), extra=extra)) == ["scsi1:0", "ide1:0", "scsi0:0"]
    stated = _estate((1000, 0), (1001, 0), (201, 0), extra=extra, boot_order=("disk:2000",))
    assert _places(stated) == ["scsi0:0", "scsi1:0", "ide1:0"]


def test_units_above_fifteen_sort_as_numbers_before_the_next_controller() -> None:
    machine = _estate((1001, 0), (1000, 63), (1000, 16), (1000, 2), (1000, 15))
    assert _places(machine) == ["scsi0:2", "scsi0:15", "scsi0:16", "scsi0:63", "scsi1:0"]
    keys = [disk.key for disk in machine.disks]
    assert keys != sorted(keys)


def _disk(key: int, controller: str, unit: int = 0) -> MachineDisk:
    plain = MachineDisk(key, f"disk {key}", 1, "[a] b.vmdk", "a", "FlatVer2", "persistent")
    return replace(plain, controller=controller, bus=int(controller[-1]), unit=unit)


@pytest.mark.parametrize(
    ("controllers", "guess"),
    [
        (("scsi0", "scsi1"), False),
        (("ide0", "scsi0"), False),
        (("sata0", "sata1"), False),
        (("scsi0", "sata0"), True),
        (("sata0", "nvme0"), True),
    ],
)
def test_what_nobody_states_and_the_controllers_leave_open_is_a_finding(
    controllers: tuple[str, ...], guess: bool
) -> None:
    disks = in_order(_disk(2000 + n, controller) for n, controller in enumerate(controllers))
    assert bool(uncertain(disks)) is guess
    machine = replace(_estate((1000, 0)), disks=disks)
    told = [one for one in check(machine) if one.check == "D17"]
    assert bool(told) is guess
    stated = replace(machine, traits=replace(machine.traits, boot_order=("disk:2000",)))
    assert not [one for one in check(stated) if one.check == "D17"]


def test_two_names_of_one_disk_count_once() -> None:
    disks = [_disk(2000, "scsi0"), _disk(2001, "scsi0", 1)]
    assert [d.key for d in in_order(disks, ("scsi0:1", 2001, 2000, 7, "scsi9:9"))] == [2001, 2000]
