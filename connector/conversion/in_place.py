"""Converts the disks of a guest where they are: whole disks that are copies already, such as cloud disks made of snapshots.

Every change is made in overlays first, and proved there. Only then the overlays are written to the disks. If that ends half-way,
the disks are damaged, and the caller makes new copies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from connector.cloud.machine_files import MachineDescription, description
from connector.conversion import conversion
from connector.conversion.conversion import GuestImage
from connector.conversion.virtual_machine import BootDisk
from connector.errors import Ineligible, TargetFailed
from connector.transfer.qemu_img import qemu_img

#: Writes one line.
Report = Callable[[Mapping[str, object]], None]

_FORMAT: Final = "raw"  # of whole disks


def serve(request: Mapping[str, Any], report: Report) -> None:
    """Convert, or only plan: a line for each stage, and the report as the last one.

    `machine`: as machine.json; `disks`: paths in the order of the machine's disks; `network`: dhcp, keep or none; `scratch`: a
    directory for temporary files; `plan_only`: change nothing. A guest that cannot be converted is no error but a `refusal`, and
    its disks are as before. Raises BadInput, TargetFull, TargetFailed.
    """
    machine: MachineDescription = description(request["machine"])
    disks = tuple(BootDisk(Path(path), _FORMAT) for path in request["disks"])
    image = conversion.guest_image(machine, disks, str(request["network"]), keeps_macs=False)
    scratch = Path(request["scratch"])
    plan, refusal = None, ""
    try:
        if request["plan_only"]:
            report({"progress": "reading the guest"})
            plan = conversion.planned(image, scratch).to_json()
        else:
            plan = _converted(image, scratch, report)
    except Ineligible as refused:
        refusal = str(refused)
    report({"result": {"conversion": plan, "refusal": refusal}})


def _converted(image: GuestImage, scratch: Path, report: Report) -> dict[str, object]:
    report({"progress": "converting the copies"})
    with conversion.converted_copies(image, scratch) as (plan, copies):
        if plan.plan.is_empty:
            return plan.to_json()
        rows = [{"extents": conversion.written(copy)} for copy in copies]
        report({"progress": "writing the changes to the copies"})
        for copy, disk in zip(copies, image.disks, strict=True):
            _write_back(copy, disk)
        return plan.to_json() | {"disks": rows}


def _write_back(copy: BootDisk, disk: BootDisk) -> None:
    """Write what an overlay has changed to its disk, onto stable storage."""
    if trouble := qemu_img("commit", "-f", "qcow2", str(copy.path)).trouble:
        raise _failed(disk, f"qemu-img failed ({trouble})")
    try:
        handle = os.open(disk.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise _failed(disk, f"it cannot be written ({error.strerror})") from error


def _failed(disk: BootDisk, why: str) -> TargetFailed:
    return TargetFailed(why, on=str(disk.path), remedy="repeat it with new copies", retryable=True)
