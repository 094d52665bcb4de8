"""Converts copies of a guest's disks, as a whole or not at all: the disks that were copied from the source are only read.

The guest is changed in overlays. When every change is made, and planning again shows that nothing is left to do, whole images are
written from the overlays into a new directory, which then gets its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from connector import files
from connector.cloud import machine_files
from connector.cloud.machine_files import CONVERSION, ImageDisk, MachineDescription
from connector.conversion import first_boot, linux, result_directory, virtio_win, windows
from connector.conversion import removals as removal_lists
from connector.conversion.boot_check import scratch_directory
from connector.conversion.changes import ChangePlan
from connector.conversion.guest_disks import ISO_MEMORY, GuestDisks, GuestSystem, opened
from connector.conversion.linux import LinuxGuest, NetworkRequest
from connector.conversion.network.cards import Card
from connector.conversion.network.plan import NetworkMode
from connector.conversion.removals import RemovalEntry
from connector.conversion.virtio_win import DirectoryFiles
from connector.conversion.virtual_machine import BootDisk, accelerator, overlay
from connector.conversion.windows import WindowsGuest
from connector.errors import BadInput, Ineligible, TargetFailed
from connector.offline.window import Files
from connector.transfer.qemu_img import qemu_img

FORMAT: Final = "qcow2"  # of converted images
_ROOM: Final = 64 << 20  # bytes that a conversion needs beside its changes
#: Where the files are that a conversion reads and changes.
_NEEDED: Final = re.compile(r"/(?:$|(?:boot|efi|usr|etc|lib)(?:/|$))")
_PREFIX: Final = ".connector-conversion-"
_REPAIR: Final = {
    "linux": "repair them in the source (fsck, or a line of its fstab), then run another pass",
    "windows": "shut it down in the source with `shutdown /s /t 0` (chkdsk, if that does not help), then run another pass",
}
_ENCRYPTED: Final = ("crypto_LUKS", "BitLocker")


@dataclass(frozen=True, slots=True)
class GuestImage:
    """The disks of a guest, the system disk first, and the machine that they belong in.

    `virtio_win`: a directory or an ISO image with the drivers for Windows; None is the one that is installed. `first_boot`: a
    script for the first start, of a Linux or in PowerShell of a Windows; b"" is none.
    """

    name: str
    disks: tuple[BootDisk, ...]
    firmware: str = "bios"
    network: NetworkRequest | None = None
    removals: tuple[RemovalEntry, ...] = ()
    virtio_win: Path | None = None
    first_boot: bytes = b""


def guest_image(
    machine: MachineDescription, disks: Sequence[BootDisk], network: str, *, keeps_macs: bool
) -> GuestImage:
    """What a conversion has to know of a machine. `network`: "dhcp", "keep", or "none" to leave it as it is.

    `keeps_macs`: the target's cards have the MACs of the machine's.
    """
    cards = tuple(Card(order, card.mac) for order, card in enumerate(machine.cards))
    request = NetworkRequest(cards, NetworkMode(network), keeps_macs) if network != "none" else None
    return GuestImage(machine.name, tuple(disks), machine.firmware, request)


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """The plan for one guest. `system`: its name, such as "debian 12.15"."""

    system: str
    plan: ChangePlan

    def to_json(self) -> dict[str, object]:
        return {"system": self.system, **self.plan.to_json()}


def planned(image: GuestImage, scratch: Path) -> ConversionPlan:
    """What a conversion would change. The disks are only read. `scratch`: where temporary files may be.

    Raises BadInput without the tools, Ineligible for a guest that cannot be converted, such as one whose /boot is full.
    """
    with (
        scratch_directory(scratch, _PREFIX) as home,
        mounted(image, image.disks, home, writable=False) as (guest, system),
    ):
        return ConversionPlan(str(system), _plan(image, guest, system, home))


def convert(image: GuestImage, machine: MachineDescription, target: Path) -> ConversionPlan:
    """Make converted images in the directory `target`, which must not exist. Without need for a change nothing is made.

    Raises as `planned` does; Conflict when `target` exists, TargetFailed when a tool fails.
    """
    with (
        result_directory.new(target),
        converted_copies(image, target.parent.resolve()) as (conversion, copies),
    ):
        if not conversion.plan.is_empty:
            _put(copies, machine, conversion, copies[0].path.parent / "draft", target)
        return conversion


@contextmanager
def converted_copies(
    image: GuestImage, scratch: Path
) -> Iterator[tuple[ConversionPlan, tuple[BootDisk, ...]]]:
    """Converted overlays of the disks, in a directory below `scratch` that goes with the block. Raises as `convert` does."""
    with scratch_directory(scratch, _PREFIX) as home:
        result_directory.require_space(home, _ROOM)
        copies = tuple(
            BootDisk(overlay(disk, home / f"disk-{place}.qcow2"), "qcow2")
            for place, disk in enumerate(image.disks)
        )
        yield _changed(image, copies, home), copies


def _changed(image: GuestImage, copies: Sequence[BootDisk], home: Path) -> ConversionPlan:
    """Change the copies, and prove that nothing is left to do."""
    with mounted(image, copies, home, writable=True) as (guest, system):
        plan = _plan(image, guest, system, home)
        if not plan.is_empty:
            result_directory.require_space(home, plan.size + _ROOM)
            _apply(plan, guest)
            left = _plan(image, guest, system, home)
            if not left.is_empty:
                raise TargetFailed(
                    f"after the conversion {', '.join(left.paths[:5])} would still have to change",
                    on=image.name,
                    remedy="report this, with the output of `connector machine plan`",
                )
            if plan.removals:
                guest.discard(list(system.mounts))
            guest.finish()
        return ConversionPlan(str(system), plan)


def _apply(plan: ChangePlan, guest: GuestDisks) -> None:
    for change in plan.changes:
        if change.after is None:
            guest.remove(change.path)
        else:
            guest.write(change.path, change.after, change.mode)
    for append in plan.appends:
        guest.append(append.path, append.data)
    for removal in plan.removals:
        guest.remove_tree(removal.path)
    for hive in dict.fromkeys(change.hive for change in plan.registry):
        guest.registry_write(hive, [change for change in plan.registry if change.hive == hive])


@contextmanager
def mounted(
    image: GuestImage, disks: Sequence[BootDisk], home: Path, *, writable: bool, wants_all: bool = False
) -> Iterator[tuple[GuestDisks, GuestSystem]]:
    """The guest's file systems are mounted inside the block. Raises Ineligible for a guest that is no single Linux or Windows.

    Also for one of which a file system cannot be mounted that a conversion needs, or any with `wants_all`.
    """
    with opened(disks, home, accelerator(), writable=writable) as guest:
        system = guest.mount(_only(guest, image.name), writable=writable)
        needed = (
            system.unmounted if wants_all else {p: w for p, w in system.unmounted.items() if _NEEDED.match(p)}
        )
        if needed:
            points = ", ".join(f"{point} ({why})" for point, why in needed.items())
            raise Ineligible(
                f"its file systems cannot be mounted: {points[:300]}",
                on=image.name,
                remedy=_REPAIR.get(system.kind, _REPAIR["linux"]),
            )
        yield guest, system


def _only(guest: GuestDisks, name: str) -> GuestSystem:
    systems = guest.systems()
    if len(systems) != 1:
        raise _not_one(systems, guest, name)
    if systems[0].kind not in ("linux", "windows"):
        raise Ineligible(
            f"{systems[0].name} is neither Linux nor Windows, and cannot be converted",
            on=name,
            remedy="migrate it without a conversion",
        )
    return systems[0]


def _not_one(systems: Sequence[GuestSystem], guest: GuestDisks, name: str) -> Ineligible:
    if systems:
        names = ", ".join(f"{system.name} on {system.root}" for system in systems)
        return Ineligible(
            f"it has {len(systems)} operating systems: {names}", on=name, remedy="convert it by hand"
        )
    closed = sorted(d for d, system in guest.file_systems().items() if system.kind in _ENCRYPTED)
    if closed:
        return Ineligible(
            f"{', '.join(closed)} is encrypted",
            on=name,
            remedy="decrypt it in the source, or convert it by hand",
        )
    return Ineligible(
        "no operating system was recognised", on=name, remedy="check that the system disk is named first"
    )


def _plan(image: GuestImage, guest: GuestDisks, system: GuestSystem, home: Path) -> ChangePlan:
    is_windows = system.kind == "windows"
    needed = _windows_plan(image, guest, system, home) if is_windows else _linux_plan(image, guest, system)
    if is_windows and image.removals:
        raise BadInput("files to remove are for Linux only", on=image.name, remedy="leave out --remove")
    if image.first_boot and first_boot.is_powershell(image.first_boot) is not is_windows:
        raise BadInput(
            "the script for the first start is for another system: a Linux takes one that begins with #!, a Windows PowerShell",
            on=image.name,
            remedy="name a script for this system with --first-boot",
        )
    if image.first_boot and not is_windows:
        needed = needed + first_boot.plan(image.first_boot, guest, image.name)
    removals, notes = removal_lists.plan(image.removals, guest, system.mounts)
    unmounted = tuple(
        f"{point} was not looked at: it cannot be mounted ({why[:200]})"
        for point, why in system.unmounted.items()
    )
    return needed + ChangePlan(notes=notes + unmounted, removals=removals)


def _linux_plan(image: GuestImage, guest: GuestDisks, system: GuestSystem) -> ChangePlan:
    return linux.plan(
        LinuxGuest(
            image.name,
            guest,
            guest.file_systems(),
            len(image.disks),
            firmware=image.firmware,
            mounts=system.mounts,
            network=image.network,
        )
    )


def _windows_plan(image: GuestImage, guest: GuestDisks, system: GuestSystem, home: Path) -> ChangePlan:
    with ExitStack() as stack:
        path = image.virtio_win or virtio_win.installed()
        source = stack.enter_context(_virtio_win(path, home)) if path else None
        keeps = image.network is not None and image.network.mode is NetworkMode.KEEP
        return windows.plan(
            WindowsGuest(
                image.name,
                guest,
                guest,
                system.directory,
                system.architecture,
                len(image.disks),
                virtio_win=source,
                keeps_addresses=keeps,
                cards=len(image.network.cards) if image.network is not None else 0,
                first_boot=image.first_boot,
            )
        )


@contextmanager
def _virtio_win(path: Path, home: Path) -> Iterator[Files]:
    """The files of virtio-win. An ISO image is read in a virtual machine of its own, as a guest's disk is. Raises BadInput."""
    if path.is_dir():
        yield DirectoryFiles(path)
        return
    if not path.is_file():
        raise BadInput(
            "does not exist", on=str(path), remedy="name the directory or the ISO image of virtio-win"
        )
    with opened([BootDisk(path, "raw")], home, accelerator(), writable=False, memory=ISO_MEMORY) as iso:
        kinds = {device: row.kind for device, row in iso.file_systems().items()}
        if kinds.get("/dev/sda") not in ("iso9660", "udf"):
            raise BadInput("is no ISO image", on=str(path), remedy="name the ISO image of virtio-win")
        failed = iso.mount_device("/dev/sda")
        if failed:
            raise BadInput(f"cannot be read ({failed})", on=str(path), remedy="get virtio-win again")
        yield iso


def _put(
    copies: Sequence[BootDisk],
    machine: MachineDescription,
    conversion: ConversionPlan,
    draft: Path,
    target: Path,
) -> None:
    """Write whole images into `draft`, then give it the name `target`."""
    draft.mkdir()
    result_directory.require_space(draft, sum(_whole_size(copy) for copy in copies))
    disks = []
    for copy, disk in zip(copies, machine.disks, strict=True):
        path = draft / f"{Path(disk.file).stem}.{FORMAT}"
        if trouble := qemu_img("convert", "-f", "qcow2", "-O", FORMAT, str(copy.path), str(path)).trouble:
            raise TargetFailed(
                f"qemu-img failed ({trouble})", on=str(path), remedy="check the free space, then run again"
            )
        path.chmod(0o600)  # as the image that it was made of: a guest's files are not for everybody here
        files.sync(path)
        disks.append(ImageDisk(path.name, FORMAT, disk.capacity))
    for name, content in machine_files.files(replace(machine, disks=tuple(disks)), target).items():
        files.replace(draft / name, content)
    report = conversion.to_json() | {
        "disks": [
            {"file": disk.file, "extents": written(copy)} for copy, disk in zip(copies, disks, strict=True)
        ]
    }
    files.replace(draft / CONVERSION, (json.dumps(report, indent=2) + "\n").encode())
    files.sync(draft)
    files.move(draft, target)


def written(copy: BootDisk) -> list[list[int]]:
    """The ranges of a disk that its overlay has, as [start, length]: everything else is as in the image."""
    answer = qemu_img("map", "--output=json", "-f", "qcow2", str(copy.path))
    if answer.trouble:
        raise TargetFailed(
            f"qemu-img failed ({answer.trouble})", on=str(copy.path), remedy="run the same command again"
        )
    rows = json.loads(answer.text)
    return [[row["start"], row["length"]] for row in rows if row["depth"] == 0 and row["present"]]


def _whole_size(copy: BootDisk) -> int:
    """Bytes that a whole image of an overlay needs."""
    answer = qemu_img("measure", "--output=json", "-f", "qcow2", "-O", FORMAT, str(copy.path))
    return 0 if answer.trouble else int(json.loads(answer.text)["required"])
