"""A machine's disks have one order, and its first disk is the one that the firmware starts from.

The order is computed where a machine is built and stays with it. Checks, deep checks, control plane and images all use it.

A stated order comes first: the disks that `config.bootOptions.bootOrder` names (BIOS and EFI alike, since vSphere API 5.0), then
those of `bios.hddOrder` in `config.extraConfig`, which older tools write (VMware KB 2011654: "scsi2:2,scsi0:1,ide1:0"; it
overrides the BIOS setup). The others follow in the order in which the virtual BIOS looks for them: IDE (its driver is part of the
BIOS), SCSI, SATA, NVMe. Within a kind the number of the controller's bus counts, then the unit, both as numbers. All kinds of
SCSI controllers share one numbering of buses. PVSCSI has units up to 64. The device keys of units above 15 (131072 and more) are
larger than the keys of every other disk, so keys say nothing about the order.

SCSI comes before NVMe: bottlerocket-os/bottlerocket#1554 observed it. The place of SATA is not certain: a disk on a new SATA
controller may take the first place from a SCSI disk (ansible-collections/community.vmware#1543). A choice in the BIOS setup is
kept in the NVRAM file, which no property shows. So `uncertain` says when the order is a guess (check D17), and a deep check says
when the guess was wrong (check O10).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from connector.model import MachineDisk
from connector.vcenter.values import each, kind_of, number, text

HDD_ORDER: Final = "bios.hddorder"  # key of extraConfig, lower case
BUSES: Final = ("ide", "scsi", "sata", "nvme")  # in the order in which the virtual BIOS looks for disks

_WORD: Final = re.compile(r"([a-z]+)\d*")


def in_order(disks: Iterable[MachineDisk], stated: Sequence[int | str] = ()) -> tuple[MachineDisk, ...]:
    """These disks in order. `stated`: device keys and places ("scsi0:1") in the order of booting."""
    ordered = sorted(disks, key=_place)
    by_name: dict[int | str, MachineDisk] = {}
    for disk in ordered:
        by_name |= {disk.key: disk, place(disk): disk}
    first = dict.fromkeys(by_name[name].key for name in stated if name in by_name)
    return (*(by_name[key] for key in first), *(disk for disk in ordered if disk.key not in first))


def as_in(disks: Iterable[MachineDisk], model: Sequence[MachineDisk]) -> list[MachineDisk]:
    """These disks, such as a snapshot's, in the order of `model`; disks that `model` does not have come last."""
    places = {disk.key: place for place, disk in enumerate(model)}
    return sorted(disks, key=lambda disk: places.get(disk.key, len(places)))


def stated(options: Any, extra: Mapping[str, str]) -> tuple[int | str, ...]:
    """What `config.bootOptions` and `config.extraConfig` (keys in lower case) say about disks, for `in_order`."""
    listed = each(getattr(options, "bootOrder", None))
    keys = [number(device.deviceKey) for device in listed if kind_of(device).endswith("BootableDiskDevice")]
    places = [word.strip().lower() for word in extra.get(HDD_ORDER, "").split(",")]
    return (*keys, *(word for word in places if word))


def place(disk: MachineDisk) -> str:
    """The place of a disk as a vmx file writes it: "scsi0:1"."""
    return f"{disk.controller}:{disk.unit}"


def uncertain(disks: Sequence[MachineDisk]) -> str:
    """Why the machine may start from another disk than the first when no order is stated; empty when it will not."""
    kinds = dict.fromkeys(_word(disk) for disk in disks)
    if "sata" in kinds and kinds.keys() & {"scsi", "nvme"}:
        return f"it has disks on {' and '.join(kinds)}"
    return ""


def extra_options(values: Any) -> dict[str, str]:
    """`config.extraConfig` by key in lower case."""
    return {text(option.key).lower(): text(option.value) for option in each(values)}


def _place(disk: MachineDisk) -> tuple[int, int, int, int]:
    word = _word(disk)
    return BUSES.index(word) if word in BUSES else len(BUSES), disk.bus, disk.unit, disk.key


def _word(disk: MachineDisk) -> str:
    match = _WORD.fullmatch(disk.controller)
    return match[1] if match else ""
