"""The deep checks as a table of rules: facts in, findings out. Ids are those of docs/deep-checks.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from connector.model import Finding, Severity
from connector.offline.initramfs import DRIVERS
from connector.offline.inspection import DiskFacts, GuestFacts, VolumeLocation
from connector.offline.partitions import ESP, LDM, LDM_MBR, SECTOR
from connector.offline.volumes import ENCRYPTED

BLOCK, WARN, INFO = Severity.BLOCK, Severity.WARN, Severity.INFO

#: What is wrong: pairs of object and message.
Wrong = Iterator[tuple[str, str]]

_GIB: Final = 1 << 30
_FEW_INODES: Final = 0.01


@dataclass(frozen=True, slots=True)
class DeepRule:
    """One check. `reads` names the structures on disk that it needs."""

    id: str
    title: str  # with the id, unique
    severity: Severity
    reads: str
    wrong: Callable[[GuestFacts], Wrong]
    remedy: str


def judge(facts: GuestFacts) -> tuple[Finding, ...]:
    """Every finding, the gravest first."""
    order = (BLOCK, WARN, INFO)
    findings = [
        Finding(rule.id, rule.severity, f"{facts.machine} {on}", message, rule.remedy, rule.reads)
        for rule in RULES
        for on, message in rule.wrong(facts)
    ]
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _dynamic(system: bool) -> Callable[[GuestFacts], Wrong]:
    def wrong(facts: GuestFacts) -> Wrong:
        for disk in facts.disks:
            if disk.system is system and any(
                p.kind in (f"{LDM_MBR:02x}", *LDM) for p in disk.table.partitions
            ):
                yield disk.label, "a Windows dynamic disk (LDM)"

    return wrong


def _encrypted(facts: GuestFacts) -> Wrong:
    for disk in facts.disks:
        for place in disk.places:
            if (name := ENCRYPTED.get(place.volume.kind)) is not None:
                yield str(place), f"encrypted with {name} {place.volume.detail}".rstrip()


def _asleep(facts: GuestFacts) -> Wrong:
    for windows in facts.windows:
        if windows.asleep:
            yield windows.place, "Windows is hibernated, or was shut down by fast startup"


def _dirty(facts: GuestFacts) -> Wrong:
    for windows in facts.windows:
        if windows.dirty:
            yield windows.place, "the NTFS is marked dirty"


def _several(facts: GuestFacts) -> Wrong:
    roots = [system.place for system in facts.linux] + [
        system.place for system in facts.windows if system.system
    ]
    if len(roots) > 1:
        yield roots[0], f"{len(roots)} operating systems: {', '.join(roots)}"


def _placed(facts: GuestFacts) -> Wrong:
    for file in facts.named:
        more = ", ..." if len(file.devices) > 4 else ""
        yield file.place, f"{file.file} names {', '.join(file.devices[:4])}{more} by place"


def _undriven(device: str) -> Callable[[GuestFacts], Wrong]:
    def wrong(facts: GuestFacts) -> Wrong:
        for kernel in facts.kernels:
            if drivers := kernel.missing.get(device):
                yield kernel.place, f"{kernel.name} has none of {', '.join(drivers)}"

    return wrong


def _unseen(facts: GuestFacts) -> Wrong:
    for kernel in facts.kernels:
        if kernel.trouble:
            yield kernel.place, f"{kernel.name}: {kernel.trouble}"


def _inodes(facts: GuestFacts) -> Wrong:
    for linux in facts.linux:
        if linux.free_inodes < _FEW_INODES:
            yield linux.place, f"{linux.free_inodes:.1%} of its inodes are free"


def _immutable(facts: GuestFacts) -> Wrong:
    for linux in facts.linux:
        if linux.immutable:
            yield linux.place, "/etc/resolv.conf cannot be changed (chattr +i)"


def _old_xfs(facts: GuestFacts) -> Wrong:
    for disk in facts.disks:
        for place in disk.places:
            if place.volume.kind == "xfs" and place.volume.detail == "version 4":
                yield str(place), "an XFS of version 4, which newer kernels do not mount"


def _typed(disk: DiskFacts) -> bool:
    """Whether one of its partitions has the type of an EFI system partition."""
    return any(partition.kind in (ESP, "ef") for partition in disk.table.partitions)


def _loaders(facts: GuestFacts, disk: DiskFacts) -> list[VolumeLocation]:
    """The FAT file systems of a disk with a loader for UEFI, whatever type their partitions have."""
    return [place for place in disk.places if str(place) in facts.loaders]


def _fats(disk: DiskFacts) -> list[VolumeLocation]:
    return [place for place in disk.places if place.volume.kind == "vfat"]


def _no_esp(facts: GuestFacts) -> Wrong:
    exists = any(_typed(disk) or _fats(disk) for disk in facts.disks)
    if facts.firmware == "efi" and facts.disks and not exists:
        yield facts.disks[0].label, "the firmware is UEFI, but no disk has an EFI system partition"


def _mistyped_esp(facts: GuestFacts) -> Wrong:
    if facts.firmware != "efi" or any(_typed(disk) for disk in facts.disks):
        return
    sure = [place for disk in facts.disks for place in _loaders(facts, disk)]
    for place in sure or [place for disk in facts.disks for place in _fats(disk)]:
        kind = place.partition.kind if place.partition else "none"
        by = "files" if sure else "file system (FAT, without a loader)"
        yield str(place), f"an EFI system partition by its {by}, but not by its type ({kind})"


def _large_sectors(facts: GuestFacts) -> Wrong:
    for disk in facts.disks:
        if disk.table.scheme and disk.table.sector != SECTOR:
            yield disk.label, f"its partition table counts in sectors of {disk.table.sector} bytes"


def _no_code(facts: GuestFacts) -> Wrong:
    system = next((disk for disk in facts.disks if disk.system), None)
    if facts.firmware != "efi" and system is not None and system.table.scheme and not system.table.code:
        yield system.label, "the firmware is BIOS, but the first sector has no boot code"


def _can_start(facts: GuestFacts, disk: DiskFacts) -> bool | None:
    """Whether the firmware finds something to start on this disk; None when it is not known."""
    if any(subject == disk.label for subject, _ in facts.closed):
        return None
    if facts.firmware == "efi":
        return bool(_typed(disk) or _loaders(facts, disk)) or (None if _fats(disk) else False)
    if disk.table.scheme:
        return disk.table.code
    return False if all(place.volume.blank for place in disk.places) else None


def _another_starts(facts: GuestFacts) -> Wrong:
    first = next((disk for disk in facts.disks if disk.system), None)
    if first is None or _can_start(facts, first) is not False:
        return
    able = [disk.label for disk in facts.disks if _can_start(facts, disk)]
    if able:
        yield first.label, f"it is the first disk and has nothing to start; {', '.join(able)} has"


def _damaged(facts: GuestFacts) -> Wrong:
    for disk in facts.disks:
        if disk.table.damage:
            yield disk.label, disk.table.damage


def _blank(facts: GuestFacts) -> Wrong:
    for disk in facts.disks:
        if disk.system and not disk.table.scheme and all(place.volume.blank for place in disk.places):
            yield disk.label, "the system disk has neither partitions nor a file system"


def _usage(facts: GuestFacts) -> Wrong:
    for volume in facts.usage:
        yield volume.place, f"{volume.used / _GIB:.1f} of {volume.size / _GIB:.1f} GiB are in use"


def _closed(facts: GuestFacts) -> Wrong:
    yield from facts.closed


RULES: Final = (
    DeepRule(
        "O1",
        "the system disk is a dynamic disk",
        BLOCK,
        "partition types",
        _dynamic(True),
        "convert it to a basic disk",
    ),
    DeepRule(
        "O1",
        "a data disk is a dynamic disk",
        WARN,
        "partition types",
        _dynamic(False),
        "import foreign disks after the first start",
    ),
    DeepRule(
        "O2",
        "a volume is encrypted",
        WARN,
        "first sector of each volume",
        _encrypted,
        "have the recovery key ready: a new TPM or platform asks for it",
    ),
    DeepRule(
        "O3",
        "Windows is hibernated",
        BLOCK,
        "hiberfil.sys",
        _asleep,
        "start it, then shut it down with `shutdown /s /t 0` (powercfg /h off)",
    ),
    DeepRule(
        "O3",
        "an NTFS is dirty",
        INFO,
        "$Volume",
        _dirty,
        "normal while the machine runs; if it is off, run chkdsk",
    ),
    DeepRule(
        "O4",
        "several operating systems",
        WARN,
        "roots of file systems",
        _several,
        "make sure that the right one starts",
    ),
    DeepRule(
        "O5",
        "devices are named by place",
        WARN,
        "/etc/fstab, crypttab, default/grub; entries and environment of the boot loader",
        _placed,
        "name them by UUID= or LABEL=",
    ),
    DeepRule(
        "O6",
        "no disk driver for the target",
        BLOCK,
        "initramfs, kernel's configuration",
        _undriven("disk"),
        f"add one of {', '.join(DRIVERS['disk'])} that the target has: dracut --add-drivers, or /etc/initramfs-tools/modules",
    ),
    DeepRule(
        "O6",
        "no network driver in the initramfs",
        INFO,
        "initramfs, kernel's configuration",
        _undriven("network"),
        "only needed to start from the network; see that the kernel has it",
    ),
    DeepRule(
        "O6",
        "the drivers of a kernel are not known",
        INFO,
        "initramfs, kernel's configuration",
        _unseen,
        "check in the guest that it has virtio drivers",
    ),
    DeepRule(
        "O7",
        "few inodes are free",
        WARN,
        "superblock",
        _inodes,
        "remove files: starting on new hardware writes some",
    ),
    DeepRule(
        "O7",
        "resolv.conf is immutable",
        WARN,
        "inode of /etc/resolv.conf",
        _immutable,
        "chattr -i, or set the name servers by hand afterwards",
    ),
    DeepRule(
        "O7",
        "an XFS of version 4",
        INFO,
        "superblock",
        _old_xfs,
        "make a new file system before the guest's next upgrade",
    ),
    DeepRule(
        "O10",
        "the first disk cannot start, another can",
        BLOCK,
        "first sector, partition types",
        _another_starts,
        "state in vCenter which disk starts (VM Options, Boot Options): it becomes the system disk",
    ),
    DeepRule(
        "O10",
        "no EFI system partition",
        BLOCK,
        "partition types, FAT file systems and /EFI in them",
        _no_esp,
        "check the firmware setting, and which disk is the first",
    ),
    DeepRule(
        "O10",
        "an EFI system partition has another type",
        WARN,
        "partition types, FAT file systems and /EFI in them",
        _mistyped_esp,
        "not every firmware starts it: set the type in the guest (sgdisk -t N:ef00)",
    ),
    DeepRule(
        "O10",
        "a partition table in large sectors",
        WARN,
        "MBR, GPT",
        _large_sectors,
        "a target whose disks have sectors of 512 bytes finds no partitions: choose one with such sectors",
    ),
    DeepRule(
        "O10",
        "nothing to boot by BIOS",
        WARN,
        "first sector",
        _no_code,
        "check the firmware setting, and which disk is the first",
    ),
    DeepRule(
        "O10",
        "a partition table is damaged",
        WARN,
        "MBR, GPT and its backup",
        _damaged,
        "repair it in the guest: sgdisk --verify, sgdisk -e",
    ),
    DeepRule(
        "O10", "the system disk is blank", BLOCK, "first 68 KiB", _blank, "check which disk is the first"
    ),
    DeepRule(
        "O12",
        "how full a file system is",
        INFO,
        "superblock",
        _usage,
        "a full pass skips what vSphere never allocated; trim the guest to copy less",
    ),
    DeepRule("O12", "what could not be looked into", INFO, "each volume", _closed, "check it in the guest"),
)
