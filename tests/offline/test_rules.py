"""Each check that looks inside has a machine that fails it and one that passes; the page lists them. `UPDATE_DOCS=1` writes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from connector.model import Severity
from connector.offline.inspection import (
    DeviceNames,
    DiskFacts,
    GuestFacts,
    Kernel,
    Linux,
    Usage,
    VolumeLocation,
    Windows,
)
from connector.offline.partitions import ESP, LDM, Partition, Table
from connector.offline.rules import RULES, judge
from connector.offline.volumes import Volume
from tools.docs.deep_checks import NOT_SEEN, document

PAGE = Path(__file__).parents[2] / "docs" / "deep-checks.md"
GIB = 1 << 30

ROOT = Partition(1, 1 << 20, GIB, "83")
EXT = VolumeLocation("disk 1", ROOT, Volume("ext"))
SYSTEM = DiskFacts("disk 1", 2 * GIB, Table("mbr", (ROOT,), code=True), (EXT,), True)
DATA = DiskFacts("disk 2", 2 * GIB, Table("mbr", (ROOT,), code=True), (replace(EXT, disk="disk 2"),))
SOUND = GuestFacts(
    "web-01",
    "bios",
    (SYSTEM, DATA),
    (Linux("disk 1 partition 1", "Debian"),),
    kernels=(Kernel("p", "initrd.img-6.1"),),
)


def disk(
    kind: str = "83", volume: Volume | None = None, *, of: DiskFacts = SYSTEM, **table: object
) -> DiskFacts:
    part = replace(ROOT, kind=kind)
    place = VolumeLocation(of.label, part, volume or Volume("ext"))
    return replace(of, table=replace(of.table, partitions=(part,), **table), places=(place,))  # type: ignore[arg-type]


def with_disk(*disks: DiskFacts) -> GuestFacts:
    return replace(SOUND, disks=disks)


def windows(**more: bool) -> GuestFacts:
    seen = {"system": True, "asleep": False, "dirty": False} | more
    return replace(SOUND, linux=(), windows=(Windows("disk 1 partition 2", **seen),))


#: By id and title: a machine that fails it, one that passes.
CASES: dict[str, tuple[GuestFacts, GuestFacts]] = {
    "O1 the system disk is a dynamic disk": (
        with_disk(disk("42"), DATA),
        with_disk(SYSTEM, disk("42", of=DATA)),
    ),
    "O1 a data disk is a dynamic disk": (with_disk(SYSTEM, disk(LDM[1], of=DATA)), SOUND),
    "O2 a volume is encrypted": (with_disk(disk(volume=Volume("luks", "version 2"))), SOUND),
    "O3 Windows is hibernated": (windows(asleep=True), windows()),
    "O3 an NTFS is dirty": (windows(dirty=True), windows()),
    "O4 several operating systems": (replace(windows(), linux=SOUND.linux), windows()),
    "O5 devices are named by place": (
        replace(SOUND, named=(DeviceNames("p", "/etc/fstab", ("/dev/sda1",)),)),
        SOUND,
    ),
    "O6 no disk driver for the target": (
        replace(SOUND, kernels=(Kernel("p", "initrd", {"disk": ("virtio_blk",)}),)),
        replace(SOUND, kernels=(Kernel("p", "initrd", {"network": ("virtio_net",)}),)),
    ),
    "O6 no network driver in the initramfs": (
        replace(SOUND, kernels=(Kernel("p", "i", {"network": ("virtio_net",)}),)),
        SOUND,
    ),
    "O6 the drivers of a kernel are not known": (
        replace(SOUND, kernels=(Kernel("p", "i", trouble="packed"),)),
        SOUND,
    ),
    "O7 few inodes are free": (replace(SOUND, linux=(Linux("p", "Debian", free_inodes=0.001),)), SOUND),
    "O7 resolv.conf is immutable": (replace(SOUND, linux=(Linux("p", "Debian", immutable=True),)), SOUND),
    "O7 an XFS of version 4": (
        with_disk(disk(volume=Volume("xfs", "version 4"))),
        with_disk(disk(volume=Volume("xfs", "version 5"))),
    ),
    "O10 the first disk cannot start, another can": (
        with_disk(disk(code=False), DATA),
        replace(with_disk(disk(ESP), disk(ESP, of=DATA)), firmware="efi"),
    ),
    "O10 no EFI system partition": (
        replace(SOUND, firmware="efi"),
        replace(with_disk(disk(ESP)), firmware="efi"),
    ),
    "O10 an EFI system partition has another type": (
        replace(with_disk(disk("0c", Volume("vfat"))), firmware="efi", loaders=("disk 1 partition 1",)),
        replace(with_disk(disk(ESP, Volume("vfat"))), firmware="efi", loaders=("disk 1 partition 1",)),
    ),
    "O10 a partition table in large sectors": (with_disk(disk(sector=4096)), SOUND),
    "O10 nothing to boot by BIOS": (
        with_disk(disk(code=False)),
        replace(with_disk(disk(ESP, code=False)), firmware="efi"),
    ),
    "O10 a partition table is damaged": (with_disk(disk(damage="the backup is not there")), SOUND),
    "O10 the system disk is blank": (
        with_disk(
            DiskFacts("disk 1", GIB, Table(), (VolumeLocation("disk 1", None, Volume(blank=True)),), True)
        ),
        with_disk(DiskFacts("disk 1", GIB, Table(), (VolumeLocation("disk 1", None, Volume("ext")),), True)),
    ),
    "O12 how full a file system is": (replace(SOUND, usage=(Usage("p", GIB, 2 * GIB),)), SOUND),
    "O12 what could not be looked into": (replace(SOUND, closed=(("p", "lvm is not read"),)), SOUND),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.id} {rule.title}")
def test_every_rule_has_a_machine_that_fails_it_and_one_that_passes(rule: object) -> None:
    name = f"{rule.id} {rule.title}"  # type: ignore[attr-defined]
    bad, good = CASES[name]
    fired = [f for f in judge(bad) if (f.check, f.remedy) == (rule.id, rule.remedy)]  # type: ignore[attr-defined]
    assert fired and all(f.message and f.subject.startswith("web-01 ") for f in fired)
    assert not list(rule.wrong(good))  # type: ignore[attr-defined]


def test_a_sound_machine_has_no_finding_and_the_gravest_come_first() -> None:
    assert judge(SOUND) == ()
    worst = replace(windows(asleep=True, dirty=True), closed=(("p", "x"),))
    assert [f.severity for f in judge(worst)] == [Severity.BLOCK, Severity.INFO, Severity.INFO]
    assert len({(rule.id, rule.title) for rule in RULES}) == len(RULES) == len(CASES)


def test_which_disk_can_start_is_said_only_where_it_is_known() -> None:
    title = "the first disk cannot start, another can"
    (rule,) = (one for one in RULES if one.title == title)
    blank = DiskFacts("disk 1", GIB, Table(), (VolumeLocation("disk 1", None, Volume(blank=True)),), True)
    floppy = DiskFacts("disk 1", GIB, Table(), (VolumeLocation("disk 1", None, Volume("ntfs")),), True)
    esp = disk(ESP, of=DATA)
    assert [on for on, _ in rule.wrong(with_disk(blank, DATA))] == ["disk 1"]
    assert [on for on, _ in rule.wrong(replace(with_disk(SYSTEM, esp), firmware="efi"))] == ["disk 1"]
    assert not list(rule.wrong(with_disk(floppy, DATA)))
    assert not list(rule.wrong(with_disk(blank)))
    assert not list(rule.wrong(replace(with_disk(blank, DATA), closed=(("disk 1", "cannot be read"),))))


def test_every_documented_check_has_a_rule_or_a_reason() -> None:
    known = {rule.id for rule in RULES} | {one[0] for one in NOT_SEEN}
    assert {f"O{n}" for n in range(1, 13)} <= known


@pytest.mark.generated
def test_the_page_is_current() -> None:
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(document())
    assert PAGE.read_text() == document()
