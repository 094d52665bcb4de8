"""Each rule fires for one machine and is silent for another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.model import Firmware, Machine, MachineDisk, PowerState, Severity, SnapshotNode
from connector.vcenter.eligibility import (
    DISK_RULES,
    RULES,
    Bounds,
    check,
    disk_set_changes,
    hardware_level,
    obstacles,
    trackable,
)

DISK = MachineDisk(
    key=2000,
    label="Hard disk 1",
    capacity=8 << 30,
    path="[ds1] web/web.vmdk",
    datastore="ds1",
    backing="FlatVer2",
    mode="persistent",
    uuid="6000C29a",
)
SOUND = Machine(
    moref="vm-1",
    name="web",
    instance_uuid="i",
    bios_uuid="b",
    power=PowerState.ON,
    firmware=Firmware.BIOS,
    guest_id="debian12_64Guest",
    guest_name="Debian",
    cpus=2,
    memory=4 << 30,
    hardware="vmx-19",
    host="host-1",
    path="/DC/vm/web",
    disks=(DISK,),
    cbt_enabled=True,
    tools_running=True,
)


def _chain(depth: int, name: str = "before update", description: str = "") -> tuple[SnapshotNode, ...]:
    return tuple(SnapshotNode(f"snapshot-{n}", name, description, 0.0, n) for n in range(depth))


def _disk(**changes: object) -> Machine:
    return replace(SOUND, disks=(replace(DISK, **changes),))  # type: ignore[arg-type]


B, W, N, INFO = Severity.BLOCK, Severity.WARM_BLOCK, Severity.WARN, Severity.INFO
CASES: list[tuple[str, Severity, Machine, Machine]] = [
    # id, severity, a machine with the trouble, the closest machine without it
    ("V1", B, replace(SOUND, connection="inaccessible"), replace(SOUND, connection="connected")),
    ("V2", B, replace(SOUND, template=True), replace(SOUND, template=False)),
    ("V4", B, replace(SOUND, power=PowerState.SUSPENDED), replace(SOUND, power=PowerState.OFF)),
    ("V7", W, replace(SOUND, hardware="vmx-04"), replace(SOUND, hardware="vmx-07")),
    ("V8", W, replace(SOUND, cbt_supported=False), SOUND),
    ("V9", INFO, replace(SOUND, cbt_enabled=False), SOUND),
    ("V10", W, replace(SOUND, cbt_enabled=False, snapshots=_chain(1)), replace(SOUND, snapshots=_chain(1))),
    ("V10", N, replace(SOUND, snapshots=_chain(3)), replace(SOUND, snapshots=_chain(2))),
    ("V10", B, replace(SOUND, snapshots=_chain(28)), replace(SOUND, snapshots=_chain(27))),
    (
        "V11",
        N,
        replace(SOUND, snapshots=_chain(1, "x", "connector:a:p1")),
        replace(SOUND, snapshots=_chain(1)),
    ),
    (
        "V11",
        N,
        replace(SOUND, snapshots=_chain(1, "VEEAM BACKUP TEMPORARY SNAPSHOT")),
        replace(SOUND, snapshots=_chain(1, "connector-p1")),
    ),
    ("V12", N, replace(SOUND, consolidation_needed=True), SOUND),
    (
        "V23",
        N,
        replace(SOUND, tools_running=False),
        replace(SOUND, tools_running=False, power=PowerState.OFF),
    ),
    ("D16", B, replace(SOUND, disks=()), SOUND),
    ("D16", B, replace(SOUND, disks=(DISK,) * 18), replace(SOUND, disks=(DISK,) * 17)),
    ("D1", B, _disk(mode="independent_persistent"), _disk(mode="persistent")),
    ("D1", B, _disk(mode="independent_nonpersistent"), SOUND),
    ("D1", B, _disk(mode="append"), SOUND),
    ("D2", B, _disk(backing="RawDiskMappingVer1", compatibility="physicalMode"), SOUND),
    ("D2", N, _disk(backing="RawDiskMappingVer1", compatibility="virtualMode"), SOUND),
    ("D3", W, _disk(sharing="sharingMultiWriter"), _disk(sharing="sharingNone")),
    ("D4", B, _disk(bus_sharing="physicalSharing"), _disk(bus_sharing="noSharing")),
    ("D5", W, _disk(backing="FlatVer1"), _disk(backing="SeSparse")),
    ("D5", W, _disk(backing="PartitionedRawDiskVer2"), _disk(backing="SparseVer2")),
    ("D6", B, _disk(backing="LocalPMem"), SOUND),
    ("D7", B, _disk(capacity=0), SOUND),
    ("D7", B, _disk(capacity=(32 << 40) + 512), _disk(capacity=32 << 40)),
    ("D7", INFO, _disk(capacity=(8 << 30) + 512), SOUND),
]


@pytest.mark.parametrize(
    ("check_id", "severity", "bad", "good"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES]
)
def test_a_rule_fires_where_it_must_and_nowhere_else(
    check_id: str, severity: Severity, bad: Machine, good: Machine
) -> None:
    fired = [found for found in check(bad) if (found.check, found.severity) == (check_id, severity)]
    assert len(fired) >= 1
    assert all(found.message and found.remedy and found.subject.startswith("web") for found in fired)
    assert (check_id, severity) not in {(found.check, found.severity) for found in check(good)}


def test_every_rule_has_a_case() -> None:
    covered = {(case[0], case[1]) for case in CASES}
    rules = {(rule.id, rule.severity) for rule in RULES} | {(rule.id, rule.severity) for rule in DISK_RULES}
    assert rules == covered


def test_a_sound_machine_has_no_findings() -> None:
    assert check(SOUND) == ()


def test_the_gravest_comes_first() -> None:
    found = check(replace(SOUND, template=True, cbt_enabled=False, tools_running=False, hardware="vmx-04"))
    assert [one.severity for one in found] == [B, W, N, INFO]


def test_a_warm_block_does_not_stop_a_machine_that_is_off() -> None:
    found = check(replace(SOUND, hardware="vmx-04"))
    assert obstacles(found, PowerState.ON)
    assert not obstacles(found, PowerState.OFF)


def test_bounds_belong_to_the_target() -> None:
    assert check(SOUND, Bounds(largest_disk=1 << 30))[0].check == "D7"


@pytest.mark.parametrize(("version", "level"), [("vmx-19", 19), ("vmx-07", 7), ("", 0), ("strange", 0)])
def test_hardware_levels(version: str, level: int) -> None:
    assert hardware_level(version) == level


@pytest.mark.parametrize(
    ("disk", "able"),
    [
        (DISK, True),
        (replace(DISK, backing="SeSparse"), True),
        (replace(DISK, backing="RawDiskMappingVer1", compatibility="virtualMode"), True),
        (replace(DISK, backing="RawDiskMappingVer1", compatibility="physicalMode"), False),
        (replace(DISK, mode="independent_persistent"), False),
        (replace(DISK, backing="FlatVer1"), False),
        (replace(DISK, backing="LocalPMem"), False),
    ],
)
def test_which_disks_can_be_tracked(disk: MachineDisk, able: bool) -> None:
    assert trackable(disk) is able


def test_changes_of_the_disk_set_are_told() -> None:
    other = replace(DISK, key=2001, label="Hard disk 2", uuid="6000C29b", path="[ds1] web/web_1.vmdk")
    cases = {
        "added": ((DISK,), (DISK, other)),
        "removed": ((DISK, other), (DISK,)),
        "resized": ((DISK,), (replace(DISK, capacity=9 << 30),)),
        "another disk": ((DISK,), (replace(DISK, uuid="x"),)),
        "moved": ((DISK,), (replace(DISK, path="[ds2] web/web.vmdk"),)),
    }
    for word, (before, now) in cases.items():
        found = disk_set_changes("web", before, now)
        assert [one.check for one in found] == ["D20"], word
        assert word in found[0].message
    assert disk_set_changes("web", (DISK,), (replace(DISK, path="[ds1] web/web-000001.vmdk"),)) == ()
