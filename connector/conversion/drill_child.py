"""A drill as the work of a child process: a line of JSON for each stage, and the report as the last one.

All temporary files are below the directory that the request names.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from connector.cloud import machine_files
from connector.conversion import conversion
from connector.conversion.boot_check import BootReport, boot_check
from connector.conversion.conversion import GuestImage
from connector.conversion.drill import drill
from connector.conversion.virtual_machine import BootDisk, Hardware, hardware_for, require_tools
from connector.errors import BadInput, Ineligible

#: Writes one line.
Report = Callable[[Mapping[str, object]], None]


def serve(request: Mapping[str, Any], report: Report) -> None:
    """Do what is asked for. Raises as `drill` and `planned` do."""

    def say(line: str) -> None:
        report({"progress": line})

    directory, scratch = Path(request["directory"]), Path(request["scratch"])
    tempfile.tempdir = str(scratch)
    machine = machine_files.read(directory)
    if machine is None:
        raise BadInput(f"has no {machine_files.NAME}", on=str(directory))
    require_tools(machine.firmware, secure_boot=machine.secure_boot)
    disks = tuple(BootDisk(directory / disk.file, disk.format) for disk in machine.disks)
    image = conversion.guest_image(
        machine, disks, str(request["network"]), keeps_macs=not request["new_macs"]
    )
    if request["plan_only"]:
        report({"result": _planned(image, scratch, say)})
        return
    marker = re.compile(str(request["marker"])) if request["marker"] else None

    def check(hardware: Hardware) -> BootReport:
        patience = float(request["timeout"])
        return boot_check(hardware, keep=Path(request["keep"]), marker=marker, patience=patience, say=say)

    done = drill(image, hardware_for(machine, disks), check, say, scratch)
    report({"result": done.to_json()})


def _planned(image: GuestImage, scratch: Path, say: Callable[[str], None]) -> dict[str, object]:
    """The report of a plan: that of a drill, without a start."""
    say("reading the guest")
    plan, refusal = None, ""
    try:
        plan = conversion.planned(image, scratch).to_json()
    except Ineligible as refused:
        refusal = str(refused)
    return {"conversion": plan, "refusal": refusal, "conversion_seconds": 0.0, "boot": None}
