"""What was left is found, shown and mended; what is in use, or somebody else's, is not touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from connector.appliance.cleanup.machine_lock import MachineLocks
from connector.appliance.cleanup.repair import (
    CHECKS,
    InterruptedCutover,
    LeftoverFinding,
    RegisteredResource,
    RepairContext,
    RepairLedger,
    examine,
    mend_all,
    mended,
)
from connector.cancellation import Cancellation
from connector.model import Machine
from connector.sources.vddk import VddkReader
from connector.vcenter.client import VCenter
from connector.vcenter.machines import MACHINE
from simulator.estate.inventory import PowerState
from simulator.faults import Rule
from simulator.vcenter.edits import destroy_machine
from simulator.vixdisklib import install
from tests.appliance.desk import OWNER
from tests.vcenter.imaginary import World, world
from tests.vcenter.ledger import Memory as Ledger

TOKEN = f"connector:{OWNER}:p-1"


@dataclass
class Register:
    known: list[RegisteredResource] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    cutovers: list[InterruptedCutover] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)

    def remembered(self) -> list[RegisteredResource]:
        return [one for one in self.known if one.token not in self.gone]

    def running_machines(self) -> frozenset[str]:
        return frozenset(self.busy)

    def interrupted(self) -> list[InterruptedCutover]:
        return self.cutovers

    def removed(self, token: str) -> None:
        self.gone.append(token)

    def resists(self, token: str, trouble: str) -> None:
        self.troubles[token] = trouble


@dataclass
class Ward:
    place: World
    register: Register
    repair_context: RepairContext

    def remember(
        self, token: str = TOKEN, kind: str = "snapshot", *, over: bool = True, uuid: str = ""
    ) -> None:
        vm = self.place.estate.inventory.vm(self.place.vm)
        instance = uuid or vm.instance_uuid
        self.register.known.append(RegisteredResource(token, kind, vm.moref, instance, vm.name, False, over))

    def orphan(self, token: str = TOKEN, vm: str = "") -> str:
        return self.place.estate.snapshots.create(vm or self.place.vm, "connector-p-1", token)

    def found(self) -> list[LeftoverFinding]:
        return list(examine(self.repair_context))

    def only(self) -> LeftoverFinding:
        (finding,) = self.found()
        return finding


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    with world() as place:
        install(tmp_path / "vddk", place.estate.export.root)
        with VCenter(place.settings(), owner=OWNER, ledger=RepairLedger()) as vcenter:
            register = Register()
            yield Ward(place, register, RepairContext(vcenter, register, VddkReader(tmp_path / "vddk")))


def test_where_nothing_is_wrong_nothing_is_found_and_nothing_changed(ward: Ward) -> None:
    ward.place.estate.snapshots.create(ward.place.vm, "by hand", "connector: not a token")
    ward.place.estate.snapshots.create(ward.place.vm, "connector-p-1", "connector:cffffffffffffffff:p-1")
    assert ward.found() == []
    mend_all(ward.repair_context)
    assert len(ward.place.snapshots()) == 2


def test_invariant_3_orphans_of_ours_go_and_nobody_elses(ward: Ward) -> None:
    ward.place.estate.snapshots.create(ward.place.vm, "by hand")
    ward.orphan()
    ward.place.estate.snapshots.create(ward.place.vm, "a backup", "child of ours")
    ward.remember()
    finding = ward.only()
    assert (finding.check, finding.mending) == ("snapshot", "remove it and consolidate")
    assert len(ward.place.snapshots()) == 3  # looking changes nothing
    assert mended(ward.repair_context, finding) == ""
    assert ward.place.snapshots() == ["by hand", "a backup"]
    assert ward.register.gone == [TOKEN]
    assert ward.found() == []


def test_what_a_pass_works_with_is_left_alone_also_when_it_begins_in_between(ward: Ward) -> None:
    ward.orphan()
    ward.register.busy = {ward.place.vm}
    assert ward.found() == []
    ward.register.busy = set()
    finding = ward.only()
    ward.register.busy = {ward.place.vm}
    assert mended(ward.repair_context, finding) == "a pass works on the machine now"
    ward.register.busy = set()
    locks: MachineLocks = ward.repair_context.locks
    with locks.held(ward.place.vm, Cancellation()):
        assert mended(ward.repair_context, finding) == "a pass works on the machine now"
    assert len(ward.place.snapshots()) == 1


def test_what_resists_is_told_and_does_not_stop_the_others(ward: Ward) -> None:
    stuck = ward.orphan()
    ward.orphan(f"connector:{OWNER}:p-2", ward.place.other())
    ward.place.estate.faults.add(
        Rule("RemoveSnapshot_Task", "fault", object=stuck, fault="FileFault", times=None)
    )
    mend_all(ward.repair_context)
    assert ward.place.snapshots() == ["connector-p-1"] and ward.place.snapshots(ward.place.other()) == []
    assert set(ward.register.troubles) == {TOKEN}


def test_invariant_4_what_a_removal_left_to_consolidate_is_consolidated_if_it_was_ours(ward: Ward) -> None:
    estate = ward.place.estate
    for vm in (ward.place.vm, ward.place.other()):
        shot = estate.snapshots.create(vm, "x")
        estate.power.write(vm, 2000, 0, b"x" * 4096)
        estate.snapshots.remove(vm, shot, consolidate=False)
    ward.remember()
    mine, foreign = ward.found()
    assert (mine.check, foreign.check) == ("consolidation", "consolidation")
    assert foreign.mend is None and "not because of us" in foreign.what
    mend_all(ward.repair_context)
    assert not estate.inventory.vm(ward.place.vm).consolidation_needed
    assert estate.inventory.vm(ward.place.other()).consolidation_needed


def test_what_is_remembered_of_a_machine_that_is_gone_is_forgotten(ward: Ward) -> None:
    ward.remember(uuid="of another machine")
    assert ward.only().check == "record"
    mend_all(ward.repair_context)
    assert ward.register.gone == [TOKEN] and ward.found() == []


def test_the_lock_of_a_reader_that_died_is_undone_and_anothers_stays(ward: Ward, tmp_path: Path) -> None:
    vcenter = ward.repair_context.vcenter
    ward.place.estate.power.off(ward.place.vm)  # else a host refuses the live disk
    disk = vcenter.find(ward.place.vm).disks[0]
    source = VddkReader(tmp_path / "vddk").open(vcenter.disk_access(ward.place.vm, None, disk))
    worker = source._disk._worker.pid  # type: ignore[attr-defined]
    os.kill(worker, signal.SIGKILL)
    source.close()
    finding = ward.only()
    assert finding.check == "lock" and vcenter.locked() == (ward.place.vm,)
    assert mended(ward.repair_context, finding) == ""
    assert vcenter.locked() == ()
    foreign = ward.place.estate.export.root / "prepared" / f"{ward.place.vm}@{b'a backup'.hex()}"
    foreign.write_text(f"{os.getpid()}\n")
    assert mended(ward.repair_context, ward.only()) == "the rest of the lock is not ours"
    ward.repair_context.reader = None
    assert ward.only().mend is None


def test_the_lock_of_whoever_works_on_the_machine_now_is_no_finding(ward: Ward) -> None:
    """Neither that of a backup nor that of another installation, which would lose what keeps the machine in its place."""
    prepared = ward.place.estate.export.root / "prepared"
    prepared.mkdir(exist_ok=True)
    (prepared / f"{ward.place.vm}@{b'a backup'.hex()}").write_text(f"{os.getpid()}\n")
    assert ward.only().check == "lock"
    snapshots = ward.place.estate.snapshots
    for name, text in (("VEEAM BACKUP TEMPORARY SNAPSHOT", ""), ("x", "connector:cffffffffffffffff:p-1")):
        shot = snapshots.create(ward.place.vm, name, text)
        assert ward.found() == []
        snapshots.remove(ward.place.vm, shot)
    assert ward.only().check == "lock"


def test_a_lock_is_of_its_installation(ward: Ward, tmp_path: Path) -> None:
    vcenter = ward.repair_context.vcenter
    ward.place.estate.power.off(ward.place.vm)
    disk = vcenter.find(ward.place.vm).disks[0]
    access = replace(vcenter.disk_access(ward.place.vm, None, disk), owner="another")
    with closing(VddkReader(tmp_path / "vddk").open(access)):
        assert mended(ward.repair_context, ward.only()) == "the rest of the lock is not ours"
        assert vcenter.locked() == (ward.place.vm,)
    assert vcenter.locked() == ()


def test_the_lock_of_a_reader_that_died_with_its_snapshot_is_undone_after_the_snapshot(
    ward: Ward, tmp_path: Path
) -> None:
    """While the snapshot is there, the machine's disk has the path of a delta; the lock has that of the base.

    The library's own Cleanup does not find the lock: it was taken on another machine.
    """
    vcenter = ward.repair_context.vcenter
    base = vcenter.disk_access(ward.place.vm, None, vcenter.find(ward.place.vm).disks[0])
    source = VddkReader(tmp_path / "vddk").open(replace(base, snapshot=ward.orphan()))
    os.kill(source._disk._worker.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    source.close()
    (mark,) = (ward.place.estate.export.root / "prepared").iterdir()
    mark.write_text(f"{os.getpid()}\n")
    ward.remember()
    assert vcenter.find(ward.place.vm).disks[0].path != base.path
    assert [finding.check for finding in ward.found()] == ["snapshot", "lock"]
    mend_all(ward.repair_context)
    assert ward.place.snapshots() == [] and vcenter.locked() == ()


def test_cbt_is_put_back_only_on_request_and_only_when_the_job_is_over(ward: Ward) -> None:
    ledger = Ledger()
    with VCenter(ward.place.settings(), owner=OWNER, ledger=ledger) as vcenter:
        vcenter.ensure_tracking(ward.place.vm, "cbt-p-1")
    assert ledger.tracking == [("planned", ward.place.vm, f"tracking:{OWNER}:cbt-p-1")]
    token = ledger.tracking[0][2]
    ward.remember(token, "tracking", over=False)
    assert ward.found() == []
    ward.register.known.clear()
    ward.remember(token, "tracking")
    finding = ward.only()
    assert finding.voluntary
    mend_all(ward.repair_context)
    assert ward.place.estate.inventory.vm(ward.place.vm).change_tracking
    assert mended(ward.repair_context, finding) == ""
    assert not ward.place.estate.inventory.vm(ward.place.vm).change_tracking
    assert ward.found() == []


@pytest.mark.parametrize(
    ("off", "uuid", "resume", "ways"),
    [
        (True, "", "R", ["resume: R; take back: B"]),
        (True, "", "", ["take back: B"]),
        (True, "of another machine", "R", []),
        (False, "", "R", []),
    ],
)
def test_a_machine_that_an_interrupted_cutover_left_off_is_named_with_the_ways_on(
    ward: Ward, off: bool, uuid: str, resume: str, ways: list[str]
) -> None:
    vm = ward.place.estate.inventory.vm(ward.place.vm)
    if off:
        ward.place.estate.power.off(vm.moref)
    ward.register.cutovers = [
        InterruptedCutover(vm.moref, uuid or vm.instance_uuid, vm.name, 1_790_000_000.0, resume, "B")
    ]
    seen = ward.found()
    assert [finding.mending for finding in seen] == ways
    for finding in seen:
        assert (finding.check, finding.on, finding.mend) == ("down", vm.name, None)
        assert finding.what == "it is down since 2026-09-21 14:13:20 UTC, by an interrupted cutover"
    mend_all(ward.repair_context)
    assert (ward.place.estate.inventory.vm(vm.moref).power_state is PowerState.OFF) is off


@pytest.mark.parametrize("power", ["poweredOff", ""])
def test_a_source_that_is_down_is_reported_though_vcenter_does_not_show_its_configuration(
    ward: Ward, power: str
) -> None:
    vm = ward.place.estate.inventory.vm(ward.place.vm)
    ward.place.estate.power.off(vm.moref)
    hidden = {path: None for path in MACHINE if path.startswith("config.") or path == "name"}
    ward.place.server.center.hostile[vm.moref] = hidden if power else hidden | {"runtime.powerState": None}
    ward.register.cutovers = [
        InterruptedCutover(vm.moref, vm.instance_uuid, vm.name, 1_790_000_000.0, "R", "B")
    ]
    finding = ward.only()
    assert (finding.check, finding.on, finding.mend) == ("down", vm.name, None)
    assert "it is down since" in finding.what and "does not show" in finding.what


class HalfBlind(VCenter):
    """A vCenter whose lists leave machines out, as for a user who lost a right on their folder."""

    def machines(self) -> tuple[Machine, ...]:
        return ()


def test_a_machine_that_no_list_shows_is_not_taken_for_gone(ward: Ward) -> None:
    ward.remember()
    with HalfBlind(ward.place.settings(), owner=OWNER, ledger=RepairLedger()) as vcenter:
        ward.repair_context.vcenter = vcenter
        assert ward.found() == []
        mend_all(ward.repair_context)
        assert ward.register.gone == []
        ward.place.estate.power.off(ward.place.vm)
        destroy_machine(ward.place.server.center, ward.place.vm)
        assert ward.only().check == "record"


def test_the_table_says_what_each_check_finds() -> None:
    assert all(check.id and check.finds for check in CHECKS)
